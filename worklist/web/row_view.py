"""What the page shows of a row, in words. Nothing here decides the order; it only says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from worklist.sql.queue import CLOSED_STATES
from worklist.web.i18n import (
    Translate,
    birth_date,
    brief,
    catalogue,
    clean,
    countdown,
    moment,
    person_name,
    span,
    translator,
)
from worklist.web.schema import MOST_SEEN, Row, iso

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


#: Marks that ask for a person, and the acts that resolve them: the study's page has their forms.
RESOLVED = {
    "identity_conflict": ("link", "unlink"),
    "may_be_order": ("link", "unlink"),
    "order_unclear": ("link", "unlink"),
    "priority_conflict": ("set_priority",),
    "cancelled_images_exist": ("confirm_cancel",),
}


@dataclass
class Group:
    """The rows of one lane."""

    lane: str
    total: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def is_closed(row: Row) -> bool:
    """Whether the row has left the list: read, reported, cancelled or historic."""
    return row.state in CLOSED_STATES


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


def loud(row: Row) -> str:
    """What a reader is told of wherever on the list they are; empty for the rest."""
    if row.lane == 3 or is_closed(row):
        return ""
    word = urgency(row)
    return word if word in ("pinned", "emergent", "flagged") else ""


def who(row: Row, lang: str, translate: Translate, words: dict[str, str]) -> str:
    """The second identifier and what goes with it: birth date, age, sex, number, where."""
    told = []
    if row.birth_date:
        told.append(f"{translate('born')} {birth_date(row.birth_date, lang)}")
    if row.age:
        told.append(translate(f"age_{row.age[-1]}", n=int(row.age[:-1])))
    if row.sex:
        told.append(words.get(f"sex_{row.sex}", clean(row.sex)))
    told.append(f"{translate('id')} {clean(row.patient_id) or '–'}")
    if row.location:
        told.append(clean(words.get(f"location_{row.location}", row.location)))
    return " · ".join(told)


def exam(row: Row, translate: Translate) -> str:
    """Numbers and images of the exam, and how much of them AI read."""
    told = [clean(", ".join(row.accessions))]
    if images := _images(row, translate):
        told.append(translate("images_n", n=images))
    if coverage := _coverage(row, translate):
        told.append(f"{translate('coverage')} {coverage}")
    return " · ".join(filter(None, told))


def above(row: Row, after: Row | None, term: str, translate: Translate) -> str:
    """In one sentence why `row` is read before the row `after` it; `term`: its first reason."""
    if after is None:
        return ""
    if row.lane < after.lane:
        return translate(f"above_lane_{row.lane}")
    if row.lane == 3:
        return translate("above_scheduled")
    gap = (after.due_at - row.due_at).total_seconds()
    if gap > 0:
        return translate("above_due", gap=brief(gap, translate), term=term)
    return translate("above_received")


def described(row: Row) -> str:
    """What the exam is, without its modality in front: that stands beside it."""
    said, modality = clean(row.description), clean(row.modality)
    begins = said.casefold().startswith(f"{modality} ".casefold())
    return said[len(modality) + 1 :].strip() if modality and begins else said


def _named(finding: str, words: dict[str, str]) -> str:
    """A finding in the page's language, where it knows it; else as its package writes it."""
    return clean(words.get(f"finding_{finding}", finding))


def ai_detail(row: Row, translate: Translate, words: dict[str, str]) -> str:
    """What was flagged, what was looked for, or why nothing was."""
    if row.ai == "flagged":
        return ", ".join(sorted({_named(flag.name, words) for flag in row.flags}))
    if row.ai == "withdrawn":
        who, why = clean(row.cleared_by), clean(row.cleared_reason)
        return translate("ai_withdrawn_by", name=who, reason=why)
    if row.ai == "not_flagged" and row.looked_for:
        return translate(
            "ai_not_flagged_for", what=", ".join(_named(one, words) for one in row.looked_for)
        )
    if row.ai == "not_analysed" and row.ai_reason:
        reason = f"reason_{row.ai_reason}"
        other = translate("reason_other", code=clean(row.ai_reason))
        return words.get(f"{reason}_{row.ai_unlike}", words.get(reason, other))
    return ""


def _why(row: Row, translate: Translate, words: dict[str, str]) -> list[dict[str, str]]:
    names = {flag.code: _named(flag.name, words) for flag in row.flags}
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
                "target": brief(term.target_s, translate) if term.target_s is not None else "",
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
    return [
        {
            "code": mark,
            "word": word,
            "resolved": ", ".join(translate(act) for act in RESOLVED.get(mark, ())),
        }
        for mark, word in shown.items()
    ]


def _order_class(row: Row, kind: str, words: dict[str, str]) -> str:
    """The order's own priority, where the urgency word says something else."""
    if kind not in ("flagged", "pinned", "emergent"):
        return ""
    name = "urgency_unknown" if row.priority == "unknown" else f"class_{row.priority}"
    return clean(words.get(name, row.priority))


def view(row: Row, now: datetime, lang: str, translate: Translate, me: str) -> dict[str, Any]:
    """One row as the templates draw it."""
    kind = urgency(row)
    since = row.clock_at
    closed = is_closed(row)
    target = None if closed or row.lane == 3 else row.target_at
    return {
        **_readers(row, now, lang, me),
        "study": row.study,
        "key": row.key,
        "loud": loud(row),
        "who": who(row, lang, translate, catalogue(lang)),
        "exam": exam(row, translate),
        "lane": "closed" if closed else str(row.lane),
        "state": row.state,
        "urgency": kind,
        "word": translate(f"urgency_{kind}", what=clean(row.priority)),
        "shape": SHAPES[kind],
        "order_class": _order_class(row, kind, catalogue(lang)),
        "target_iso": iso(target) if target else "",
        "target_text": countdown(target, now, translate) if target else "",
        "over": target is not None and target < now,
        "name": person_name(row.patient_name),
        "birth": birth_date(row.birth_date, lang),
        "patient_id": clean(row.patient_id),
        "modality": clean(row.modality),
        "description": described(row),
        "indication": clean(row.indication),
        "referring": person_name(row.referring),
        "accessions": clean(", ".join(row.accessions)),
        "study_uid": clean(row.study_uid),
        "marks": _marks(row, translate, catalogue(lang)),
        "ai": row.ai,
        "ai_shape": AI_SHAPES[row.ai],
        "key_image": row.key_image or "",
        "ai_detail": ai_detail(row, translate, catalogue(lang)),
        "since_iso": iso(since),
        "wait_text": span((now - since).total_seconds(), translate),
        "pinned_by": clean(row.pinned_by),
        "pinned_reason": clean(row.pinned_reason),
        "images": _images(row, translate),
        "coverage": _coverage(row, translate),
        "outcome": clean(catalogue(lang).get(f"outcome_{row.outcome}", row.outcome)),
        "seen": _seen(row),
        "why": _why(row, translate, catalogue(lang)),
        "due_text": moment(row.due_at, lang) if row.lane != 3 else "",
        "bound_text": moment(_minute_after(row.overtaken_until), lang),
        "policy": clean(row.policy),
        "scheduled": moment(row.scheduled_at, lang) if row.lane == 3 else "",
        "received_text": moment(row.received_at, lang),
    }


def _readers(row: Row, now: datetime, lang: str, me: str) -> dict[str, Any]:
    """Who has it, had it, asks for it and read it."""
    closed = is_closed(row)
    opened = row.opened_by not in (None, me) and not row.claimed_by and not closed
    return {
        "lease_until": moment(row.claimed_until, lang),
        "reader": clean(row.claimed_by),
        "mine": row.claimed_by == me,
        "claimable": not closed and row.lane != 3,
        "in_reading": clean(row.in_reading),
        "finished_by": clean(row.finished_by),
        "finished_text": moment(row.finished_at, lang),
        "asked_by": clean(row.asked_by),
        "asked_reason": clean(row.asked_reason),
        "opened_text": moment(row.opened_until, lang),
        "opened_by": clean(row.opened_by) if opened else "",
        "opened_iso": iso(row.opened_until) if row.opened_until else "",
        "opened_ago": _ago(row.opened_until, now, translator(lang)),
    }


def _ago(time: datetime | None, now: datetime, translate: Translate) -> str:
    return brief((now - time).total_seconds(), translate) if time else ""


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


def _coverage(row: Row, translate: Translate) -> str:
    """What AI read of what is there; of several series, of the one that was read least."""
    told = row.coverage
    if not told:
        return ""
    words = [translate("coverage_read", read=told["read"], there=told["there"])]
    extent, gap, usual = (told.get(f"{name}_mm") for name in ("extent", "largest_gap", "spacing"))
    if extent:
        words.append(translate("coverage_extent", extent=round(extent)))
    if gap and usual and gap > usual:
        words.append(translate("coverage_gap", gap=round(gap)))
    if not told.get("age_stated", True):
        words.append(translate("coverage_no_age"))
    return ", ".join(words)


def _minute_after(time: datetime | None) -> datetime | None:
    """`time`, up to the next full minute: a bound that is shown must not be earlier than it is."""
    return time and time + timedelta(seconds=59, microseconds=999_999)


def groups(
    rows: Sequence[Row],
    totals: dict[str, int],
    first: int,
    view_of: Callable[[Row], dict[str, Any]],
    translate: Translate,
) -> list[Group]:
    """The rows by lane, in the order they came; places are counted from `first` over what can be
    read. Each says why it stands above the next.
    """
    found: dict[str, Group] = {}
    place = first
    for row, after in zip_longest(rows, rows[1:]):
        shown = view_of(row)
        term = shown["why"][0]["term"] if shown["why"] else ""
        shown["above"] = above(row, after, term, translate)
        if shown["lane"] in ("0", "1", "2"):
            place += 1
            shown["place"] = place
        lane = shown["lane"]
        found.setdefault(lane, Group(lane, totals.get(lane, 0))).rows.append(shown)
    for group in found.values():
        group.total = max(group.total, len(group.rows))
    return list(found.values())
