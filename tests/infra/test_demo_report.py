"""The demo's report counts its flags against the truth that the day was made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.demo.case import Case, Patient, Situation
from infra.demo.odd.situations import situations, situations_in_words
from infra.demo.odd.stories import stories, stories_in_words
from infra.demo.report import count_studies, flags, flags_in_words
from infra.demo.site import make_site
from infra.demo.traffic import Seen
from triage.packages.load import find_packages
from triage.settings import shipped_models
from worklist.order.policy import load

STATES = [
    ("bleed", "flagged"),
    ("bleed", "flagged"),
    ("", "flagged"),
    ("bleed", "not_flagged"),
    ("bleed", "not_analysed"),
    ("", "pending"),
]


def case(number: int, finding: str, situation: Situation = "") -> Case:
    return Case(
        number,
        f"A{number}",
        f"1.{number}",
        Patient("P", "F", "G", "19600101", "F"),
        "head_ct",
        finding,
        "R",
        "E",
        "1.2",
        number,
        "050Y",
        60.0,
        situation=situation,
    )


def counted() -> dict[str, int]:
    cases = [case(n, finding) for n, (finding, _) in enumerate(STATES)]
    rows: list[dict[str, Any]] = [
        {"accessions": [f"A{n}"], "ai": ai, "state": "readable"} for n, (_, ai) in enumerate(STATES)
    ]
    return count_studies(cases, {n: Seen(1.0) for n in range(len(STATES))}, rows, 0)


def test_flags_are_counted_against_the_truth() -> None:
    assert flags(counted()) == {
        "flagged": 3,
        "truly_positive": 2,
        "positive_screened": 3,
        "ppv": 0.6667,
        "sensitivity": 0.6667,
    }
    assert flags_in_words(counted()) == (
        "of 3 flagged studies 2 are truly positive (PPV 67%); "
        "of 3 truly positive studies that were screened 2 are flagged (sensitivity 67%)"
    )


def test_a_day_without_flags_has_no_share() -> None:
    nothing = dict.fromkeys(counted(), 0)
    assert (flags(nothing)["ppv"], flags(nothing)["sensitivity"]) == (None, None)
    assert "PPV none" in flags_in_words(nothing)


def test_a_situation_is_held_against_what_is_expected_of_it() -> None:
    cases = [
        case(n, "", situation)
        for n, situation in enumerate(("", "prone", "hole", "dose_page", "film"))
    ]
    outcomes = [
        ("not_flagged", ""),
        ("not_flagged", ""),
        ("not_flagged", ""),
        ("not_analysed", "outside_intended_use_image"),
    ]
    rows = {n: [{"ai": ai, "ai_reason": why}] for n, (ai, why) in enumerate(outcomes)}
    told = situations(cases, rows | {4: []})
    assert {name: one["as_expected"] for name, one in told.items()} == {
        "prone": True,
        "hole": False,
        "dose_page": True,
        "film": False,
    }
    assert "hole: not_flagged, expected flagged or not_analysed: incomplete" in (
        situations_in_words(told)
    )


@pytest.mark.parametrize("historic", [True, False])
def test_in_the_demo_the_shipped_packages_are_live(historic: bool, tmp_path: Any) -> None:
    policy = load(make_site(tmp_path / "site", historic=historic, token="t"))
    assert set(policy.live) == {folder.name for folder in find_packages(shipped_models())}
    assert bool(policy.historic_after_days) is historic


def told_of(story: Any, *rows: dict[str, Any]) -> bool:
    """Whether such rows are the right end of `story`."""
    made = replace(case(7, ""), story=story, accession="A7")
    return bool(stories([made], {7: rows})[story]["as_expected"])


def row(lane: int = 1, state: str = "readable", name: str = "", **more: Any) -> dict[str, Any]:
    named = name or case(7, "").patient.family
    return {"lane": lane, "state": state, "patient_name": named, "accessions": ["A7"]} | more


def test_a_story_of_messages_is_held_against_its_right_end() -> None:
    twin = row(3, "expected", "Twin")
    parts = row(accessions=["A7-3", "A7", "A7-2", "A7-4"])
    for story, right, wrong in (
        ("status_after_stat", (row(1),), (row(2),)),
        ("addendum", (row(state="final"),), (row(),)),
        ("transfer", (row(),), (row(), row())),
        ("test_message", (), (row(),)),
        ("trauma", (parts,), (row(), row())),
        ("downtime", (row(),), (row(name="X"),)),
        ("two_hospitals", (row(1), twin), (row(2), twin)),
    ):
        assert told_of(story, *right), story
        assert not told_of(story, *wrong), story
    assert "test message: no row, as it should" in stories_in_words(
        {"test_message": {"expected": "no row", "as_expected": True}}
    )
