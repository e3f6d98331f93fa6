// The player of the page, and what stands in its place when nothing can be played.

import { $, element, say } from "./text.js";

// What happened and what to do, by the code of the player's error.
const problems = {
  2: ["The transfer to this page broke.", "Load it again to go on at the same position."],
  3: ["This part of the media is damaged.", "Load it again, or jump to another position."],
  4: ["The browser can't play this format.", "Open the address below in another player, or save the file."],
};

let player = null;
let resource = null;
let loads = 0; // how often a player was loaded
let known = false; // the server has told the page the size
let openEnded = false; // the size was unknown when the player was loaded
let broken = null; // the error of the player, or of the response in its place
let failure = null; // the failure of the source, as the server tells it

// Browsers remember facts about an address for later players, such as an unknown size.
const address = () => `${resource.path}?load=${++loads}`;

// Puts a player for the resource on the page.
export async function play(next) {
  resource = next;
  player = broken = failure = null;
  known = false;
  show();
  note("");
  $("player").replaceChildren(element("p", "", "Waiting for the first bytes …"));
  // The response waits until the first bytes have arrived, because they determine the type.
  const response = await fetch(next.path, { method: "HEAD" }).catch(() => null);
  if (resource !== next) return;
  const type = response?.headers.get("content-type") ?? "";
  const kind = type.split("/")[0];
  if (!response?.ok) {
    broken = { what: "There is nothing to play.", advice: "The source gave no bytes.", detail: "" };
    return show();
  }
  if (kind !== "video" && kind !== "audio") {
    $("player").replaceChildren(element("p", "", `No player for ${type}. Any range of it can be requested.`));
    return;
  }
  openEnded = !known && !response.headers.has("content-length");
  player = element(kind);
  player.controls = true;
  player.preload = "metadata";
  player.setAttribute("aria-label", next.name);
  const own = player;
  player.addEventListener("error", () => { if (own === player) stopped(own.error); });
  player.addEventListener("loadedmetadata", () => {
    broken = null;
    show();
    if (own.videoWidth) $("player").style.setProperty("--ratio", own.videoWidth / own.videoHeight);
  });
  player.src = address();
  $("player").replaceChildren(player);
}

function stopped(error) {
  const [what, advice] = problems[error?.code] ?? ["The player has stopped.", "Load it again."];
  broken = { what, advice, detail: error?.message ?? "" };
  show();
}

// The failure of the source, or null. It explains an error of the player.
export function sourceFailed(now) {
  failure = now;
  show();
}

// Shows the error in the place of a player that can't play. A player that still has bytes stays.
function show() {
  const cause = broken && (failure ?? broken);
  $("trouble").hidden = !cause;
  $("player").hidden = !!cause;
  if (!cause) return;
  say("trouble-what", cause.what);
  say("trouble-advice", cause.advice);
  say("trouble-text", [failure?.detail, broken.detail].filter(Boolean).join("\n"));
  say("reload", failure && !$("start-over").disabled ? "Start over" : "Load it again");
  $("trouble").querySelector("details").hidden = !$("trouble-text").textContent;
}

// A note over the film, which stands still meanwhile.
export function note(text) {
  say("note", text);
  $("note").hidden = !text || $("player").hidden;
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
  broken = null;
  show();
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

// Whether the player can jump to a part of the resource.
export const canJump = () => player?.duration > 0 && Number.isFinite(player.duration);

// Plays from a part of the duration on. Resolves to the time until the picture is there.
export function jumpTo(part) {
  const began = performance.now();
  player.currentTime = part * player.duration;
  player.play().catch(() => {});
  const own = player;
  return new Promise((done) => own.addEventListener("seeked", () => done(performance.now() - began), { once: true }));
}

// The position as a part of the duration, if both are known.
export function time() {
  return canJump() ? player.currentTime / player.duration : null;
}
