// The table: rows are kept by study, moves wait while somebody points or types in it, nothing takes the focus away.
import { say, tick } from "./clock.js";
import { isPaused } from "./live.js";

const table = () => document.getElementById("list");
const pendingButton = () => document.getElementById("pending");
const rowOf = (root, study) => root.querySelector(`tr[data-study="${CSS.escape(study)}"]`);
export const rows = () => [...table().querySelectorAll("tr.study")].filter((row) => !row.hidden);
export const current = () => document.activeElement?.closest?.("tr.study") ?? null;

let waiting = null; // the newest list that was not applied yet
let pointed = false;

export const held = () => isPaused() || pointed || table().contains(document.activeElement);

const order = (root) => [...root.querySelectorAll("tr.study")].map((row) => row.dataset.study);

// The fewest rows that have to move: all but the longest run that keeps its order (patience sorting).
function moves(before, after) {
  const place = new Map(before.map((study, i) => [study, i]));
  const tails = [];
  for (const study of after) {
    const at = place.get(study);
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tails[middle] < at) low = middle + 1; else high = middle;
    }
    tails[low] = at;
  }
  return after.length - tails.length;
}

// How many rows of `next` are not here, how many moved among the others, how many left.
function difference(next) {
  const before = order(table());
  const after = order(next);
  const here = new Set(before);
  const there = new Set(after);
  const stay = after.filter((study) => here.has(study));
  const left = before.filter((study) => there.has(study));
  return { fresh: after.length - stay.length, moved: moves(left, stay), gone: before.length - left.length };
}

function keep(old, fresh) {
  const open = old.querySelector("details.why")?.open;
  if (open) fresh.querySelector("details.why").open = true;
  fresh.hidden = old.hidden;
  fresh.tabIndex = old.tabIndex;
}

function focusPath(row) {
  const at = document.activeElement;
  if (!row || !row.contains(at)) return null;
  const all = [row, ...row.querySelectorAll("a, button, summary")];
  return { study: row.dataset.study, index: all.indexOf(at), top: row.getBoundingClientRect().top };
}

function restore(path) {
  const row = path && rowOf(table(), path.study);
  if (!row) return;
  const all = [row, ...row.querySelectorAll("a, button, summary")];
  (all[path.index] ?? row).focus({ preventScroll: true });
  window.scrollBy(0, row.getBoundingClientRect().top - path.top); // the row under the eye stays under the eye
}

function replaceBodies(next) {
  const path = focusPath(current());
  for (const row of next.querySelectorAll("tr.study")) {
    const old = rowOf(table(), row.dataset.study);
    if (old) keep(old, row);
  }
  for (const body of table().querySelectorAll("tbody")) body.remove();
  table().append(...next.querySelectorAll("tbody"));
  restore(path);
  rove();
  document.dispatchEvent(new Event("vigie:applied"));
  tick();
}

// Places and the order stay; what a row says (a flag, a claim) is current even while moves wait.
function refreshInPlace(next) {
  for (const fresh of next.querySelectorAll("tr.study")) {
    const old = rowOf(table(), fresh.dataset.study);
    if (!old || old.outerHTML === fresh.outerHTML) continue;
    const path = focusPath(old);
    fresh.querySelector(".place").textContent = old.querySelector(".place").textContent;
    keep(old, fresh);
    old.replaceWith(fresh.cloneNode(true));
    restore(path);
  }
  tick();
}

export function parse(html) {
  return new DOMParser().parseFromString(`<table>${html}</table>`, "text/html").querySelector("table");
}

export function receive(html) {
  const next = parse(html);
  const change = difference(next);
  if (!held() || !(change.fresh || change.moved || change.gone)) {
    replaceBodies(next);
    waiting = null;
    pendingButton().hidden = true;
    return;
  }
  waiting = html;
  refreshInPlace(next);
  pendingButton().textContent = say("pending_moves", { new: change.fresh, moved: change.moved + change.gone });
  pendingButton().hidden = false;
}

export function apply() {
  if (waiting === null) return;
  const html = waiting;
  waiting = null;
  pendingButton().hidden = true;
  replaceBodies(parse(html));
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
  const at = all.indexOf(current());
  const row = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
  rove(row);
  row.focus();
  row.scrollIntoView({ block: "nearest" });
}

export function start() {
  table().addEventListener("pointerenter", () => { pointed = true; });
  table().addEventListener("pointerleave", () => { pointed = false; if (!held()) apply(); });
  table().addEventListener("focusout", () => setTimeout(() => { if (!held()) apply(); }, 0));
  pendingButton().addEventListener("click", apply);
  rove();
}
