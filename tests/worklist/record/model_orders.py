"""A plain model of where one order stands: part of the oracle of the record's property tests.

Slow and simple on purpose, written from the rules in words and not from the code that it judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import takewhile
from typing import Any

from streams.events import ActDone, OrderChanged, ReportReceived
from tests.worklist.record.model_numbers import kind, partition
from worklist.record.facts import Fact

#: Of what one message says twice of one order, the word that leaves more to do stands.
WAITS = {"preliminary": 1, "withdrawn": 2, "performed": 1, "in_progress": 2, "scheduled": 3}
URGENCY = ("stat", "urgent", "unknown", "routine")


def newest(facts: Iterable[Fact], field_name: str) -> dict[str, tuple[Fact, str]]:
    """Of each source its newest version that mentions the field."""
    best: dict[str, tuple[Fact, str]] = {}
    for fact in facts:
        event = fact.event
        assert not isinstance(event, ActDone)
        value = "" if field_name in event.emptied else getattr(event, field_name, None)
        old = best.get(event.sender)
        if value is None:
            continue
        mine = event.version_key(), WAITS.get(value, 0)
        if not old or mine > (old[0].event.version_key(), WAITS.get(old[1], 0)):  # type: ignore[union-attr]
            best[event.sender] = (fact, value)
    return best


def last_word(facts: Iterable[Fact], field_name: str) -> tuple[Fact, str] | None:
    """Between sources: each one's winner, the one received last."""
    return max(
        newest(facts, field_name).values(), key=lambda w: (w[0].received, w[0].key), default=None
    )


def of_all(order: list[Fact], fact: Fact) -> bool:
    """Whether it speaks of several orders of a requisition, and so ends none."""
    word = fact.event.status if isinstance(fact.event, OrderChanged | ReportReceived) else ""
    ends = word in ("cancelled", "replaced") or isinstance(fact.event, ReportReceived)
    return ends and word != "withdrawn" and fact.key in getattr(order, "wide", ())


def sent(order: list[Fact]) -> list[Fact]:
    """What orders it; that somebody reads it elsewhere is no order."""
    return [f for f in kind(order, OrderChanged) if not f.event.reading]  # type: ignore[union-attr]


def status(order: list[Fact]) -> str:
    """``final``, ``preliminary``, ``withdrawn``, ``cancelled``, ``outcome`` or ``open``.

    Only F closes: C closes again what F had closed, A changes nothing.
    """
    vague = [f for f in kind(order, ReportReceived) if of_all(order, f)]
    told = [(f, f.event.status) for f in kind(order, ReportReceived) if f not in vague]  # type: ignore[union-attr]
    was_final = any(said == "final" for _, said in told)
    counted = [f for f, said in told if said != "addendum" and (was_final or said != "corrected")]
    word = last_word(counted, "status")
    if word and word[1] in ("final", "corrected"):
        return "final"
    ris = last_word([f for f in kind(order, OrderChanged) if not of_all(order, f)], "status")
    if ris and ris[1] in ("cancelled", "replaced"):
        return "cancelled"
    if not counted and not sent(order) and not vague:
        return "outcome"
    return word[1] if word else "open"


def final_at(order: list[Fact]) -> datetime | None:
    """Receipt of the newest F or of a C after one, though it was withdrawn since."""
    told = [f for f in kind(order, ReportReceived) if not of_all(order, f)]
    said = {f.event.status for f in told}  # type: ignore[union-attr]
    closes = [f for f in told if f.event.status in ("final", "corrected")]  # type: ignore[union-attr]
    found = [first_said(order, f).received for f in closes]
    return max(found) if "final" in said else None


def repeats(order: list[Fact], report: Fact) -> list[Fact]:
    """All that say the same: the state, with the event time or the content."""

    def same(one: Fact, other: Fact) -> bool:
        a, b = one.event, other.event
        assert isinstance(a, ReportReceived)
        assert isinstance(b, ReportReceived)
        alike = a.version.time == b.version.time or (a.content and a.content == b.content)
        return a.status == b.status and bool(alike)

    by_key = {f.key: f for f in kind(order, ReportReceived) if not of_all(order, f)}
    groups = partition(by_key, lambda one, other: same(by_key[one], by_key[other]))
    return next([by_key[key] for key in group] for group in groups if report.key in group)


def first_said(order: list[Fact], report: Fact) -> Fact:
    return min(repeats(order, report), key=lambda f: (f.received, f.key))


def cancelled_since(order: list[Fact]) -> datetime | None:
    """Since when it is cancelled: what is passed on, or said again, is nothing new."""
    said = [f for f in kind(order, OrderChanged) if not of_all(order, f)]
    word = last_word(said, "status")
    if not word or word[1] not in ("cancelled", "replaced"):
        return None
    stood = [f.received for f in said if f.event.status not in (None, "cancelled", "replaced")]  # type: ignore[union-attr]
    runs: dict[str, list[datetime]] = {}
    for sender in {f.event.sender for f in said}:  # type: ignore[union-attr]
        mine = [f for f in said if f.event.sender == sender and f.event.status]  # type: ignore[union-attr]
        run: list[datetime] = []
        for fact in sorted(mine, key=lambda f: f.version):
            ends = fact.event.status in ("cancelled", "replaced")  # type: ignore[union-attr]
            run = [*run, fact.received] if ends else []
        runs[sender] = run
    own = min(runs[word[0].event.sender])  # type: ignore[union-attr]
    late = [min(run) for run in runs.values() if run and (not stood or min(run) > max(stood))]
    return min([own, *late])


def said(order: list[Fact]) -> set[tuple[str, datetime]]:
    """What each source says of its priority, and since when it says so.

    What it says later of the whole requisition is heard beside that.
    """
    facts = kind(order, OrderChanged)
    found = set()
    for sender in {f.event.sender for f in facts}:  # type: ignore[union-attr]
        told = sorted(
            (f for f in facts if f.event.sender == sender),  # type: ignore[union-attr]
            key=lambda f: f.event.version_key(),  # type: ignore[union-attr]
        )
        told = [f for f in told if last_word([f], "priority")]
        wide = [f for f in told if f.key in getattr(order, "wide", ())]
        own = [f for f in told if f not in wide]
        for part in (own, wide):
            if not part or (part is wide and key(wide[-1]) < key(told[-1])):
                continue
            codes: dict[object, set[str]] = {}
            for f in part:
                codes.setdefault(key(f), set()).add(last_word([f], "priority")[1])  # type: ignore[index]
            for code in codes[key(part[-1])]:
                heard = [(f.received, codes[key(f)]) for f in reversed(part)]
                since = min(at for at, _ in takewhile(lambda h, code=code: code in h[1], heard))
                found.add((code if code in URGENCY else "unknown", since))
    return found


def key(fact: Fact) -> Any:
    return fact.event.version_key()  # type: ignore[union-attr]
