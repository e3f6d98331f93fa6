// The bar: which bytes are where, the playhead, and a labelled mark for each reader.

import { $, bytes, element, keep, letter } from "./text.js";

const kinds = { resident: "memory", spilled: "disk", discarded: "discarded" };

// The number of bytes that the width of the bar stands for.
export function scaleOf(now) {
  // While the size is unknown, leave space after the loaded bytes. Bytes before them may be discarded.
  return Math.max(1, now.size ?? Math.max(now.loaded, now.frontier) * 1.2, ...now.readers.map((reader) => reader.position));
}

// The end of the loaded bytes before an offset.
export function loadedBefore(now, offset) {
  const ends = [...now.ranges.resident, ...now.ranges.spilled].filter(([start]) => start <= offset).map(([, end]) => end);
  return Math.min(offset, Math.max(0, ...ends));
}

const sum = (ranges) => ranges.reduce((total, [start, end]) => total + end - start, 0);

export function drawBar(now, readers, time) {
  const whole = scaleOf(now);
  const percent = (offset) => `${Math.min(100, (offset / whole) * 100)}%`;
  const failed = now.state === "failed";
  const open = now.size === null;

  const parts = Object.entries(kinds).flatMap(([kind, name]) =>
    now.ranges[kind].map(([start, end], index) => ({ id: `${kind}${index}`, name, start, end })));
  keep($("parts"), parts, (part) => element("div", `part ${part.name}`), (child, part) => {
    child.style.left = percent(part.start);
    child.style.width = percent(part.end - part.start);
  });

  // The bytes that the source still has to bring for each reader that waits.
  const awaited = failed ? [] : readers.filter((reader) => reader.waits && !reader.edge);
  keep($("awaited"), awaited, () => element("div", "wanted"), (child, reader) => {
    child.style.left = percent(reader.before);
    child.style.width = percent(reader.position - reader.before);
  });

  // Where each stream of the source is now.
  const heads = failed || now.state === "complete" || now.state === "ended" ? [] : now.positions.map((at, index) => ({ id: index, at }));
  keep($("heads"), heads, () => element("div", "stream"), (child, head) => { child.style.left = percent(head.at); });

  // The player knows its position only as a time, so its place on the bar is approximate.
  const hasTime = time !== null && !open;
  $("playhead").hidden = !hasTime;
  if (hasTime) $("playhead").style.left = percent(time * whole);

  const bar = $("bar");
  bar.classList.toggle("open", open && !failed);
  bar.classList.toggle("failed", failed);
  bar.classList.toggle("pulling", now.state === "pulling");
  $("size").textContent = open ? "size unknown" : bytes(now.size);

  const discarded = sum(now.ranges.discarded);
  $("in-memory").textContent = bytes(sum(now.ranges.resident));
  $("on-disk").textContent = bytes(sum(now.ranges.spilled));
  $("discarded").textContent = bytes(discarded);
  $("discarded-entry").hidden = discarded === 0;
  const missing = open ? "unknown" : bytes(now.size - now.loaded - discarded);
  $("to-come").textContent = failed && open ? "the rest" : missing;
  $("to-come-name").textContent = failed ? "Lost" : "Still to come";
  $("to-come-key").className = `key ${failed ? "lost" : "missing"}`;

  const share = now.size ? `${Math.floor((now.loaded / now.size) * 100)} percent of ${bytes(now.size)}` : bytes(now.loaded);
  const waiting = readers.filter((reader) => reader.waits && !reader.edge).length;
  const lost = failed ? ", the rest is lost" : "";
  const label = `${share} loaded${lost}; ${bytes(now.spilled)} on disk, ${bytes(now.resident)} in memory, ${waiting} ${waiting === 1 ? "reader" : "readers"} waiting`;
  if (bar.getAttribute("aria-label") !== label) bar.setAttribute("aria-label", label);

  drawMarks(readers, whole);
}

export const classes = (name, reader) =>
  `${name}${reader.waits && !reader.edge ? " waits" : ""}${reader.edge ? " edge" : ""}${reader.gone ? " gone" : ""}`;

const gap = 4; // between two labels

// Each label stands above its position. Labels that would cover each other are moved apart, and their words are left
// out if these do not fit.
function drawMarks(readers, whole) {
  const marks = $("marks");
  const make = (reader) => {
    const mark = element("div");
    const label = element("span", "label");
    label.append(element("b", "", letter(reader)), element("span", "word", reader.label));
    mark.append(label);
    return mark;
  };
  const width = marks.clientWidth;
  const sorted = [...readers].sort((a, b) => a.position - b.position || a.id - b.id);
  const at = (reader) => Math.min(1, reader.position / whole) * width;
  marks.classList.remove("letters");
  keep(marks, sorted, make, (mark, reader) => { mark.className = classes("mark", reader); mark.style.left = `${at(reader)}px`; });
  const of = (reader) => [...marks.children].find((mark) => mark.dataset.id === String(reader.id)).firstChild;
  const labels = sorted.map((reader) => ({ label: of(reader), at: at(reader) }));
  let places = placed(labels, width);
  if (places.some((left, index) => Math.abs(left - wanted(labels[index], width)) > 1)) {
    marks.classList.add("letters");
    places = placed(labels, width);
  }
  labels.forEach(({ label, at }, index) => { label.style.left = `${places[index] - at}px`; });
}

const wanted = ({ label, at }, width) => Math.max(0, Math.min(width - label.offsetWidth, at - 11));

// The left edges of labels in one row, from left to right, none over another.
function placed(labels, width) {
  let end = 0;
  const lefts = labels.map((it) => {
    const left = Math.max(wanted(it, width), end);
    end = left + it.label.offsetWidth + gap;
    return left;
  });
  let limit = width;
  for (let index = labels.length - 1; index >= 0; index--) {
    const own = labels[index].label.offsetWidth;
    lefts[index] = Math.min(lefts[index], limit - own);
    limit = lefts[index] - gap;
  }
  return lefts;
}
