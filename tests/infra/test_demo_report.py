"""The demo's report counts its flags against the truth that the day was made from."""

from __future__ import annotations

from typing import Any

import pytest

from infra.demo.case import Case, Patient
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


def counted() -> dict[str, int]:
    cases = [
        Case(
            n,
            f"A{n}",
            f"1.{n}",
            Patient("P", "F", "G", "19600101", "F"),
            "head_ct",
            finding,
            "R",
            "E",
            "1.2",
            n,
            "050Y",
            60.0,
        )
        for n, (finding, _) in enumerate(STATES)
    ]
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


@pytest.mark.parametrize("historic", [True, False])
def test_in_the_demo_the_shipped_packages_are_live(historic: bool, tmp_path: Any) -> None:
    policy = load(make_site(tmp_path / "site", historic=historic))
    assert set(policy.live) == {folder.name for folder in find_packages(shipped_models())}
    assert bool(policy.historic_after_days) is historic
