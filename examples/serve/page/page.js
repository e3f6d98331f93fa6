// Shows the state of one buffer and its readers, as the server sends it, and the controls.

import { classes, drawBar, loadedBefore, scaleOf } from "./bar.js";
import { canJump, jumpTo, note, play, reload, sizeIsKnown, sourceFailed, time } from "./player.js";
import { $, Rate, bytes, duration, element, keep, letter, say, seconds } from "./text.js";

// One resource is shown at a time.
let resources = [];
let shown = null;
let events = null;
let latest = null;
let gone = null; // a timer while there is no connection, and then true
let source = new Rate();
let retry = null; // the next attempt, and when its delay ends
let asked = null; // a save that the user has started, and that no state shows yet
const known = new Map(); // reader id -> its last state and rate

function choose() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const next = resources.find((resource) => resource.name === wanted) ?? resources[0];
  if (!next || next === shown) return;
  shown = next;
  for (const link of $("resources").querySelectorAll("a")) {
    if (link.dataset.name === next.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("link").href = next.path;
  $("link").textContent = next.path;
  $("source").textContent = next.source;
  $("start-over").disabled = !next.can_start_over;
  $("start-over").title = next.can_start_over ? "" : "This source can be read only once.";
  document.title = `${next.name} · streamspool`;
  restart();
  listen(next);
}

// Forgets the old buffer.
function restart() {
  latest = null;
  source = new Rate();
  retry = asked = null;
  known.clear();
  $("readers").replaceChildren();
  $("marks").replaceChildren();
  say("outcome", "");
  play(shown);
}

function listen(resource) {
  events?.close();
  events = new EventSource(`${resource.path}/events`);
  events.onopen = () => connected(true);
  events.onmessage = (event) => {
    const next = JSON.parse(event.data);
    if (latest && latest.run !== next.run) restart();
    if (next.size !== null) sizeIsKnown();
    latest = next;
    announce(latest.retry);
    draw();
  };
  events.onerror = () => connected(false);
}

// The events end when a resource starts over, and the browser connects again at once.
function connected(is) {
  if (is) {
    clearTimeout(gone);
    gone = null;
    return;
  }
  gone ??= setTimeout(() => { gone = true; draw(); }, 1500);
  // After some errors the browser does not try again by itself.
  if (events.readyState === EventSource.CLOSED) {
    const resource = shown;
    setTimeout(() => { if (shown === resource) listen(resource); }, 2000);
  }
}

// The server sends one event per attempt. The page counts down from there.
function announce(next) {
  const key = next && `${next.attempt} ${next.delay_ms}`;
  if (key !== (retry && retry.key)) retry = next && { key, until: performance.now() + next.delay_ms };
}

// The next attempt, in words.
function retryText(now) {
  const left = Math.ceil((retry.until - performance.now()) / 1000);
  return `${now.retry.what ?? "The connection broke."} ${left > 0 ? `Next try in ${left} s.` : "Trying again now."}`;
}

function draw() {
  if (gone === true) {
    $("state").dataset.state = "gone";
    say("state", "no connection");
    say("story", "The server does not answer. The page shows its last state.");
    $("rate").textContent = "–";
    return;
  }
  const now = latest;
  if (!now) return;
  source.feed(now.loaded);
  const readers = remember(now);
  drawBar(now, readers, time());
  const streams = now.streams > 1 ? `, ${now.streams} streams` : "";
  $("rate").textContent = (source.value ? `${bytes(source.value)}/s` : "nothing") + streams;
  $("state").dataset.state = now.state;
  say("state", now.state);
  sourceFailed(now.trouble && { ...now.trouble, detail: now.error });
  const isRetrying = now.state === "retrying" && retry;
  note(isRetrying ? `${retryText(now)} It goes on from here once the server answers.` : "");
  tell(now, readers);
  list(readers, scaleOf(now));
  $("ahead").hidden = !canJump() || !now.size || now.state === "failed" || now.state === "retrying" || largestHole(now).length < 65536;
  saving(now);
  pace(now.pace);
}

// Adds the rate of each reader. There is space for the latest six.
function remember(now) {
  const { readers } = now;
  const ids = new Set(readers.map((reader) => reader.id));
  for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
  for (const reader of readers) {
    const rate = known.get(reader.id)?.rate ?? new Rate();
    rate.feed(reader.position);
    const waits = !reader.gone && reader.waiting_ms > 250;
    const before = loadedBefore(now, reader.position);
    known.set(reader.id, { ...reader, rate, waits, before, edge: waits && reader.position === before });
  }
  return [...known.values()].slice(-6);
}

function tell(now, readers) {
  const ahead = readers.filter((reader) => reader.waits && !reader.edge);
  const first = ahead.sort((a, b) => b.position - a.position)[0];
  let text;
  if (now.state === "failed") {
    const kept = now.loaded ? ` The ${bytes(now.loaded)} that have arrived stay readable.` : "";
    text = `${now.trouble?.what ?? "The source has failed."}${kept}`;
  } else if (now.state === "retrying" && retry) {
    text = retryText(now);
  } else if (first) {
    const left = first.position - first.before;
    const soon = source.value ? `, in about ${Math.ceil(left / source.value)} s` : "";
    text = now.streams > 1
      ? `${first.label} (${letter(first)}) has jumped ahead, and the source is opened at its position too.`
      : `${first.label} (${letter(first)}) has jumped ahead and waits for the ${bytes(left)} before its position${soon}.`;
  } else if (now.streams > 1) {
    text = `${now.streams} streams of the source bring bytes at once, each where a reader needs them.`;
  } else if (now.state === "complete") {
    text = "All bytes are loaded. Reads are answered at once, from memory or from disk.";
  } else if (now.state === "ended") {
    text = "The source has ended. Its first bytes are discarded, and the last ones stay readable.";
  } else if (readers.some((reader) => reader.edge)) {
    text = "A reader at the live edge gets each byte as it arrives.";
  } else if (readers.some((reader) => !reader.gone)) {
    text = "Readers get loaded bytes. The source is pulled as far as they need.";
  } else {
    text = "No reader needs more bytes, so the source is not pulled.";
  }
  say("story", text);
  // The panel in the place of the player has the same details.
  const cause = now.state === "failed" ? now.error : now.state === "retrying" ? `Attempt ${now.retry.attempt}: ${now.retry.cause ?? "unknown cause"}` : "";
  $("cause").hidden = !cause || !$("trouble").hidden;
  say("cause-text", cause ?? "");
  const store = now.store_failing
    ? `The disk can't be written: ${now.store_error ?? "unknown cause"}. The bytes stay in memory, and the write is retried.`
    : "";
  $("store").hidden = !store;
  say("store", store);
}

// What a reader has got of its range, in words.
function reading(reader) {
  const got = reader.position - reader.start;
  const from = reader.start ? `, from ${bytes(reader.start)} on` : "";
  if (reader.end === null) return `${bytes(got)} read${from}`;
  if (got >= reader.end - reader.start) return `all ${bytes(got)} read${from}`;
  return `${bytes(got)} of ${bytes(reader.end - reader.start)} read${from}`;
}

function list(readers, whole) {
  const percent = (offset) => `${Math.min(100, (offset / whole) * 100)}%`;
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
    item.querySelector(".at").textContent = reading(reader);
    item.querySelector(".waited").textContent = reader.waited_ms >= 1000 && reader.end !== null ? `waited ${duration(reader.waited_ms)}${reader.gone ? "" : " so far"}` : "";
    item.querySelector(".pace").textContent = reader.gone
      ? "left"
      : reader.edge ? "at the live edge"
      : reader.waits ? `waits ${seconds(reader.waiting_ms)}`
      : reader.rate.value ? `${bytes(reader.rate.value)}/s` : "idle";
    const [wanted, given] = item.querySelectorAll(".track i");
    wanted.style.left = given.style.left = percent(reader.start);
    wanted.style.width = percent(end - reader.start);
    given.style.width = percent(reader.position - reader.start);
  });
  $("nobody").hidden = readers.length > 0;
}

function saving(now) {
  let { state, written, target } = now.saving;
  // The click shows its effect before the server has answered.
  if (asked && (asked.run !== now.run || asked.before !== JSON.stringify(now.saving))) asked = null;
  if (asked) [state, written] = ["running", 0];
  const running = state === "running";
  const focused = document.activeElement;
  $("save").disabled = running;
  $("cancel").hidden = !running;
  // Move the focus from a button that is disabled to the one that is enabled.
  if (running && focused === $("save")) $("cancel").focus();
  if (!running && focused === $("cancel")) $("save").focus();
  $("saving").hidden = !running;
  say("target", running ? `to ${target}` : `It will be ${target}`);
  if (running) {
    if (now.size) $("saving-bar").value = written / now.size;
    else $("saving-bar").removeAttribute("value");
    const rest = now.state === "complete" ? "" : ", while the rest arrives";
    $("saving-text").textContent = `Saved ${bytes(written)} of ${now.size ? bytes(now.size) : "an unknown size"}${rest}`;
  }
  if (now.saving.state === "saved") outcome(now.saving, `Saved ${bytes(now.saving.size)} to ${now.saving.path}`, false);
  if (now.saving.state === "failed") outcome(now.saving, `Not saved: ${now.saving.error}`, true);
}

let told = ""; // the last end of a save that the page has shown

function outcome(result, text, bad) {
  const key = JSON.stringify(result);
  if (told === key) return;
  told = key;
  report(text, bad);
}

function report(text, bad = false) {
  say("outcome", text);
  $("outcome").classList.toggle("bad", bad);
}

const paces = [8, 16, 24, 32, 64, 96, 256, 1024, 4096];

// The list of paces. It contains the current one too.
function pace(kib) {
  const select = $("pace");
  const choices = [...new Set([...paces, ...(kib ? [kib] : [])])].sort((a, b) => a - b);
  if (select.dataset.choices !== String(choices)) {
    select.dataset.choices = choices;
    const option = (value, text) => Object.assign(element("option", "", text), { value });
    const unit = (value) => (value < 1024 ? `${value} KiB/s` : `${value / 1024} MiB/s`);
    select.replaceChildren(...choices.map((value) => option(value, unit(value))), option(0, "no limit"));
  }
  if (document.activeElement !== select || select.value !== String(kib ?? 0)) select.value = kib ?? 0;
}

async function ask(method, what) {
  const sent = fetch(`${shown.path}/${what}`, { method, headers: { "x-streamspool": "page" } });
  const response = await sent.catch(() => null);
  if (response?.ok) return true;
  report(`That did not work: ${(await response?.text())?.trim() || "the server does not answer"}`, true);
  return false;
}

$("save").addEventListener("click", async () => {
  report("");
  asked = { run: latest?.run, before: JSON.stringify(latest?.saving) };
  draw();
  if (!(await ask("POST", "save"))) asked = null;
});
$("cancel").addEventListener("click", () => { asked = null; ask("DELETE", "save"); });
$("reload").addEventListener("click", () => ($("reload").textContent === "Start over" ? $("start-over").click() : reload()));
$("pace").addEventListener("change", () => ask("PUT", `pace/${$("pace").value}`));
$("start-over").addEventListener("click", async () => {
  if (await ask("POST", "start-over")) {
    restart();
    listen(shown);
    report("The source is read from its start again.");
  }
});

// The middle of the largest missing range, as a part of the resource.
function largestHole(now) {
  const loaded = [...now.ranges.resident, ...now.ranges.spilled].sort((a, b) => a[0] - b[0]);
  let best = { length: 0, at: 0 };
  let end = 0;
  for (const [start, next] of [...loaded, [now.size, now.size]]) {
    if (start - end > best.length) best = { length: start - end, at: end + (start - end) / 2 };
    end = Math.max(end, next);
  }
  return best;
}

$("ahead").addEventListener("click", async () => {
  const hole = largestHole(latest);
  if (!canJump()) return;
  report("Jumping to a part that has not arrived …");
  const took = await jumpTo(hole.at / latest.size);
  report(`It plays there after ${seconds(took)}, without the bytes in between.`);
});

// Adds a reader: requests a range at a random offset, loaded or not.
$("jump").addEventListener("click", async () => {
  const size = latest?.size ?? latest?.loaded ?? 0;
  const first = Math.floor(Math.random() * size);
  const began = performance.now();
  report(`Reading 64 KiB at ${bytes(first)} …`);
  const response = await fetch(shown.path, { headers: { range: `bytes=${first}-${first + 65535}` } }).catch(() => null);
  const body = await response?.arrayBuffer().catch(() => null);
  const took = performance.now() - began;
  if (!body || !response.ok) report(`The read at ${bytes(first)} failed.`, true);
  else report(`Read ${bytes(body.byteLength)} at ${bytes(first)} in ${took < 1000 ? `${Math.round(took)} ms` : seconds(took)}.`);
});

// Rates fall and old readers fade also while the server sends no event.
setInterval(draw, 250);
addEventListener("hashchange", choose);
addEventListener("resize", draw);

resources = await (await fetch("/resources")).json();
$("resources").hidden = resources.length < 2;
$("resources").replaceChildren(element("ul"));
$("resources").firstChild.append(...resources.map((resource) => {
  const item = element("li");
  const link = element("a");
  link.href = `#${encodeURIComponent(resource.name)}`;
  link.dataset.name = resource.name;
  link.append(element("strong", "", resource.name), element("span", "", resource.about));
  item.append(link);
  return item;
}));
choose();
