"""What AI says of a row: the union over its series. No machine withdraws a flag (promise 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streams.errors import ABSTENTIONS, Reason
from streams.events import Coverage, FindingsMade, SeriesReceived
from worklist.order.policy import Policy
from worklist.record.acts import Act
from worklist.record.relate import Related


@dataclass(frozen=True)
class Ai:
    """What the row shows of it.

    Attributes:
        word: ``flagged, withdrawn, not_flagged, not_analysed`` or ``pending``.
        flags: (package, code, name), those that no person withdrew.
        cleared: the act that withdrew the last flag.
        looked_for: names of the findings that were looked for.
        results: (package, series, input digest) of all flagged results that stand: what a clear
            withdraws.
        models: package → version and weights, of all that counted.
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


def ai_of(row: Related, clears: Iterable[Act], policy: Policy) -> Ai:
    """What AI says of `row`. What a package in shadow says is a fact, and changes nothing."""
    found = [f.event for f in row.findings if isinstance(f.event, FindingsMade)]
    live = [f for f in found if _counts(f, policy)]
    withdrawn = {
        (c.package, c.series_uid, c.input_digest): act for act in clears for c in act.cleared
    }
    flagged = [f for f in live if f.outcome == "flagged"]
    standing = [f for f in flagged if _result(f) not in withdrawn]
    flags = {(f.package, x.code, x.name) for f in standing for x in f.findings if x.flagged}
    looked = {x.name for f in live if f.outcome != "not_analysed" for x in f.findings}
    said = Ai(
        "",
        flags=tuple(sorted(flags)),
        looked_for=tuple(sorted(looked)),
        abstained=tuple(sorted({f.package for f in live if f.reason in ABSTENTIONS})),
        coverage=_least(live),
        results=tuple(sorted({_result(f) for f in standing})),
        models={f.package: f"{f.package_version} {f.weights or ''}".strip() for f in live},
    )
    word, reason = _word(row, found, live, bool(flags), policy)
    cleared = None
    if flagged and not flags:
        acts = [withdrawn[_result(f)] for f in flagged]
        word, reason, cleared = "withdrawn", "", max(acts, key=lambda act: act.place)
    return Ai(**(said.__dict__ | {"word": word, "reason": reason, "cleared": cleared}))


def _word(
    row: Related,
    found: list[FindingsMade],
    live: list[FindingsMade],
    flagged: bool,
    policy: Policy,
) -> tuple[str, str]:
    if flagged:
        return "flagged", ""
    readable = {
        f.event.series_uid
        for f in row.series
        if isinstance(f.event, SeriesReceived) and f.event.readable
    }
    if not found or readable - {f.series_uid for f in found}:
        return "pending", ""
    if any(f.outcome == "not_flagged" for f in live):
        return "not_flagged", ""
    doubted = any(not f.constancy and f.package in policy.live for f in found)
    reasons = sorted({f.reason for f in live if f.reason}) or [
        Reason.CONSTANCY_FAILED if doubted else Reason.SHADOW
    ]
    return "not_analysed", reasons[0].value


def _result(finding: FindingsMade) -> tuple[str, str, str]:
    return finding.package, finding.series_uid, finding.input_digest


def _counts(finding: FindingsMade, policy: Policy) -> bool:
    """Whether the list goes by it: what is live, and that no package was meant for a series."""
    return not finding.package or (finding.constancy and finding.package in policy.live)


def _least(live: Iterable[FindingsMade]) -> Coverage | None:
    """The coverage that read the smallest share of what was there."""
    stated = [f.coverage for f in live if f.coverage is not None and f.outcome != "not_analysed"]
    return min(stated, key=lambda c: (c.read / c.there if c.there else 1.0, c.read), default=None)
