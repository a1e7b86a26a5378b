"""Counts what became of the day: what was sent, what the list holds, how long it took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra.demo.case import Case
from infra.demo.readers import Read
from infra.demo.traffic import Seen, Traffic
from infra.demo.waits import Arrival, mean_waits
from worklist.order.policy import Policy

#: Not analysed although a model looked: it may flag such a series, and never call it calm.
_LOOKED_AT = ("incomplete", "not_primary")
Rows = Sequence[Mapping[str, Any]]
_ORDER_CLASS = {"S": "stat", "A": "urgent", "R": "routine", "": "unknown"}
_LOCATION = {"E": "emergency", "I": "inpatient", "O": "outpatient", "": ""}


def rows_of(case: Case, rows: Rows) -> Rows:
    """The rows that are about `case`: one, if all went well."""
    return [
        row
        for row in rows
        if case.accession in (row.get("accessions") or ()) or case.study_uid == row.get("study_uid")
    ]


def count_studies(
    cases: Iterable[Case], seen: Mapping[int, Seen], rows: Rows, parked: int
) -> dict[str, int]:
    """The report's ``studies``. *Lost*: answered yes and not on the list, or its images were
    neither screened nor refused a reason.

    ``positive``: a model looked, and the truth is a finding; ``flagged_truly`` of them were
    flagged.
    """
    result = dict.fromkeys(
        (
            "sent",
            "on_list",
            "screened",
            "flagged",
            "not_analysed",
            "cancelled",
            "parked",
            "lost",
            "doubled",
            "flagged_truly",
            "positive",
        ),
        0,
    )
    result["parked"] = parked
    for case in cases:
        known = seen[case.number]
        if known.first_answer is None:
            continue
        result["sent"] += 1
        found = rows_of(case, rows)
        result["on_list"] += bool(found)
        result["doubled"] += max(0, len(found) - case.rows)
        result["lost"] += not found or (known.images is not None and _waiting(found))
        states = {row["ai"] for row in found}
        looked = bool(states & {"flagged", "not_flagged"})
        result["screened"] += looked
        result["flagged"] += "flagged" in states
        result["flagged_truly"] += "flagged" in states and case.urgent
        looked = looked or any(row.get("ai_reason") in _LOOKED_AT for row in found)
        result["positive"] += looked and case.urgent
        result["not_analysed"] += "not_analysed" in states
        result["cancelled"] += any(row["state"] == "cancelled" for row in found)
    return result


def flags(studies: Mapping[str, int]) -> dict[str, float | int | None]:
    """The report's ``flags``, against the truth that the day was made from: shares from 0 to 1,
    None of nothing.
    """
    flagged, truly, positive = studies["flagged"], studies["flagged_truly"], studies["positive"]
    return {
        "flagged": flagged,
        "truly_positive": truly,
        "positive_screened": positive,
        "ppv": round(truly / flagged, 4) if flagged else None,
        "sensitivity": round(truly / positive, 4) if positive else None,
    }


def flags_in_words(studies: Mapping[str, int]) -> str:
    """The same for a person."""
    found = flags(studies)
    ppv, sensitivity = (
        f"{found[name]:.0%}" if found[name] is not None else "none"
        for name in ("ppv", "sensitivity")
    )
    return (
        f"of {found['flagged']} flagged studies {found['truly_positive']} are truly positive "
        f"(PPV {ppv}); of {found['positive_screened']} truly positive studies that were screened "
        f"{found['truly_positive']} are flagged (sensitivity {sensitivity})"
    )


def unsettled(cases: Iterable[Case], seen: Mapping[int, Seen], rows: Rows) -> int:
    """How many studies are still on their way: not yet on the list, or images not yet looked at."""
    left = 0
    for case in cases:
        known = seen[case.number]
        if known.first_answer is not None:
            found = rows_of(case, rows)
            left += not found or (known.images is not None and _waiting(found))
    return left


def _waiting(found: Rows) -> bool:
    """Whether nobody has looked at the images yet; a prior is for no screening."""
    return all(row["ai"] == "pending" and row["state"] != "historic" for row in found)


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """p50 and p95 (nearest rank), None without values."""
    ordered = sorted(values)

    def at(share: float) -> float | None:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else None

    return {"p50": at(0.5), "p95": at(0.95)}


def latencies(
    traffic: Traffic, rows: Rows, history: Mapping[str, Sequence[tuple[float, str]]]
) -> tuple[list[float], list[float]]:
    """Seconds from a door's first answer to the list, and from the last image's answer to the rank
    that followed its screening.

    Args:
        history: by study, the audit's rank acts as (wall time, ai), oldest first.
    """
    to_list, to_rank = [], []
    for case in traffic.day.cases:
        known = traffic.seen[case.number]
        acts = sorted(act for row in rows_of(case, rows) for act in history.get(row["study"], ()))
        if known.first_answer is None or not acts:
            continue
        to_list.append(max(0.0, acts[0][0] - known.first_answer))
        looked = next((at for at, ai in acts if ai != "pending"), None)
        if known.first_images is not None and looked is not None:
            to_rank.append(max(0.0, looked - known.first_images))
    return to_list, to_rank


def waits(
    traffic: Traffic,
    reads: Sequence[Read],
    rows: Rows,
    history: Mapping[str, Sequence[tuple[float, str]]],
    policy: Policy,
    wall_to_mono: float,
) -> dict[str, dict[str, float | None]]:
    """The report's ``mean_wait_s``, in simulated seconds.

    Args:
        wall_to_mono: what to take from a wall time to get the monotonic clock's.
    """

    def simulated(wall: float) -> float:
        return max(0.0, (wall - wall_to_mono - traffic.started) * traffic.speed)

    arrivals = []
    for case in traffic.day.cases:
        known = traffic.seen[case.number]
        found = rows_of(case, rows)
        if known.first_images is None or known.cancelled or not found:
            continue
        flags = tuple(("ai", flag["code"]) for row in found for flag in row.get("flags") or ())
        flagged = [
            at for row in found for at, ai in history.get(row["study"], ()) if ai == "flagged"
        ]
        arrivals.append(
            Arrival(
                study=case.accession,
                at=simulated(known.first_images),
                positive=case.urgent,
                order_class=_ORDER_CLASS[case.priority] if case.ordered else "unknown",
                location=_LOCATION[case.location],
                flagged_at=simulated(min(flagged)) if flagged else None,
                flags=flags,
            )
        )
    taken = [max(0.0, (read.taken - traffic.started) * traffic.speed) for read in reads]
    return mean_waits(arrivals, taken, policy)


def rank_history(records: Iterable[tuple[str, float, str]]) -> dict[str, list[tuple[float, str]]]:
    """`latencies`' history from audit records (study, wall time, ai)."""
    result: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for study, at, ai in records:
        result[study].append((at, ai))
    return {study: sorted(acts) for study, acts in result.items()}
