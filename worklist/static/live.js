// The live feed: reconnects by itself, says how fresh the list is, reloads after a gap.
import { say } from "./clock.js";

const STALE_S = 30;
const SILENT_S = 12; // the server beats every 5 s
let heard = Date.now();
let state = "connecting";
let paused = 0;
let behind = null; // how many events the list lacks, and for how long
let source;

export const isPaused = () => paused > 0;

export function pause(on) {
  paused = on ? Date.now() : 0;
  show();
}

function hear() {
  heard = Date.now();
  state = "live";
  show();
}

function clock(ms) {
  const s = Math.floor(ms / 1000);
  return `${String(Math.floor(s / 60)).padStart(2, "0")}:${String(s % 60).padStart(2, "0")}`;
}

function show() {
  const silent = Math.floor((Date.now() - heard) / 1000);
  let shown = state;
  if (state === "live" && silent > SILENT_S) shown = "reconnecting";
  if (silent > STALE_S || state === "database") shown = "stale";
  let text = shown === "stale" ? say("stale", { seconds: silent }) : say(shown);
  if (shown === "live" && behind) {
    shown = "stale";
    text = say("behind", behind);
  }
  if (paused) text += ` · ${say("paused", { time: clock(Date.now() - paused) })}`;
  const box = document.getElementById("fresh");
  box.dataset.state = shown;
  const line = document.getElementById("fresh-text");
  if (line.textContent !== text) line.textContent = text;
  document.getElementById("list").classList.toggle("stale", shown === "stale");
  const words = document.getElementById("stale");
  if (state === "live" && shown !== "stale") words.hidden = true;
}

function open(on) {
  source = new EventSource("/api/v1/events");
  const parse = (event) => JSON.parse(event.data);
  source.addEventListener("rows", (event) => { hear(); on.rows(parse(event)); });
  source.addEventListener("beat", (event) => { behind = parse(event).behind ?? null; hear(); });
  source.addEventListener("hello", () => { hear(); on.reload(); });
  source.addEventListener("reload", () => { hear(); on.reload(); });
  source.addEventListener("stale", () => { state = "database"; on.stale(); show(); });
  source.onerror = () => {
    if (state !== "database") state = "reconnecting";
    show();
    // A refusal (logged out, 503) closes the source for good: try again, slowly.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => open(on), 3000);
  };
}

export function start(on) {
  open(on);
  setInterval(show, 1000);
  window.addEventListener("pagehide", () => source.close());
}
