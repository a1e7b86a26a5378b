"""A plain model of what AI says of a row: written from promise 3, not from the code it judges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from streams.errors import Reason
from streams.events import ExamProgressed, FindingsMade, SeriesReceived
from tests.worklist.record.model_numbers import kind
from worklist.record.facts import Fact

#: That such a series was not analysed leaves nothing unread that the package is meant for.
_NOT_ITS_OWN = ("no_model", "outside_intended_use_", "not_primary")


def word_of(images: Sequence[Fact], others: Sequence[Fact], *, stands: bool) -> str:
    """The word of a row with these images and findings; `stands`: a flag that nobody withdrew."""
    said = [f.event for f in kind(others, FindingsMade)]
    if any(e.outcome == "flagged" for e in said):
        return "flagged" if stands else "withdrawn"
    newest = _newest(images, said)
    told = [f.event.status for f in kind(others, ExamProgressed)]  # type: ignore[union-attr]
    here = [f for f in kind(images, SeriesReceived) if f.event.readable]
    if not said and not here and "available" in told:
        return "not_analysed"  # an archive has it, and nobody here
    if not said or any(all(e.input_digest != one for e in said) for one in newest):
        return "pending"
    last: dict[tuple[str, str], FindingsMade] = {}
    for event in sorted(said, key=lambda e: (e.reason != Reason.LATE, e.screened_at, e.event_id)):
        if event.input_digest in newest:
            last[event.package, event.input_digest] = event
    per_package: dict[str, set[str]] = defaultdict(set)
    for (package, _), event in last.items():
        if not (event.reason and event.reason.value.startswith(_NOT_ITS_OWN)):
            per_package[package].add(event.outcome)
    return "not_flagged" if {"not_flagged"} in per_package.values() else "not_analysed"


def _newest(images: Sequence[Fact], said: Sequence[FindingsMade]) -> set[str]:
    """Inputs that have an image of their series which no other has, nor a newer one."""
    known = [f for f in kind(images, SeriesReceived) if f.event.readable]
    found = set()
    for fact in known:
        mine = set(fact.event.names())
        same = [f for f in known if f.event.series_uid == fact.event.series_uid]
        beaten = any(
            mine < set(f.event.names())
            or (mine == set(f.event.names()) and (f.received, f.key) > (fact.received, fact.key))
            for f in same
        )
        if not beaten:
            found.add(fact.key)
    series = {f.event.series_uid for f in known}
    return found | {e.input_digest for e in said if e.series_uid not in series}
