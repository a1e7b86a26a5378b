// Signed countdowns and waiting times, ticking from the server's clock, never the browser's.

const body = document.body;
const offset = Date.parse(body.dataset.now) - Date.now();
export const texts = JSON.parse(body.dataset.texts);
export const now = () => Date.now() + offset;

export function say(key, values = {}) {
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, String(value)), texts[key]);
}

const two = (n) => String(n).padStart(2, "0");

export function span(seconds) {
  const minutes = Math.floor(Math.abs(seconds) / 60);
  const [d, h, m] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  return d ? `${d} ${texts.days} ${two(h)} ${texts.hours}` : `${two(h)}:${two(m)}`;
}

export function countdown(target) {
  const left = (target - now()) / 1000;
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
  for (const node of document.querySelectorAll("[data-since]")) write(node, span((now() - Date.parse(node.dataset.since)) / 1000));
}

// What is offered for a while only (an undo) leaves when it is over.
function expire() {
  for (const node of document.querySelectorAll("[data-until]")) if (Date.parse(node.dataset.until) < now()) node.remove();
}

export function start() {
  tick();
  setInterval(() => { tick(); expire(); }, 1000);
}
