"""What AI says of a row: flags of all that was read, calm only of what is here now (promise 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streams.errors import ABSTENTIONS, NOT_MEANT, Reason
from streams.events import Coverage, ExamProgressed, FindingsMade, SeriesReceived
from worklist.order.policy import Policy
from worklist.record.acts import Act
from worklist.record.rows import Related

#: What can tell that a series is foreign: what is seen of a body before what a network sees.
_RULES = ("skull", "size", "features")


@dataclass(frozen=True)
class Ai:
    """What the row shows of it.

    Attributes:
        word: ``flagged, withdrawn, not_flagged, not_analysed`` or ``pending``.
        flags: (package, code, name), those that no person withdrew.
        cleared: the act that withdrew the last flag.
        looked_for: names of the findings that were looked for; beside ``not_flagged``, of those
            that were looked for in all that is here.
        coverage: that of the flagged input which was read least; else of the answers that decide.
        results: (package, series, input digest) of all flagged results that stand: what a clear
            withdraws.
        models: package → version and weights, of all that counted.
        unlike: what told that a series is foreign, where that is the reason and it was said.
    """

    word: str
    reason: str = ""
    flags: tuple[tuple[str, str, str], ...] = ()
    cleared: Act | None = None
    looked_for: tuple[str, ...] = ()
    abstained: tuple[str, ...] = ()
    coverage: Coverage | None = None
    results: tuple[tuple[str, str, str], ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    unlike: str = ""


def ai_of(row: Related, clears: Iterable[Act], policy: Policy) -> Ai:
    """What AI says of `row`. What a package in shadow says is a fact, and changes nothing."""
    found = [f.event for f in row.findings if isinstance(f.event, FindingsMade)]
    live = [f for f in found if _counts(f, policy)]
    withdrawn = {
        (c.package, c.series_uid, c.input_digest): act for act in clears for c in act.cleared
    }
    inputs = _inputs(row, found)
    answers = _answers(live, inputs)
    flagged = [f for f in live if f.outcome == "flagged"]
    standing = [f for f in flagged if _result(f) not in withdrawn]
    flags = {(f.package, x.code, x.name) for f in standing for x in f.findings if x.flagged}
    calm = [] if flagged else _calm(answers)
    unanswered = inputs - {f.input_digest for f in found}
    doubted = any(not f.constancy and f.package in policy.live for f in found)
    word, reason = _word(bool(found) and not unanswered, calm, answers, doubted=doubted)
    if not found and _elsewhere(row):
        word, reason = "not_analysed", Reason.NOT_RECEIVED.value
    cleared = None
    if flags:
        word, reason = "flagged", ""
    elif flagged:
        acts = [withdrawn[_result(f)] for f in flagged]
        word, reason, cleared = "withdrawn", "", max(acts, key=lambda act: act.place)
    looked = calm if word == "not_flagged" else [f for f in live if f.outcome != "not_analysed"]
    return Ai(
        word,
        reason,
        flags=tuple(sorted(flags)),
        cleared=cleared,
        looked_for=tuple(sorted({x.name for f in looked for x in f.findings})),
        abstained=tuple(sorted({f.package for f in answers if f.reason in ABSTENTIONS})),
        coverage=_least(standing or answers),
        results=tuple(sorted({_result(f) for f in standing})),
        models={f.package: f"{f.package_version} {f.weights or ''}".strip() for f in live},
        unlike=_unlike(answers) if reason == Reason.OUT_OF_DISTRIBUTION.value else "",
    )


def _inputs(row: Related, found: Iterable[FindingsMade]) -> set[str]:
    """The newest input of each series: the fragments whose images no other one has, too.

    Of a series that no readable fragment is known of, whatever was answered.
    """
    parts: dict[str, list[SeriesReceived]] = defaultdict(list)
    for event in (fact.event for fact in sorted(row.series, key=lambda f: (f.received, f.key))):
        if isinstance(event, SeriesReceived) and event.readable:
            parts[event.series_uid].append(event)
    newest = {event.event_id for events in parts.values() for event in _uncovered(events)}
    return newest | {f.input_digest for f in found if f.series_uid not in parts}


def _uncovered(events: Sequence[SeriesReceived]) -> list[SeriesReceived]:
    """Those of one series, the oldest first, that have an image which no other and no newer has."""
    if len(events) == 1:
        return list(events)
    names = [frozenset(event.names()) for event in events]
    return [
        event
        for at, event in enumerate(events)
        if not any(names[at] < other for other in names) and names[at] not in names[at + 1 :]
    ]


def _answers(live: Iterable[FindingsMade], inputs: set[str]) -> list[FindingsMade]:
    """What each package says last of each of `inputs`; that it was late is no last word."""
    last: dict[tuple[str, str], FindingsMade] = {}
    for finding in sorted(
        live, key=lambda f: (f.reason is not Reason.LATE, f.screened_at, f.event_id)
    ):
        if finding.input_digest in inputs:
            last[finding.package, finding.input_digest] = finding
    return [last[key] for key in sorted(last)]


def _calm(answers: Iterable[FindingsMade]) -> list[FindingsMade]:
    """*Not flagged*, of the packages that left nothing unread which they may be meant for."""
    unread = {
        f.package for f in answers if f.outcome == "not_analysed" and f.reason not in NOT_MEANT
    }
    if "" in unread:  # nobody can say what it is
        return []
    return [f for f in answers if f.outcome == "not_flagged" and f.package not in unread]


def _elsewhere(row: Related) -> bool:
    """Whether an archive has images and none is here: there is nothing that a model will answer."""
    here = any(isinstance(f.event, SeriesReceived) and f.event.readable for f in row.series)
    told = (f.event for f in row.steps)
    return not here and any(
        isinstance(event, ExamProgressed) and event.status == "available" for event in told
    )


def _word(
    answered: bool, calm: Iterable[FindingsMade], answers: Iterable[FindingsMade], *, doubted: bool
) -> tuple[str, str]:
    if not answered:
        return "pending", ""
    if calm:
        return "not_flagged", ""
    # Of an unread series before that of one that no package is meant for.
    reasons = {f.reason for f in answers if f.reason}
    uncounted = Reason.CONSTANCY_FAILED if doubted else Reason.SHADOW
    told = sorted(reasons - NOT_MEANT) or sorted(reasons) or [uncounted]
    return "not_analysed", told[0].value


def _unlike(answers: Iterable[FindingsMade]) -> str:
    """The first of the rules that told so of an answer."""
    told = {f.unlike for f in answers if f.reason is Reason.OUT_OF_DISTRIBUTION}
    return next((rule for rule in _RULES if rule in told), "")


def _result(finding: FindingsMade) -> tuple[str, str, str]:
    return finding.package, finding.series_uid, finding.input_digest


def _counts(finding: FindingsMade, policy: Policy) -> bool:
    """Whether the list goes by it: what is live, and that no package was meant for a series."""
    return not finding.package or (finding.constancy and finding.package in policy.live)


def _least(live: Iterable[FindingsMade]) -> Coverage | None:
    """The coverage that read the smallest share of what was there."""
    stated = [f.coverage for f in live if f.coverage is not None]
    return min(stated, key=lambda c: (c.read / c.there if c.there else 1.0, c.read), default=None)
