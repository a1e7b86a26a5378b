// What is live on every page: joins the browser's one stream, and says how far the list can be believed.
import { brief, moment, say, setClock } from "./clock.js";
import { Source } from "./source.js";

const STALE_S = 30;
const SILENT_S = 12; // the server beats every 5 s
let heard = at(0);
let state = "connecting";
let paused = 0;
let truth = null; // what the server said last of the list

// A moment that lies `ago` milliseconds back, by both clocks: one stands still in sleep, the other can be set.
function at(ago) {
  return { tick: performance.now() - ago, wall: Date.now() - ago };
}

const since = (moment) => Math.max(performance.now() - moment.tick, Date.now() - moment.wall);

export const isPaused = () => paused > 0;

export function pause(on) {
  paused = on ? Date.now() : 0;
  show();
}

function clock(ms) {
  const s = Math.floor(ms / 1000);
  return `${String(Math.floor(s / 60)).padStart(2, "0")}:${String(s % 60).padStart(2, "0")}`;
}

const words = () => truth?.lines.map((line) => say(`truth_${line.code}`, line.at ? { ...line, at: moment(line.at) } : line)) ?? [];

// The state of the line, and its sentences, most grave first.
function told() {
  const silent = Math.floor(since(heard) / 1000);
  if (state === "login") return ["stale", [say("lost_login")]];
  if (silent > STALE_S) return ["stale", [say("stale", { seconds: silent }), ...words()]];
  if (!["live", "polling"].includes(state) || silent > SILENT_S || !truth) return ["reconnecting", [say(truth ? "reconnecting" : "connecting"), ...words()]];
  if (truth.lines.length) return [truth.stale ? "stale" : "warned", words()];
  const age = truth.applied_age_s;
  const newest = age === null ? "" : ` · ${say("truth_newest", { age: brief(age + since(heard) / 1000) })}`;
  return [state, [say(state) + newest]];
}

function show() {
  if (!truth && state === "connecting" && since(heard) < STALE_S * 1000) return; // the server's own words stand
  const [shown, lines] = told();
  if (paused) lines[0] += ` · ${say("paused", { time: clock(Date.now() - paused) })}`;
  document.getElementById("truth").dataset.state = shown;
  write(document.getElementById("truth-text"), lines[0]);
  write(document.getElementById("truth-more"), lines.length > 1 ? say("truth_more", { n: lines.length - 1 }) : "");
  const list = document.getElementById("truth-lines");
  if (list.textContent !== lines.join("")) list.replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  document.getElementById("list")?.classList.toggle("stale", shown === "stale");
  const painted = document.getElementById("stale");
  if (painted && shown !== "stale") painted.textContent = "";
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function receive(message, on) {
  if (message.kind === "other") { location.reload(); return; } // somebody else logged in here: the page is theirs now
  if (message.kind === "state") state = message.state;
  else if (message.kind === "beat") [truth, heard] = [message.truth, at(message.age ?? 0)];
  else heard = at(0);
  if (message.kind === "beat" && truth.as_of) setClock(Date.parse(truth.as_of) + (message.age ?? 0));
  if (message.kind === "rows") on.rows(message.frame, message.id);
  if (message.kind === "reload") on.reload();
  show();
}

function join(on) {
  const after = document.body.dataset.stream;
  const csrf = document.querySelector('meta[name="csrf"]').content;
  if (typeof SharedWorker === "undefined") {
    new Source((message) => receive(message, on), after, csrf);
    return;
  }
  const { port } = new SharedWorker("/static/worker.js", { type: "module", name: "vigie" });
  port.onmessage = ({ data }) => receive(data, on);
  port.postMessage({ kind: "join", after, csrf, me: document.body.dataset.me });
  window.addEventListener("pagehide", () => port.postMessage({ kind: "bye" }));
}

export function start(on) {
  join(on);
  setInterval(show, 1000);
  // A page that comes back out of the browser's memory shows what was: it is read anew.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

// The same without rows: for pages of those who may not follow the list.
export function ask() {
  const look = async () => {
    const answer = await fetch("/api/v1/truth", { cache: "no-store" }).catch(() => null);
    if (!answer?.ok) { state = "reconnecting"; return show(); }
    [truth, state, heard] = [await answer.json(), "live", at(0)];
    show();
  };
  look();
  setInterval(look, 5000);
}
