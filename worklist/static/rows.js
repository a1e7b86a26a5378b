// One row as data becomes a row of the table: the same words and shapes as rows.html makes on the server (a test compares them).
import { brief, countdown, moment, now, openedText, say, span, texts } from "./clock.js";

const LONGEST = 120;
const SHAPES = { pinned: "■", emergent: "▲", flagged: "◆", urgent: "●", routine: "○", unknown: "◇", other: "○", expected: "◌" };
const AI_SHAPES = { flagged: "◆", withdrawn: "◇", not_flagged: "–", not_analysed: "∅", pending: "…" };
const RESOLVED = { identity_conflict: ["link", "unlink"], may_be_order: ["link", "unlink"], order_unclear: ["link", "unlink"], priority_conflict: ["set_priority"], cancelled_images_exist: ["confirm_cancel"] };
const french = document.documentElement.lang === "fr";
const me = document.body.dataset.me;
const csrf = document.querySelector('meta[name="csrf"]').content;

const has = (key) => Object.hasOwn(texts, key);
const or = (key, other) => (has(key) ? texts[key] : other);

// Without control, format and surrogate characters, cut to what a row has room for.
export function clean(text) {
  const kept = Array.from((text ?? "").replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, ""));
  return kept.length <= LONGEST ? kept.join("") : `${kept.slice(0, LONGEST - 1).join("")}…`;
}

export function personName(raw) {
  const [family, ...given] = (raw ?? "").split("^");
  const rest = given.filter(Boolean).join(" ");
  return clean(rest ? `${family}, ${rest}` : family);
}

function birthDate(raw) {
  const digits = (raw ?? "").replaceAll("-", "");
  if (!/^[0-9]{8}$/.test(digits)) return clean(raw);
  const [y, m, d] = [digits.slice(0, 4), digits.slice(4, 6), digits.slice(6)];
  return french ? `${d}/${m}/${y}` : `${y}-${m}-${d}`;
}

function urgency(row) {
  if (row.lane === 3) return "expected";
  if (row.lane === 0) return "pinned";
  if (row.lane === 1) return "emergent";
  if (row.why.some((term) => term.term.startsWith("flag:"))) return "flagged";
  return ["urgent", "routine", "unknown"].includes(row.priority) ? row.priority : "other";
}

export function loud(row) {
  const word = urgency(row);
  return ["pinned", "emergent", "flagged"].includes(word) ? word : "";
}

// What the exam is, without its modality in front: that stands beside it.
export function described(row) {
  const [said, modality] = [clean(row.description), clean(row.modality)];
  const begins = modality && said.toLowerCase().startsWith(`${modality} `.toLowerCase());
  return begins ? said.slice(modality.length + 1).trim() : said;
}

const named = (finding) => clean(or(`finding_${finding}`, finding));

function aiDetail(row) {
  if (row.ai === "flagged") return [...new Set(row.flags.map((flag) => named(flag.name)))].sort().join(", ");
  if (row.ai === "withdrawn") return say("ai_withdrawn_by", { name: clean(row.cleared_by), reason: clean(row.cleared_reason) });
  if (row.ai === "not_flagged" && row.looked_for.length) return say("ai_not_flagged_for", { what: row.looked_for.map(named).join(", ") });
  if (row.ai === "not_analysed" && row.ai_reason) return or(`reason_${row.ai_reason}_${row.ai_unlike}`, or(`reason_${row.ai_reason}`, say("reason_other", { code: clean(row.ai_reason) })));
  return "";
}

function who(row) {
  const told = [];
  if (row.birth_date) told.push(`${texts.born} ${birthDate(row.birth_date)}`);
  if (row.age) told.push(say(`age_${row.age.at(-1)}`, { n: Number(row.age.slice(0, -1)) }));
  if (row.sex) told.push(or(`sex_${row.sex}`, clean(row.sex)));
  told.push(`${texts.id} ${clean(row.patient_id) || "–"}`);
  if (row.location) told.push(clean(or(`location_${row.location}`, row.location)));
  return told.join(" · ");
}

function coverage(told) {
  if (!told || !Object.keys(told).length) return "";
  const words = [say("coverage_read", { read: told.read, there: told.there })];
  if (told.extent_mm) words.push(say("coverage_extent", { extent: Math.round(told.extent_mm) }));
  if (told.largest_gap_mm && told.spacing_mm && told.largest_gap_mm > told.spacing_mm) words.push(say("coverage_gap", { gap: Math.round(told.largest_gap_mm) }));
  if (told.age_stated === false) words.push(texts.coverage_no_age);
  return words.join(", ");
}

function exam(row) {
  const { here, announced } = row.images;
  const images = announced ? say("images_of", { here, announced }) : here ? String(here) : "";
  const read = coverage(row.coverage);
  return [clean(row.accessions.join(", ")), images && say("images_n", { n: images }), read && `${texts.coverage} ${read}`].filter(Boolean).join(" · ");
}

function marks(row) {
  return row.marks.filter((mark) => has(`mark_${mark}`)).map((code) => {
    const numbered = code === "may_be_order" && row.borrowed.length;
    return { code, word: numbered ? say("may_be_orders", { numbers: clean(row.borrowed.join(", ")) }) : texts[`mark_${code}`] };
  });
}

function reasons(row) {
  const names = Object.fromEntries(row.flags.map((flag) => [flag.code, named(flag.name)]));
  return row.why.map((term) => {
    const [kind, ...rest] = term.term.split(":");
    const code = rest.join(":");
    const what = names[code] ?? or(`${kind}_${code}`, code);
    return {
      label: has(`term_${kind}`) ? say(`term_${kind}`, { what: clean(what) }) : say("term_other", { what: clean(term.term) }),
      target: term.target_s === null ? "" : brief(term.target_s),
      source: or(`source_${term.source}`, clean(term.source)),
    };
  });
}

// An element with attributes and children; text is always text.
function h(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "" && value !== null) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== "" && child !== null));
  return node;
}

const small = (text) => (text ? h("small", {}, text) : "");
const tail = (seconds) => new Date(Date.parse(seconds) + 59999); // a bound that is shown is not earlier than it is

function whyPanel(row) {
  const list = h("ul");
  for (const term of reasons(row)) {
    const line = h("li", {}, h("b", {}, term.label));
    if (term.target) line.append(` · ${say("why_target", { time: term.target })}`);
    if (term.source) line.append(" ", h("small", {}, term.source));
    list.append(line);
  }
  if (!row.why.length) list.append(h("li", {}, texts.why_none));
  const panel = h("div", { class: "why-panel" }, h("p", {}, say("why_lane", { lane: texts[`lane_${row.lane}`] })), list, h("p", { class: "above" }));
  if (row.lane !== 3) {
    let words = `${say("why_due", { time: moment(row.due_at) })}.`;
    if (row.overtaken_until) words += ` ${say("why_bound", { time: moment(tail(row.overtaken_until).toISOString()) })}`;
    if (row.policy) words += ` ${say("why_policy", { version: clean(row.policy) })}.`;
    panel.append(h("p", {}, h("small", {}, words)));
  }
  return h("details", { class: "why" }, h("summary", {}, texts.why), panel);
}

function form(row, verb, ...label) {
  return h("form", { method: "post", action: `/studies/${row.study}/${verb}`, "data-act": verb }, h("input", { type: "hidden", name: "csrf", value: csrf }), h("button", {}, ...label));
}

function opened(row) {
  const by = clean(row.opened_by);
  return h("small", { "data-opened": row.opened_until, "data-by": by }, openedText(by, row.opened_until));
}

function reader(row) {
  const cell = h("td", { class: "reader" });
  const told = (text) => cell.append(h("span", { class: "who" }, text));
  if (row.claimed_by === me) {
    told(`● ${texts.claimed_by_you}`);
    cell.append(form(row, "release", `${texts.release} `, h("kbd", {}, "u")));
    if (row.asked_by) cell.append(h("a", { class: "asked", href: `/studies/${row.study}#acts` }, say("asks_for", { name: clean(row.asked_by), reason: clean(row.asked_reason) })));
  } else if (row.claimed_by) told(`◐ ${say("claimed_by", { name: clean(row.claimed_by) })}`);
  else if (row.in_reading) told(`◐ ${say("in_reading", { name: clean(row.in_reading) })}`);
  else if (row.lane !== 3) cell.append(form(row, "claim", texts.claim));
  if (row.opened_by && row.opened_by !== me && !row.claimed_by) cell.append(opened(row));
  return cell;
}

export function render(row) {
  const kind = urgency(row);
  const held = row.claimed_by === me ? " mine" : row.claimed_by ? " taken" : "";
  const priority = ["flagged", "pinned", "emergent"].includes(kind) ? clean(or(row.priority === "unknown" ? "urgency_unknown" : `class_${row.priority}`, row.priority)) : "";
  const target = row.lane === 3 ? null : Date.parse(row.target_at);
  const name = personName(row.patient_name);
  const what = h("td", { class: "what" }, h("span", { class: "desc" }, h("b", { class: "mod" }, clean(row.modality) || "?"), " ", h("bdi", {}, described(row) || texts.no_description)), row.indication ? h("small", { class: "indication" }, h("bdi", {}, clean(row.indication))) : "", h("small", {}, h("bdi", {}, exam(row))));
  for (const mark of marks(row)) {
    const acts = (RESOLVED[mark.code] ?? []).map((act) => texts[act]).join(", ");
    what.append(acts ? h("a", { class: `mark ${mark.code}`, href: `/studies/${row.study}#acts`, title: acts }, mark.word) : h("span", { class: `mark ${mark.code}` }, mark.word), " ");
  }
  const clock = target === null ? small(texts.no_target) : h("time", { class: `clock${target < now() ? " over" : ""}`, datetime: row.target_at, "data-target": row.target_at }, countdown(target));
  const wait = row.lane === 3 && row.scheduled_at ? say("scheduled", { time: moment(row.scheduled_at) })
    : h("span", { class: "since", "data-since": row.clock_at }, span((now() - Date.parse(row.clock_at)) / 1000));
  const tag = h("span", { class: `tag ${kind}` }, h("span", { class: "shape", "aria-hidden": "true" }, SHAPES[kind]), say(`urgency_${kind}`, { what: clean(row.priority) }));
  const ai = h("span", { class: "ai-word" }, h("span", { class: "shape", "aria-hidden": "true" }, AI_SHAPES[row.ai]), texts[`ai_${row.ai}`]);
  return h("tr", { class: `study${held} u-${kind}`, "data-study": row.study, "data-key": row.key, "data-lane": String(row.lane), "data-loud": loud(row), tabindex: "-1" },
    h("td", { class: "place" }), h("td", { class: "urgency" }, tag, small(priority), row.pinned_by ? h("small", {}, h("bdi", {}, say("said_by", { name: clean(row.pinned_by), reason: clean(row.pinned_reason) }))) : ""), h("td", { class: "time" }, clock),
    h("th", { scope: "row", class: "patient" }, h("a", { class: "name", href: `/studies/${row.study}` }, name ? h("bdi", {}, name) : texts.no_name), h("small", {}, h("bdi", {}, who(row)))),
    what, h("td", { class: `ai ai-${row.ai}` }, ai, small(aiDetail(row))), h("td", { class: "wait" }, wait, whyPanel(row)), reader(row));
}

// In one sentence why a row is read before the next one; both by their keys: lane, due, received (microseconds).
export function above(row, next) {
  if (!next) return "";
  const [lane, after] = [Number(row.dataset.key[0]), Number(next.dataset.key[0])];
  if (lane < after) return texts[`above_lane_${lane}`];
  if (lane === 3) return texts.above_scheduled;
  const due = (key) => Number(BigInt(key.slice(1, 19)) / 1000n) / 1000;
  const gap = due(next.dataset.key) - due(row.dataset.key);
  const term = row.querySelector(".why-panel li b")?.textContent ?? "";
  return gap > 0 ? say("above_due", { gap: brief(gap), term }) : texts.above_received;
}
