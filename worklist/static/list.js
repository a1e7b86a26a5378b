// The list page: joins the feed, the table, the keys and the buttons.
import * as clock from "./clock.js";
import * as live from "./live.js";
import * as table from "./table.js";

const $ = (id) => document.getElementById(id);
const csrf = document.querySelector('meta[name="csrf"]').content;
const known = new Map(); // study → what the strip has told of it already

function remember(root, silently) {
  for (const row of root.querySelectorAll("tr.study")) {
    const loud = row.dataset.lane === "1" ? "emergent" : row.dataset.flagged === "1" ? "flagged" : "";
    const before = known.get(row.dataset.study);
    known.set(row.dataset.study, loud);
    if (loud && loud !== before && !silently) tell(row);
  }
}

function tell(row) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/studies/${encodeURIComponent(row.dataset.study)}`;
  const words = [row.querySelector(".tag"), row.querySelector(".name"), row.querySelector(".desc")].map((node) => node?.textContent.trim());
  link.textContent = clock.say("new_strip", { word: words.join(" · ") });
  const close = document.createElement("button");
  close.textContent = "×";
  close.setAttribute("aria-label", clock.texts.close);
  close.addEventListener("click", () => { item.remove(); $("strip").hidden = !$("strip").children.length; });
  item.append(link, close);
  $("strip").prepend(item);
  while ($("strip").children.length > 5) $("strip").lastChild.remove();
  $("strip").hidden = false;
  $("announce").textContent = link.textContent;
}

let fetching = false;
let again = false;

async function refresh(silently = false) {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch(`/list${location.search}`, { headers: { accept: "text/html" } });
    if (answer.ok && !answer.redirected) {
      const html = await answer.text();
      remember(table.parse(html), silently);
      table.receive(html);
      count(answer.headers.get("x-vigie-counts"));
    } else if (answer.redirected) location.reload();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // the network: the feed says so already
  } finally {
    fetching = false;
  }
  if (again) { again = false; await refresh(); }
}

function count(header) {
  if (!header) return;
  const [unread, flagged] = header.split(",");
  $("unread").textContent = unread;
  $("flagged").textContent = flagged;
  document.title = document.title.replace(/^\(.*?\)/, `(${unread} · ${flagged})`);
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = false;
}

async function act(row, verb) {
  const form = row?.querySelector(`form[data-act="${verb}"]`);
  if (!form) return;
  const answer = await fetch(form.action, { method: "POST", redirect: "manual", headers: { "x-vigie-csrf": csrf, accept: "application/json" } });
  $("error").hidden = true;
  if (answer.type !== "opaqueredirect" && !answer.ok) fail((await answer.json()).detail);
  await refresh();
}

function filter() {
  const words = $("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...document.querySelectorAll("#list tr.study")];
  let hidden = 0;
  for (const row of all) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    hidden += row.hidden ? 1 : 0;
  }
  $("filter-note").hidden = hidden === 0;
  $("filter-note").textContent = clock.say("filter_note", { n: hidden, total: all.length });
  table.rove();
}

function why(row) {
  const panel = row?.querySelector("details.why");
  if (panel) panel.open = !panel.open;
}

const keys = {
  j: () => table.step(1), ArrowDown: () => table.step(1), k: () => table.step(-1), ArrowUp: () => table.step(-1),
  n: () => { table.apply(); $("next-form").requestSubmit(); },
  c: () => act(table.current(), "claim"), u: () => act(table.current(), "release"), s: () => act(table.current(), "skip"),
  w: () => why(table.current() ?? table.rows()[0]), "/": () => $("filter").focus(), ".": () => table.apply(),
  "?": () => $("help").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (typing) {
    if (event.key === "Escape") { $("filter").value = ""; filter(); $("filter").blur(); }
    return;
  }
  if (event.key === "Escape") for (const panel of document.querySelectorAll("details.why[open]")) panel.open = false;
  if (event.key === "Enter" && event.target.matches("tr.study")) { event.target.querySelector("a.name").click(); return; }
  const arrows = event.key.startsWith("Arrow");
  if (!(event.key in keys) || (!arrows && !$("keys-on").checked) || (arrows && !table.current())) return;
  event.preventDefault();
  keys[event.key]();
}

function start() {
  remember(document, true);
  clock.start();
  table.start();
  document.addEventListener("keydown", onKey);
  document.addEventListener("vigie:applied", filter);
  $("filter").addEventListener("input", filter);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("keys-on").checked = localStorage.getItem("vigie-keys") !== "off";
  $("keys-on").addEventListener("change", () => localStorage.setItem("vigie-keys", $("keys-on").checked ? "on" : "off"));
  $("pause").addEventListener("click", () => {
    const on = $("pause").getAttribute("aria-pressed") !== "true";
    $("pause").setAttribute("aria-pressed", String(on));
    $("pause").textContent = clock.texts[on ? "resume" : "pause"];
    live.pause(on);
    if (!on) table.apply();
  });
  $("list").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.target.closest("tr.study"), event.target.dataset.act);
  });
  live.start({ rows: () => refresh(), reload: () => refresh(), stale: () => {} });
}

start();
