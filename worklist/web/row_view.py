"""What the page shows of a row, in words. Nothing here decides the order; it only says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worklist.web.i18n import (
    Translate,
    birth_date,
    catalogue,
    clean,
    countdown,
    moment,
    person_name,
    span,
)
from worklist.web.schema import MOST_SEEN, Row

SHAPES = {
    "pinned": "■",
    "emergent": "▲",
    "flagged": "◆",
    "urgent": "●",
    "routine": "○",
    "unknown": "◇",
    "other": "○",
    "expected": "◌",
}
AI_SHAPES = {
    "flagged": "◆",
    "withdrawn": "◇",
    "not_flagged": "–",
    "not_analysed": "∅",
    "pending": "…",
}


@dataclass
class Group:
    """The rows of one lane."""

    lane: str
    total: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def is_closed(row: Row) -> bool:
    """Whether the row has left the list: read, reported, cancelled or historic."""
    return row.finished_at is not None or row.state in ("final", "cancelled", "historic")


def urgency(row: Row) -> str:
    """The one word that says why this row is where it is; it must agree with the rank's first
    reason.
    """
    if row.lane == 3:
        return "expected"
    if row.lane == 0:
        return "pinned"
    if row.lane == 1:
        return "emergent"
    if any(term.term.startswith("flag:") for term in row.why):
        return "flagged"
    return row.priority if row.priority in ("urgent", "routine", "unknown") else "other"


def ai_detail(row: Row, translate: Translate, words: dict[str, str]) -> str:
    """What was flagged, what was looked for, or why nothing was."""
    if row.ai == "flagged":
        return clean(", ".join(sorted({flag.name for flag in row.flags})))
    if row.ai == "withdrawn":
        who, why = clean(row.cleared_by), clean(row.cleared_reason)
        return translate("ai_withdrawn_by", name=who, reason=why)
    if row.ai == "not_flagged" and row.looked_for:
        return translate("ai_not_flagged_for", what=clean(", ".join(row.looked_for)))
    if row.ai == "not_analysed" and row.ai_reason:
        return (
            translate(f"reason_{row.ai_reason}")
            if f"reason_{row.ai_reason}" in words
            else translate("reason_other", code=clean(row.ai_reason))
        )
    return ""


def _why(row: Row, translate: Translate, words: dict[str, str]) -> list[dict[str, str]]:
    names = {flag.code: flag.name for flag in row.flags}
    shown = []
    for term in row.why:
        kind, _, what = term.term.partition(":")
        what = names.get(what, words.get(f"{kind}_{what}", what))
        label = (
            translate(f"term_{kind}", what=clean(what))
            if f"term_{kind}" in words
            else translate("term_other", what=clean(term.term))
        )
        source = words.get(f"source_{term.source}", clean(term.source))
        shown.append(
            {
                "term": label,
                "target": span(term.target_s, translate) if term.target_s is not None else "",
                "source": source,
            }
        )
    return shown


def _marks(row: Row, translate: Translate, words: dict[str, str]) -> list[dict[str, str]]:
    """What the row is marked with, in words; of orders that it may be, by their numbers."""
    shown = {mark: words[f"mark_{mark}"] for mark in row.marks if f"mark_{mark}" in words}
    if "may_be_order" in shown and row.borrowed:
        numbers = clean(", ".join(row.borrowed))
        shown["may_be_order"] = translate("may_be_orders", numbers=numbers)
    return [{"code": mark, "word": word} for mark, word in shown.items()]


def _order_class(row: Row, kind: str, words: dict[str, str]) -> str:
    """The order's own priority, where the urgency word says something else."""
    return (
        clean(words.get(f"class_{row.priority}", row.priority))
        if kind in ("flagged", "pinned", "emergent")
        else ""
    )


def view(row: Row, now: datetime, lang: str, translate: Translate, me: str) -> dict[str, Any]:
    """One row as the templates draw it."""
    kind = urgency(row)
    since = row.clock_at
    closed = is_closed(row)
    target = None if closed or row.lane == 3 else row.target_at
    return {
        "study": row.study,
        "lane": "closed" if closed else str(row.lane),
        "state": row.state,
        "urgency": kind,
        "word": translate(f"urgency_{kind}", what=clean(row.priority)),
        "shape": SHAPES[kind],
        "order_class": _order_class(row, kind, catalogue(lang)),
        "target_iso": target.isoformat() if target else "",
        "target_text": countdown(target, now, translate) if target else "",
        "over": target is not None and target < now,
        "name": person_name(row.patient_name),
        "birth": birth_date(row.birth_date, lang),
        "patient_id": clean(row.patient_id),
        "modality": clean(row.modality),
        "description": clean(row.description),
        "accessions": clean(", ".join(row.accessions)),
        "study_uid": clean(row.study_uid),
        "marks": _marks(row, translate, catalogue(lang)),
        "ai": row.ai,
        "ai_shape": AI_SHAPES[row.ai],
        "ai_detail": ai_detail(row, translate, catalogue(lang)),
        "since_iso": since.isoformat(),
        "wait_text": span((now - since).total_seconds(), translate),
        "reader": clean(row.claimed_by),
        "mine": row.claimed_by == me,
        "claimable": not closed and row.lane != 3,
        "in_reading": clean(row.in_reading),
        "finished_by": clean(row.finished_by),
        "finished_text": moment(row.finished_at, lang),
        "pinned_by": clean(row.pinned_by),
        "pinned_reason": clean(row.pinned_reason),
        "images": _images(row, translate),
        "outcome": clean(catalogue(lang).get(f"outcome_{row.outcome}", row.outcome)),
        "seen": _seen(row),
        "why": _why(row, translate, catalogue(lang)),
        "due_text": moment(row.due_at, lang) if row.lane != 3 else "",
        "bound_text": moment(_minute_after(row.overtaken_until), lang),
        "policy": clean(row.policy),
        "scheduled": moment(row.scheduled_at, lang) if row.lane == 3 else "",
        "received_text": moment(row.received_at, lang),
        "lease_until": moment(row.claimed_until, lang),
    }


def _seen(row: Row) -> str:
    """What a finish names as seen; empty where it is too much for one request: then the finish
    covers what the claim had seen.
    """
    ids = (*row.fragments, *row.reports)
    return " ".join(ids) if len(ids) <= MOST_SEEN else ""


def _images(row: Row, translate: Translate) -> str:
    """How many images are here, of how many that were announced."""
    if row.images.announced:
        return translate("images_of", here=row.images.here, announced=row.images.announced)
    return str(row.images.here) if row.images.here else ""


def _minute_after(time: datetime | None) -> datetime | None:
    """`time`, up to the next full minute: a bound that is shown must not be earlier than it is."""
    return time and time + timedelta(seconds=59, microseconds=999_999)


def groups(
    rows: Sequence[Row], totals: dict[str, int], first: int, render: Callable[[Row], dict[str, Any]]
) -> list[Group]:
    """The rows by lane, in the order they came; places are counted from `first` over what can be
    read.
    """
    found: dict[str, Group] = {}
    place = first
    for row in rows:
        shown = render(row)
        if shown["lane"] in ("0", "1", "2"):
            place += 1
            shown["place"] = place
        lane = shown["lane"]
        found.setdefault(lane, Group(lane, totals.get(lane, 0))).rows.append(shown)
    for group in found.values():
        group.total = max(group.total, len(group.rows))
    return list(found.values())
