// Texts and small helpers of the page.

export const $ = (id) => document.getElementById(id);
const unit = 1024;

export function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  if (count < unit) return `${Math.round(count)} B`;
  if (count < unit * unit) return `${(count / unit).toFixed(count < 10 * unit ? 1 : 0)} KiB`;
  if (count < unit ** 3) return `${(count / unit ** 2).toFixed(2)} MiB`;
  return `${(count / unit ** 3).toFixed(2)} GiB`;
}

export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

// A duration as a person says it.
export function duration(ms) {
  const whole = Math.max(1, Math.round(ms / 1000));
  if (whole < 60) return whole === 1 ? "1 second" : `${whole} seconds`;
  const minutes = Math.round(whole / 60);
  return minutes === 1 ? "1 minute" : `${minutes} minutes`;
}
export const letter = (reader) => String.fromCharCode(65 + ((reader.id - 1) % 26));

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Changes a text only if it differs, so that a screen reader reports real changes only.
export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

// Keeps one child of `parent` per item with an id. `make` creates it, and `update` changes it.
export function keep(parent, items, make, update) {
  const ids = new Set(items.map((item) => String(item.id)));
  for (const child of [...parent.children]) if (!ids.has(child.dataset.id)) child.remove();
  for (const item of items) {
    let child = [...parent.children].find((child) => child.dataset.id === String(item.id));
    if (!child) {
      child = make(item);
      child.dataset.id = item.id;
      parent.append(child);
    }
    update(child, item);
  }
}

// The rate of a growing number of bytes per second, smoothed over about a second.
export class Rate {
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
