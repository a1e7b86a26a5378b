// Signed countdowns and waiting times, ticking from the server's clock, never the browser's.

const OFF_MS = 2000; // less is the time that an answer takes
const body = document.body;
let offset = Date.parse(body.dataset.now) - Date.now();
export const texts = await (await fetch(body.dataset.words)).json();
export const now = () => Date.now() + offset;

// What the server's clock says now; the browser's may have been set meanwhile.
export function setClock(told) {
  if (Math.abs(told - now()) > OFF_MS) offset = told - Date.now();
}

export function say(key, values = {}) {
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, String(value)), texts[key]);
}

const two = (n) => String(n).padStart(2, "0");

export function span(seconds) {
  const minutes = Math.floor(Math.abs(seconds) / 60);
  const [d, h, m] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  return d ? `${d} ${texts.days} ${two(h)} ${texts.hours}` : `${two(h)}:${two(m)}`;
}

// A time as the server writes it, in its own zone, whatever the browser's.
export function moment(iso) {
  const at = new Date(Date.parse(iso) + Number(body.dataset.zone) * 60000);
  const [y, m, d, h, n] = [at.getUTCFullYear(), at.getUTCMonth() + 1, at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes()].map(two);
  return document.documentElement.lang === "fr" ? `${d}/${m}/${y} ${h}:${n}` : `${y}-${m}-${d} ${h}:${n}`;
}

// A duration as it stands in a sentence.
export function brief(seconds) {
  const minutes = Math.floor(Math.abs(seconds) / 60);
  if (minutes >= 1440) return span(seconds);
  if (minutes >= 60) return say(minutes % 60 ? "brief_hours" : "brief_whole_hours", { h: Math.floor(minutes / 60), m: minutes % 60 });
  return minutes ? say("brief_minutes", { m: minutes }) : texts.brief_none;
}

export const openedText = (name, until) => say("opened_before", { name, time: brief((now() - Date.parse(until)) / 1000) });

export function countdown(target) {
  const left = (target - now()) / 1000;
  if (Math.abs(left) < 60) return `${texts.brief_none} ${left >= 0 ? texts.left : texts.over}`;
  return left >= 0 ? `−${span(left)} ${texts.left}` : `+${span(left)} ${texts.over}`;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// What was announced already, so that thresholds are spoken once.
const spoken = new Map();

function announce(node, left) {
  const row = node.closest("[data-study]");
  const place = document.getElementById("announce");
  if (!row || !place || row.dataset.lane === "3") return;
  const level = left <= 0 ? 2 : left <= 600 ? 1 : 0;
  const before = spoken.get(row.dataset.study);
  spoken.set(row.dataset.study, level);
  if (before === undefined || level <= before) return;
  place.textContent = say(level === 2 ? "announce_over" : "announce_soon", { what: row.querySelector(".desc")?.textContent.trim() ?? "" });
}

export function tick() {
  for (const node of document.querySelectorAll("[data-target]")) {
    const target = Date.parse(node.dataset.target);
    write(node, countdown(target));
    node.classList.toggle("over", target < now());
    announce(node, (target - now()) / 1000);
  }
  for (const node of document.querySelectorAll("[data-opened]")) write(node, openedText(node.dataset.by, node.dataset.opened));
  for (const node of document.querySelectorAll("[data-since]")) write(node, span((now() - Date.parse(node.dataset.since)) / 1000));
}

// What is offered for a while only (an undo) leaves when it is over; its place stays, so that nothing moves.
function expire() {
  for (const node of document.querySelectorAll("[data-until]")) if (Date.parse(node.dataset.until) < now()) node.classList.add("over");
}

export function start() {
  tick();
  setInterval(() => { tick(); expire(); }, 1000);
}
