// The player of the page, and its errors.

import { $, element } from "./text.js";

const problems = {
  1: "It was stopped.",
  2: "The transfer broke.",
  3: "The media can't be decoded.",
  4: "The media can't be played: the browser does not know its format, or its start is missing.",
};

let player = null;
let resource = null;
let loads = 0; // how often a player was loaded
let known = false; // the server has told the page the size
let openEnded = false; // the size was unknown when the player was loaded

// Browsers remember facts about an address for later players, such as an unknown size.
const address = () => `${resource.path}?load=${++loads}`;

// Puts a player for the resource on the page.
export async function play(next) {
  resource = next;
  player = null;
  known = false;
  trouble("");
  $("player").replaceChildren(element("p", "", "Waiting for the first bytes …"));
  // The response waits until the first bytes have arrived, because they determine the type.
  const response = await fetch(next.path, { method: "HEAD" }).catch(() => null);
  if (resource !== next) return;
  const type = response?.headers.get("content-type") ?? "";
  const kind = type.split("/")[0];
  if (!response?.ok || (kind !== "video" && kind !== "audio")) {
    const why = response?.ok ? `No player for ${type}. Any range of it can be requested.` : "The source gave nothing to play.";
    $("player").replaceChildren(element("p", "", why));
    return;
  }
  openEnded = !known && !response.headers.has("content-length");
  player = element(kind);
  player.controls = true;
  player.preload = "metadata";
  player.setAttribute("aria-label", next.name);
  const own = player;
  player.addEventListener("error", () => { if (own === player) failed(own.error); });
  player.addEventListener("loadedmetadata", () => trouble(""));
  player.src = address();
  $("player").replaceChildren(player);
}

function failed(error) {
  const detail = error?.message ? ` (${error.message})` : "";
  trouble(`The player has stopped. ${problems[error?.code] ?? ""}${detail}`);
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble-text").textContent = text;
}

// Loads the media again and goes on at the same position. `load` resets the position, the rate and the pause. If the
// position is set before the metadata has arrived, the player starts there, and reports this position from now on.
export function reload() {
  if (!player) {
    if (resource) play(resource);
    return;
  }
  const { currentTime, paused, ended, playbackRate } = player;
  openEnded = false;
  trouble("");
  player.src = address();
  player.load();
  player.currentTime = currentTime;
  player.playbackRate = playbackRate;
  // The browser may refuse to start without a click.
  if (!paused && !ended) player.play().catch(() => {});
}

// A player that was loaded without a size may be unable to seek, and may have the wrong duration.
export function sizeIsKnown() {
  known = true;
  if (!player || !openEnded) return;
  openEnded = false;
  const { seekable, duration } = player;
  const reach = seekable.length ? seekable.end(seekable.length - 1) : 0;
  if (!Number.isFinite(duration) || reach < duration - 0.5) reload();
}

// The position as a part of the duration, if both are known.
export function time() {
  return player?.duration > 0 && Number.isFinite(player.duration) ? player.currentTime / player.duration : null;
}
