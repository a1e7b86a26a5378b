"""What RIS and hospitals do beside the usual: how each is played, and how it ought to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from infra.demo.case import Act, Case, Kind, Story

Row = Mapping[str, Any]
#: Name → kind, priority, location, what happens.
STORIES: dict[Story, tuple[Kind, str, str, tuple[Act, ...]]] = {
    "status_after_stat": ("head_ct", "S", "E", ("order", "status", "images")),
    # Without images here: they may come late, and bring it back.
    "addendum": ("chest", "R", "O", ("order", "final", "addendum")),
    "transfer": ("knee", "R", "E", ("order", "images", "transfer")),
    "test_message": ("knee", "S", "E", ("test_order",)),
    "trauma": ("head_ct", "S", "E", ("trauma", "images")),
    "downtime": ("knee", "R", "O", ("images", "backlog")),
    "two_hospitals": ("chest", "S", "E", ("order", "images", "twin_order")),
}
#: How many accession numbers a trauma has, read as one.
PARTS = 4


def accessions_of(case: Case) -> list[str]:
    """Of a trauma all; the first is the case's own."""
    return [case.accession, *(f"{case.accession}-{part}" for part in range(2, PARTS + 1))]


def _stays_stat(_case: Case, rows: Sequence[Row]) -> bool:
    return [row["lane"] for row in rows] == [1]


def _is_final(_case: Case, rows: Sequence[Row]) -> bool:
    return [row["state"] for row in rows] == ["final"]


def _is_one_row(_case: Case, rows: Sequence[Row]) -> bool:
    return len(rows) == 1


def _is_nowhere(_case: Case, rows: Sequence[Row]) -> bool:
    return not rows


def _has_all_numbers(case: Case, rows: Sequence[Row]) -> bool:
    return [sorted(row["accessions"]) for row in rows] == [sorted(accessions_of(case))]


def _has_its_order(case: Case, rows: Sequence[Row]) -> bool:
    names = [row["patient_name"] or "" for row in rows]
    return len(rows) == 1 and case.patient.family.upper() in names[0].upper()


def _are_two_patients(case: Case, rows: Sequence[Row]) -> bool:
    own = [row for row in rows if case.patient.family in (row["patient_name"] or "")]
    return len(rows) == 2 and [row["lane"] for row in own] == [1]


_RIGHT: dict[Story, tuple[str, Callable[[Case, Sequence[Row]], bool]]] = {
    "status_after_stat": ("one row, still STAT", _stays_stat),
    "addendum": ("one row, final", _is_final),
    "transfer": ("one row", _is_one_row),
    "test_message": ("no row", _is_nowhere),
    "trauma": (f"one row with {PARTS} accession numbers", _has_all_numbers),
    "downtime": ("one row, its patient's", _has_its_order),
    "two_hospitals": ("two rows, the STAT with its own patient", _are_two_patients),
}


def stories(
    cases: Iterable[Case], rows_of: Mapping[int, Sequence[Row]]
) -> dict[str, dict[str, Any]]:
    """The report's ``stories``: by name what was expected, and whether the list says so."""
    told = dict[str, dict[str, Any]]()
    for case in cases:
        if case.story:
            expected, right = _RIGHT[case.story]
            told[case.story] = {
                "expected": expected,
                "as_expected": right(case, rows_of[case.number]),
            }
    return told


def stories_in_words(told: Mapping[str, Mapping[str, Any]]) -> str:
    """The same for a person."""
    return "; ".join(
        f"{name.replace('_', ' ')}: {one['expected']}, "
        + ("as it should" if one["as_expected"] else "and it is not so")
        for name, one in told.items()
    )
