// Draws the snapshots of one buffer and its readers that the server sends.

const $ = (id) => document.getElementById(id);
const unit = 1024;

function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  if (count < unit) return `${Math.round(count)} B`;
  if (count < unit * unit) return `${(count / unit).toFixed(count < 10 * unit ? 1 : 0)} KiB`;
  return `${(count / unit / unit).toFixed(2)} MiB`;
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// The rate of a growing number of bytes per second, smoothed over about a second.
class Rate {
  constructor() { this.at = null; this.value = 0; }

  feed(total) {
    const now = performance.now();
    if (this.at === null) { this.at = now; this.total = total; return; }
    const passed = (now - this.at) / 1000;
    if (passed < 0.15) return;
    const fresh = Math.max(0, total - this.total) / passed;
    this.value += (fresh - this.value) * Math.min(1, passed / (fresh ? 0.7 : 0.4));
    if (this.value < unit / 2) this.value = 0;
    this.at = now;
    this.total = total;
  }
}

// One resource is shown at a time.
let resources = [];
let shown = null;
let events = null;
let latest = null;
let source = new Rate();
let retry = null; // the retry that is announced, and when its delay ends
const known = new Map(); // reader id -> its last state and rate

function choose() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const next = resources.find((resource) => resource.name === wanted) ?? resources[0];
  if (!next || next === shown) return;
  shown = next;
  for (const link of $("resources").children) {
    if (link.dataset.name === next.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("link").href = next.path;
  $("link").textContent = next.path;
  $("source").textContent = next.source;
  document.title = `${next.name} · streamspool`;
  latest = null;
  source = new Rate();
  retry = null;
  known.clear();
  $("readers").replaceChildren();
  $("pins").replaceChildren();
  $("outcome").textContent = "";
  $("player").replaceChildren();
  listen(next);
  play(next);
}

async function play(resource) {
  // The response waits until the first bytes have arrived, because they determine the type.
  const response = await fetch(resource.path, { method: "HEAD" }).catch(() => null);
  if (shown !== resource) return;
  const type = response?.headers.get("content-type") ?? "";
  const kind = type.split("/")[0];
  if (response?.ok && (kind === "video" || kind === "audio")) {
    const player = element(kind);
    player.controls = true;
    player.preload = "metadata";
    player.setAttribute("aria-label", resource.name);
    player.src = resource.path;
    $("player").replaceChildren(player);
  } else {
    const why = response?.ok ? `No player for ${type}; any range of it can be asked for.` : "The source gave nothing to play.";
    $("player").replaceChildren(element("p", "", why));
  }
}

function listen(resource) {
  events?.close();
  events = new EventSource(`${resource.path}/events`);
  events.onmessage = (event) => {
    latest = JSON.parse(event.data);
    announce(latest.retry);
    draw();
  };
  events.onerror = () => {
    $("state").dataset.state = "gone";
    $("state").textContent = "no connection";
  };
}

// The server sends one event per attempt. The page counts down from there.
function announce(next) {
  const key = next && `${next.attempt} ${next.delay_ms}`;
  if (key !== (retry && retry.key)) retry = next && { key, until: performance.now() + next.delay_ms };
}

const capital = (text) => `${text[0].toUpperCase()}${text.slice(1)}`;

// The announced retry in words.
function retryText(now) {
  const left = Math.ceil((retry.until - performance.now()) / 1000);
  const when = left > 0 ? `in ${left} s` : "now";
  return `${now.loaded ? "Connection lost" : "No connection"}: ${now.retry.cause ?? "unknown cause"}. Trying again ${when} (attempt ${now.retry.attempt}).`;
}

function draw() {
  const now = latest;
  if (!now) return;
  source.feed(now.loaded);
  const open = now.size === null;
  // While the size is unknown, leave space after the loaded bytes.
  const whole = Math.max(1, now.size ?? now.loaded * 1.2, ...now.readers.map((reader) => reader.position));
  const percent = (offset) => `${Math.min(100, (offset / whole) * 100)}%`;
  const place = (id, from, to) => {
    $(id).style.left = percent(from);
    $(id).style.width = percent(to - from);
  };

  const readers = remember(now.readers, now.loaded);
  const waiting = readers.filter((reader) => reader.waits);
  const furthest = Math.max(0, ...waiting.map((reader) => reader.position));

  place("disk", 0, now.spilled);
  place("memory", now.spilled, now.loaded);
  place("wanted", now.loaded, Math.max(furthest, now.loaded));
  $("memory").classList.toggle("pulling", now.state === "pulling");
  $("bar").classList.toggle("open", open && now.state !== "failed");
  $("size").textContent = open ? "size unknown" : bytes(now.size);
  $("in-memory").textContent = bytes(now.resident);
  $("on-disk").textContent = bytes(now.spilled);
  $("to-come").textContent = open ? (now.state === "failed" ? "lost" : "unknown") : bytes(now.size - now.loaded);
  $("rate").textContent = source.value ? `${bytes(source.value)}/s` : "nothing";
  $("state").dataset.state = now.state;
  $("state").textContent = now.state;
  say(now, readers, waiting, furthest);
  pins(readers, percent);
  list(readers, percent, whole);
  saving(now);
}

// Many readers are short-lived. Each one stays visible for a moment after it has left.
function remember(readers, loaded) {
  const now = performance.now();
  for (const reader of known.values()) reader.gone ??= now;
  for (const reader of readers) {
    const before = known.get(reader.id);
    const rate = before?.rate ?? new Rate();
    rate.feed(reader.position);
    const waits = reader.waiting_ms > 250;
    known.set(reader.id, { ...reader, rate, gone: null, waits, edge: waits && reader.position <= loaded });
  }
  for (const [id, reader] of known) {
    if (reader.gone !== null) reader.waits = reader.edge = false;
    if (reader.gone !== null && now - reader.gone > 2500) known.delete(id);
  }
  // There is space for the latest six.
  return [...known.values()].slice(-6);
}

function say(now, readers, waiting, furthest) {
  const first = waiting.find((reader) => reader.position === furthest);
  let text;
  if (now.state === "failed") {
    const error = now.error ?? "the source failed";
    text = `${capital(error)}. All bytes before that stay readable.`;
  } else if (now.state === "retrying" && retry) {
    text = retryText(now);
  } else if (first) {
    const left = furthest - now.loaded;
    const soon = source.value && left > 0 ? `, in about ${Math.ceil(left / source.value)} s` : "";
    text = left > 0
      ? `${first.label} (${letter(first)}) has jumped ahead and waits for the ${bytes(left)} before its position${soon}.`
      : `${first.label} (${letter(first)}) is at the live edge and gets each byte as it arrives.`;
  } else if (now.state === "complete") {
    text = "All bytes are loaded. Reads are answered at once, from memory or from disk.";
  } else if (readers.some((reader) => !reader.gone)) {
    text = "Readers get loaded bytes. The source is pulled as far as they need.";
  } else {
    text = "No reader needs more bytes, so the source is not pulled.";
  }
  if ($("story").textContent !== text) $("story").textContent = text;
  const store = now.store_failing
    ? `The disk can't be written: ${now.store_error ?? "unknown cause"}. The bytes stay in memory, and the write is retried.`
    : "";
  $("store").hidden = !store;
  if ($("store").textContent !== store) $("store").textContent = store;
  const share = now.size ? `${Math.floor((now.loaded / now.size) * 100)} percent of ${bytes(now.size)}` : bytes(now.loaded);
  $("bar").setAttribute("aria-label", `${share} loaded; ${bytes(now.spilled)} on disk, ${bytes(now.resident)} in memory, ${waiting.length} readers waiting`);
}

const letter = (reader) => String.fromCharCode(65 + ((reader.id - 1) % 26));
const classes = (name, reader) => `${name}${reader.waits && !reader.edge ? " waits" : ""}${reader.gone ? " gone" : ""}`;

// Keeps one child of `parent` per reader. `make` creates it, and `update` changes it.
function keep(parent, readers, make, update) {
  const ids = new Set(readers.map((reader) => String(reader.id)));
  for (const child of [...parent.children]) if (!ids.has(child.dataset.id)) child.remove();
  for (const reader of readers) {
    let child = [...parent.children].find((child) => child.dataset.id === String(reader.id));
    if (!child) {
      child = make(reader);
      child.dataset.id = reader.id;
      parent.append(child);
    }
    update(child, reader);
  }
}

function pins(readers, percent) {
  const make = (reader) => {
    const pin = element("div");
    pin.append(element("b", "", letter(reader)));
    return pin;
  };
  keep($("pins"), readers, make, (pin, reader) => {
    pin.className = classes("pin", reader);
    pin.style.left = percent(reader.position);
  });
}

function list(readers, percent, whole) {
  const make = (reader) => {
    const item = element("li");
    const line = element("div", "reader");
    const name = element("strong");
    name.append(element("span", "chip", letter(reader)), reader.label);
    line.append(name, element("span", "at"), element("span", "waited"), element("span", "pace"));
    const track = element("div", "track");
    track.setAttribute("aria-hidden", "true");
    track.append(element("i", "asked"), element("i", "given"));
    item.append(line, track);
    return item;
  };
  keep($("readers"), readers, make, (item, reader) => {
    item.className = classes("", reader).trim();
    const end = Math.min(reader.end ?? whole, whole);
    item.querySelector(".at").textContent = `at ${bytes(reader.position)} of ${bytes(reader.start)} – ${reader.end === null ? "the end" : bytes(reader.end)}`;
    item.querySelector(".waited").textContent = reader.waited_ms > 100 ? `waited ${seconds(reader.waited_ms)} in all` : "";
    item.querySelector(".pace").textContent = reader.gone
      ? "left"
      : reader.edge ? "at the live edge"
      : reader.waits ? `waits ${seconds(reader.waiting_ms)}`
      : reader.rate.value ? `${bytes(reader.rate.value)}/s` : "idle";
    const [asked, given] = item.querySelectorAll(".track i");
    asked.style.left = given.style.left = percent(reader.start);
    asked.style.width = percent(end - reader.start);
    given.style.width = percent(reader.position - reader.start);
  });
  $("nobody").hidden = readers.length > 0;
}

function saving(now) {
  const { state, written, path, size, error } = now.saving;
  const running = state === "running";
  const focused = document.activeElement;
  $("save").disabled = running;
  $("cancel").hidden = !running;
  // Move the focus from a button that is disabled to the one that is enabled.
  if (running && focused === $("save")) $("cancel").focus();
  if (!running && focused === $("cancel")) $("save").focus();
  $("saving").hidden = !running;
  if (running) {
    if (now.size) $("saving-bar").value = written / now.size;
    else $("saving-bar").removeAttribute("value");
    const rest = now.state === "complete" ? "" : ", while the rest arrives";
    $("saving-text").textContent = `Saved ${bytes(written)} of ${now.size ? bytes(now.size) : "an unknown size"}${rest}`;
  }
  const text = state === "saved" ? `Saved ${bytes(size)} to ${path}` : state === "failed" ? `Not saved: ${error}` : "";
  if ($("outcome").textContent !== text) $("outcome").textContent = text;
  $("outcome").classList.toggle("bad", state === "failed");
}

const ask = (method) => fetch(`${shown.path}/save`, { method, headers: { "x-streamspool": "page" } });
$("save").addEventListener("click", () => ask("POST"));
$("cancel").addEventListener("click", () => ask("DELETE"));

// Adds a reader: requests a range at a random offset, loaded or not.
$("jump").addEventListener("click", async () => {
  const size = latest?.size ?? latest?.loaded ?? 0;
  const first = Math.floor(Math.random() * size);
  const response = await fetch(shown.path, { headers: { range: `bytes=${first}-${first + 65535}` } });
  await response.arrayBuffer().catch(() => null);
});

// Rates fall and old readers fade also while the server sends no event.
setInterval(draw, 500);
addEventListener("hashchange", choose);

resources = await (await fetch("/resources")).json();
$("resources").hidden = resources.length < 2;
$("resources").replaceChildren(...resources.map((resource) => {
  const link = element("a", "", resource.name);
  link.href = `#${encodeURIComponent(resource.name)}`;
  link.dataset.name = resource.name;
  return link;
}));
choose();
