// A study's page, and that of my studies: live, with the claims of this browser kept alive; what changes leaves the focus alone.
import * as clock from "./clock.js";
import * as live from "./live.js";

const $ = (id) => document.getElementById(id);
const article = document.querySelector("article.one");
const submitted = new WeakSet();
const focusable = "a, button, summary, input, select";

// A key image that was not drawn, or went with its pixels.
const picture = document.querySelector(".key-image img");
const hide = () => { picture.closest("figure").hidden = true; };
picture?.addEventListener("error", hide);
if (picture?.complete && !picture.naturalWidth) hide();

const ANSWER_MS = 12_000; // an answer that takes longer is none
let reading = false;
let again = false;

// What the page says is read anew and put in block by block; a block in which somebody types stays until they leave it.
async function refresh() {
  if (reading) { again = true; return; }
  reading = true;
  const answer = await fetch(location.pathname, { headers: { accept: "text/html", "x-vigie-by-itself": "1" }, signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => null);
  reading = false;
  if (!answer?.ok || answer.redirected) { setTimeout(refresh, 3000); return; }
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const had = Boolean(document.querySelector("[data-mine]"));
  for (const block of document.querySelectorAll("[data-live]")) {
    const fresh = next.querySelector(`[data-live="${block.dataset.live}"]`);
    if (block.contains(document.activeElement) && document.activeElement.matches("input, select")) continue;
    if (fresh && fresh.innerHTML.replace(/value="[0-9a-f]{128}"/g, "") !== block.innerHTML.replace(/value="[0-9a-f]{128}"/g, "")) swap(block, fresh);
  }
  if (article) article.dataset.study = next.querySelector("article.one").dataset.study; // the same study, by the name that it has now
  const closed = document.querySelector('[data-live="finished"] .notice');
  if (had && !closed && !document.querySelector("[data-mine]") && $("lease-lost")) $("lease-lost").hidden = false;
  clock.tick();
  if (again) { again = false; await refresh(); }
}

function swap(block, fresh) {
  const at = [...block.querySelectorAll(focusable)].indexOf(document.activeElement);
  block.replaceChildren(...fresh.childNodes);
  if (at >= 0) [...block.querySelectorAll(focusable)].at(Math.min(at, block.querySelectorAll(focusable).length - 1))?.focus();
}

function rows({ items, gone }) {
  const shown = new Set([...document.querySelectorAll("[data-study]")].map((node) => node.dataset.study));
  const kin = document.querySelector('[data-live="siblings"]')?.innerHTML ?? "";
  const about = (study) => shown.has(study) || kin.includes(study);
  const mine = !article && items.some((row) => row.claimed_by === document.body.dataset.me || row.pinned_by);
  if (mine || items.some((row) => about(row.study)) || gone.some(about)) refresh();
}

const press = (verb) => document.querySelector(`[data-live="acts"] form[data-act="${verb}"]`)?.requestSubmit();
const keys = {
  f: () => press("finish-next"), d: () => press("finish"), u: () => press("release"), c: () => press("claim"),
  n: () => $("next-form")?.requestSubmit(),
  z: () => document.querySelector("[data-until]:not(.over)")?.closest("form, span")?.querySelector("button").click(),
  Escape: () => location.assign("/"),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=hidden]), select, textarea")) return;
  if (!(event.key in keys) || (event.key !== "Escape" && localStorage.getItem("vigie-keys") === "off")) return;
  event.preventDefault();
  keys[event.key]();
});
// A second click is the same click.
document.addEventListener("submit", (event) => {
  if (submitted.has(event.target)) event.preventDefault();
  submitted.add(event.target);
});
if (article) sessionStorage.setItem("vigie-row", article.dataset.study);
clock.start();
live.start({ rows, reload: refresh });
