// The table: what a row says changes at once, where it stands changes when nobody points or types in it. A row is its study, whatever moves.
import { say, tick } from "./clock.js";
import { isPaused } from "./live.js";
import { above, clean, described, loud, personName, render } from "./rows.js";

const MOST = 1.5; // a page that grew to so many times its size gives its tail to the next
const LEAST = 0.6; // and one that shrank to so much asks for more

const table = () => document.getElementById("list");
const rowOf = (study) => table().querySelector(`tr[data-study="${CSS.escape(study)}"]`);
export const rows = () => [...table().querySelectorAll("tr.study")];
export const current = () => document.activeElement?.closest?.("#list tr.study") ?? null;

let waiting = new Map(); // study → its data, or null: it leaves
let anew = null; // a whole page that was read anew, and waits
let since = []; // frames that came after it was read
let pointed = false;
let on = { changed: () => {}, short: () => {} };

export const held = () => isPaused() || pointed || table().contains(document.activeElement);
// What the page shows of the list: rows after a key; and, when more follow, up to its last row's key. A search has no such place.
const searched = () => table().dataset.searched === "1";

function belongs(row) {
  if (searched() || row.state === "preliminary") return false; // what has a preliminary report is to be validated, on a page of its own
  if (row.key <= (table().dataset.after ?? "")) return false;
  return table().dataset.more !== "1" || row.key < (table().dataset.until ?? "");
}

// Of waiting rows: how many are new here, change their place, or leave.
export function pending() {
  const told = { new: 0, moved: 0, gone: 0 };
  for (const [study, row] of waiting) {
    if (row === null || !belongs(row)) told.gone += 1;
    else told[rowOf(study) ? "moved" : "new"] += 1;
  }
  return told;
}

const focusable = "a, button, summary, input, select";

function focusPath() {
  const row = current();
  if (!row) return null;
  return { study: row.dataset.study, index: [row, ...row.querySelectorAll(focusable)].indexOf(document.activeElement), top: row.getBoundingClientRect().top };
}

function restore(path, scroll) {
  const row = path && rowOf(path.study);
  if (!row) return;
  if (!row.contains(document.activeElement)) ([row, ...row.querySelectorAll(focusable)][path.index] ?? row).focus({ preventScroll: true });
  if (scroll) window.scrollBy(0, row.getBoundingClientRect().top - path.top); // the row under the eye stays under the eye
}

// What the row says, cell by cell; its place, its panel and the focus in it stay.
function patch(old, fresh) {
  const path = old.contains(document.activeElement) ? focusPath() : null;
  const open = old.querySelector("details.why")?.open;
  for (const [at, cell] of [...old.cells].entries()) {
    const next = fresh.cells[at];
    if (cell.className === "place" || cell.outerHTML === next.outerHTML) continue;
    cell.className = next.className;
    cell.replaceChildren(...next.childNodes);
  }
  old.className = fresh.className;
  old.dataset.loud = fresh.dataset.loud ?? "";
  if (open) { old.querySelector("details.why").open = true; explain(old); }
  restore(path, false);
}

function leave(old, told) {
  const cell = old.querySelector("td.reader");
  const path = old.contains(document.activeElement) ? focusPath() : null;
  const text = told?.finished_by ? say("finished_by", { name: clean(told.finished_by), time: "" }).replace(/, $/, "") : say(told ? `state_${told.state}` : "state_gone");
  cell.replaceChildren(Object.assign(document.createElement("span"), { className: "who", textContent: `✓ ${text}` }));
  old.classList.add("left");
  old.classList.remove("mine", "taken");
  restore(path, false);
}

export function frame(told) {
  if (anew) since.push(told);
  hear(told);
  if (held()) on.changed(); else apply();
  tick();
}

// What changed: what rows say of it at once, where they stand waits.
function hear({ items, gone, closed }) {
  for (const row of items) {
    const old = rowOf(row.study);
    if (old) patch(old, render(row));
    if (old ? old.dataset.key !== row.key || old.classList.contains("left") : belongs(row)) waiting.set(row.study, row);
    else waiting.delete(row.study);
    old?.classList.remove("left");
  }
  const became = new Map(closed.map((one) => [one.study, one]));
  for (const study of gone) {
    const old = rowOf(study);
    if (old) { leave(old, became.get(study)); waiting.set(study, null); } else waiting.delete(study);
  }
}

// A page that was read anew: what it says at once, where rows stand when nobody is in the table. `newer`: frames that came after it was read, and say more than it does.
export function receive(html, newer) {
  anew = new DOMParser().parseFromString(`<table>${html}</table>`, "text/html").querySelector("table");
  waiting = new Map();
  for (const fresh of anew.querySelectorAll("tr.study")) {
    const old = rowOf(fresh.dataset.study);
    if (old) patch(old, fresh.cloneNode(true));
    if (!old || old.dataset.key !== fresh.dataset.key) waiting.set(fresh.dataset.study, { key: fresh.dataset.key });
  }
  for (const old of rows()) {
    if (anew.querySelector(`tr[data-study="${CSS.escape(old.dataset.study)}"]`)) continue;
    leave(old, null);
    waiting.set(old.dataset.study, null);
  }
  since = [...newer];
  for (const told of since) hear(told);
  if (held()) on.changed(); else apply();
}

export const waits = () => anew !== null || waiting.size > 0;

export function apply() {
  const path = focusPath();
  if (anew) replace(anew);
  for (const told of since) hear(told);
  for (const [study, row] of waiting) {
    const old = rowOf(study);
    if (row === null || (!belongs(row) && !searched())) old?.remove();
    else if (row.study) place(old, row);
  }
  waiting = new Map();
  [anew, since] = [null, []];
  tidy();
  restore(path, true);
  rove();
  on.changed();
  tick();
}

function replace(next) {
  const open = new Set([...table().querySelectorAll("details.why[open]")].map((node) => node.closest("tr").dataset.study));
  for (const row of next.querySelectorAll("tr.study")) if (open.has(row.dataset.study)) row.querySelector("details.why").open = true;
  Object.assign(table().dataset, JSON.parse(next.querySelector("tbody").dataset.page));
  for (const body of table().querySelectorAll("tbody")) body.remove();
  table().append(...next.querySelectorAll("tbody"));
  waiting = new Map(); // the frames that came since are heard again
}

function group(lane) {
  const found = table().querySelector(`tbody[data-lane="${lane}"]`);
  if (found) return found;
  table().querySelector("tbody.none")?.remove();
  const body = document.createElement("tbody");
  body.dataset.lane = lane;
  body.className = `lane-${lane}`;
  body.innerHTML = '<tr class="group"><th colspan="8" scope="rowgroup"></th></tr>';
  const count = Object.assign(document.createElement("span"), { className: "n" });
  body.querySelector("th").append(`${say(`lane_${lane}`)} `, count);
  const after = [...table().tBodies].find((one) => one.dataset.lane > lane);
  table().insertBefore(body, after ?? null);
  return body;
}

function place(old, row) {
  const node = old ?? render(row);
  if (searched()) { node.dataset.key = row.key; return; }
  node.dataset.key = row.key;
  node.dataset.lane = String(row.lane);
  const body = group(String(row.lane));
  const after = [...body.querySelectorAll("tr.study")].find((one) => one !== node && one.dataset.key > row.key);
  body.insertBefore(node, after ?? null);
}

// Places counted anew, groups without rows away; a page too long gives up its tail, one too short asks.
function tidy() {
  const size = Number(table().dataset.size);
  const all = rows();
  if (all.length > size * MOST) {
    for (const row of all.splice(size)) row.remove();
    table().dataset.more = "1";
    table().dataset.until = `${all.at(-1).dataset.key}~`;
  }
  number();
  for (const body of table().querySelectorAll("tbody[data-lane]")) if (!body.querySelector("tr.study")) body.remove();
  if (!rows().length && !table().querySelector("tbody.none")) on.short();
  else if (table().dataset.more === "1" && rows().length < size * LEAST) on.short();
}

export const first = () => Number(table().dataset.first);

function number() {
  let next = first();
  for (const row of rows()) {
    const text = row.dataset.lane === "3" || searched() ? "" : String((next += 1));
    if (row.cells[0].textContent !== text) row.cells[0].textContent = text;
  }
}

// So many stand before this page now; what it says of that itself is counted anew.
export function countFrom(before) {
  table().dataset.first = before;
  const from = document.getElementById("from");
  if (from) from.textContent = say("places_from", { n: before + 1 });
  number();
}

export function explain(row) {
  const line = row.querySelector(".why-panel .above");
  const all = rows();
  if (line) line.textContent = above(row, all[all.indexOf(row) + 1]);
}

// What waits, and what is loud wherever it stands, in one sentence for the strip.
export function title(row) {
  return [say(`urgency_${loud(row)}`), personName(row.patient_name), `${clean(row.modality)} ${described(row)}`].filter((text) => text.trim()).join(" · ");
}

// One row at a time is in the tab order; j and k move it.
export function rove(row = null) {
  const all = rows();
  const chosen = row ?? all.find((one) => one.tabIndex === 0) ?? all[0];
  for (const one of all) one.tabIndex = one === chosen ? 0 : -1;
}

export function step(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current() ?? all.find((one) => one.tabIndex === 0 && sessionStorage.getItem("vigie-row") === one.dataset.study));
  const row = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
  rove(row);
  row.focus();
  row.scrollIntoView({ block: "nearest" });
}

export function start(handlers) {
  on = handlers;
  Object.assign(table().dataset, JSON.parse(table().dataset.page));
  table().addEventListener("pointerenter", () => { pointed = true; });
  table().addEventListener("pointerleave", () => { pointed = false; if (!held() && waits()) apply(); });
  table().addEventListener("focusout", () => setTimeout(() => { if (!held() && waits()) apply(); }, 0));
  table().addEventListener("toggle", (event) => { if (event.target.open) explain(event.target.closest("tr")); }, true);
  rove();
}
