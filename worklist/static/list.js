// The list page: joins the feed, the table, the strip, the keys and the buttons.
import * as clock from "./clock.js";
import * as live from "./live.js";
import { loud } from "./rows.js";
import * as table from "./table.js";

const $ = (id) => document.getElementById(id);
const csrf = document.querySelector('meta[name="csrf"]').content;
const SHOWN = 3; // rows that the strip has room for
const known = new Map(); // study → how loud it was when last heard of
const news = new Map(); // study → its data: loud since this page was opened, taken by nobody, not dismissed

// Wherever on the list it stands: what became loud is told until somebody takes it or waves it away.
function note(row) {
  const word = loud(row);
  const before = known.get(row.study);
  known.set(row.study, word);
  if (!word || row.claimed_by) news.delete(row.study);
  else if (news.has(row.study) || word !== before) news.set(row.study, row);
}

function strip() {
  const urgent = [...news.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
  const items = urgent.slice(0, SHOWN).map((row) => {
    const link = Object.assign(document.createElement("a"), { href: `/studies/${encodeURIComponent(row.study)}`, textContent: clock.say("new_strip", { word: table.title(row) }) });
    const close = Object.assign(document.createElement("button"), { textContent: "×" });
    close.setAttribute("aria-label", clock.texts.close);
    close.addEventListener("click", () => { news.delete(row.study); strip(); });
    const item = document.createElement("li");
    item.append(link, close);
    return item;
  });
  if (urgent.length > SHOWN) items.push(Object.assign(document.createElement("li"), { textContent: clock.say("strip_more", { n: urgent.length - SHOWN }) }));
  const text = urgent.map((row) => table.title(row)).join("\n");
  if ($("strip").dataset.told === text) return;
  $("strip").dataset.told = text;
  $("strip").replaceChildren(...items);
  if (urgent.length) $("announce").textContent = table.title(urgent[0]);
}

function moves() {
  const told = table.pending();
  const any = table.waits();
  $("pending").textContent = any ? clock.say("moves_wait", told) : "";
  $("pending").classList.toggle("empty", !any);
}

function count(counts) {
  if (!counts) return;
  const { lanes, flagged } = counts;
  const unread = lanes[0] + lanes[1] + lanes[2];
  $("unread").textContent = unread;
  $("flagged").textContent = flagged;
  $("emergent").textContent = lanes[1];
  $("to-validate").textContent = counts.to_validate;
  document.title = document.title.replace(/^\(.*?\)/, `(${unread} · ${lanes[1]})`);
  if ($("list").dataset.searched !== "1")
    for (const body of document.querySelectorAll("#list tbody[data-lane]")) body.querySelector(".n").textContent = lanes[body.dataset.lane] ?? "";
}

const KEPT = 256; // frames, for a list that was read before they came
let recent = [];

// Frames that a list which was read at the frame `id` does not know of.
function after(id) {
  const [epoch, number] = id.split(".");
  return recent.filter((one) => one.epoch === epoch && one.number > Number(number)).map((one) => one.frame);
}

function rows(frame, id) {
  const [epoch, number] = id.split(".");
  recent = [...recent.slice(1 - KEPT), { epoch, number: Number(number), frame }];
  for (const row of frame.items) note(row);
  if (frame.items.some((row) => ["flagged", "not_flagged"].includes(row.ai))) $("no-models")?.remove();
  for (const study of frame.gone) { news.delete(study); known.delete(study); }
  table.frame(frame);
  strip();
  count(frame.counts);
  if ($("list").dataset.searched === "1") later();
  else if (table.first() > 0) counted();
}

let counting = null;

// A page that is not the first: its places count from what stands before it, which changes too.
function counted() {
  counting ??= setTimeout(async () => {
    counting = null;
    const answer = await fetch(`/places${location.search}`, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => null);
    if (!answer || answer.status >= 500) counted();
    else if (answer.ok && !answer.redirected) table.countFrom((await answer.json()).first);
  }, 1000 + Math.random() * 1000);
}

const ANSWER_MS = 12_000; // an answer that takes longer is none
let fetching = false;
let again = false;
let soon = null;

// The page is read anew, until it was: what was told as a gap is never left unread.
async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  const answer = await fetch(`/list${location.search}`, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => null);
  fetching = false;
  if (answer?.redirected) { location.reload(); return; }
  if (answer?.ok) {
    const html = await answer.text();
    const newer = after(answer.headers.get("x-vigie-frame"));
    table.receive(html, newer);
    count(newer.findLast((frame) => frame.counts)?.counts ?? JSON.parse(answer.headers.get("x-vigie-counts")));
  } else setTimeout(refresh, 2000);
  if (again) { again = false; await refresh(); }
}

// Not at once and not all browsers at one moment.
function later(most = 5000) {
  soon ??= setTimeout(() => { soon = null; refresh(); }, most * (0.5 + Math.random() / 2));
}

// A sentence that stays for a while, perhaps with a button.
function tell(text, button = "") {
  $("error").replaceChildren(text, button);
  $("error").hidden = !text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { $("error").hidden = true; }, 8000);
}

// Why an act was refused, in words: the server's own, or that nothing came of it that can be read.
async function refusal(answer) {
  if (!answer) return clock.texts.error_network;
  if (answer.ok || answer.type === "opaqueredirect") return "";
  return (await answer.json().catch(() => null))?.detail ?? clock.texts.error_network;
}

let acting = false;

async function act(row, verb, fields = {}) {
  const form = row?.querySelector(`form[data-act="${verb}"]`);
  if (acting || (!form && !["skip", "undo"].includes(verb)) || !row) return;
  acting = true; // a second click on the same button is the same click
  const answer = await fetch(`/studies/${encodeURIComponent(row.dataset.study)}/${verb}`, {
    method: "POST", redirect: "manual", body: new URLSearchParams(fields), signal: AbortSignal.timeout(ANSWER_MS),
    headers: { "x-vigie-csrf": csrf, accept: "application/json" } }).catch(() => null);
  acting = false;
  const refused = await refusal(answer);
  if (refused || verb !== "skip") return tell(refused);
  const undo = Object.assign(document.createElement("button"), { textContent: clock.texts.undo });
  undo.addEventListener("click", () => act(row, "undo"));
  tell(`${clock.texts.skipped_note} `, undo);
}

function skip(row) {
  if (!row) return;
  $("skip").dataset.study = row.dataset.study;
  $("skip-reason").value = "";
  $("skip").showModal();
}

function why(row) {
  const panel = row?.querySelector("details.why");
  if (panel) panel.open = !panel.open;
}

function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  button.textContent = clock.texts[on ? "resume" : "pause"];
  live.pause(on);
  if (!on) table.apply();
}

const keys = {
  j: () => table.step(1), ArrowDown: () => table.step(1), k: () => table.step(-1), ArrowUp: () => table.step(-1),
  n: () => $("next-form").requestSubmit(),
  c: () => act(table.current(), "claim"), u: () => act(table.current(), "release"), s: () => skip(table.current()),
  z: () => document.querySelector("form[data-until]:not(.over)")?.requestSubmit(),
  w: () => why(table.current() ?? table.rows()[0]), "/": () => $("words")?.focus(), ".": () => table.apply(),
  p: () => $("pins").click(), "?": () => $("help").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "Escape") for (const panel of document.querySelectorAll("details.why[open]")) panel.open = false;
  if (event.key === "Enter" && event.target.matches("tr.study")) { event.target.querySelector("a.name").click(); return; }
  const arrows = event.key.startsWith("Arrow");
  if (!(event.key in keys) || (!arrows && !$("keys-on").checked) || (arrows && !table.current())) return;
  event.preventDefault();
  keys[event.key]();
}

// Back from a study, the list goes on where it was left.
function comeBack() {
  const row = table.rows().find((one) => one.dataset.study === sessionStorage.getItem("vigie-row"));
  if (!row) return;
  table.rove(row);
  row.scrollIntoView({ block: "nearest" });
}

function start() {
  for (const row of table.rows()) known.set(row.dataset.study, row.dataset.loud);
  clock.start();
  table.start({ changed: moves, short: () => later(1000) });
  comeBack();
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.name");
    if (link) sessionStorage.setItem("vigie-row", link.closest("tr").dataset.study);
  });
  $("pending").addEventListener("click", () => table.apply());
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("keys-on").checked = localStorage.getItem("vigie-keys") !== "off";
  $("keys-on").addEventListener("change", () => localStorage.setItem("vigie-keys", $("keys-on").checked ? "on" : "off"));
  $("pause").addEventListener("click", (event) => toggle(event.currentTarget));
  $("next-form").addEventListener("submit", (event) => { if (event.target.dataset.sent) event.preventDefault(); event.target.dataset.sent = "1"; });
  $("skip").addEventListener("close", () => {
    const row = document.querySelector(`#list tr[data-study="${CSS.escape($("skip").dataset.study)}"]`);
    if ($("skip").returnValue === "skip") act(row, "skip", { reason: $("skip-reason").value });
    row?.focus();
  });
  $("list").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.target.closest("tr.study"), event.target.dataset.act);
  });
  live.start({ rows, reload: () => later(1000) });
}

start();
