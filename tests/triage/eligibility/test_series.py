"""Series as modalities call them, in four languages: which are read, and which rule said so.

`series.csv` has the usual names and all films; `neighbours.csv` has head series by names that lie
close to others of the opposite meaning.
"""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import pytest

from streams.errors import Reason
from triage.eligibility.rule import Facts, Rule, image_decision
from triage.eligibility.words import vocabulary
from triage.packages.load import load_package
from triage.settings import shipped_models

TABLES = [
    Path(__file__).with_name(f"{name}.csv").read_text(encoding="utf-8")
    for name in ("series", "neighbours")
]
CASES = [case for table in TABLES for case in csv.DictReader(StringIO(table))]
IMAGE, CONTRAST = vocabulary()["image"], vocabulary()["contrast"]
PACKAGES = {"head": "head-ct-ich", "chest": "chest-opacity"}
MODALITIES = {"head": "CT", "chest": "DX"}
YEARS = {"head": 40.0, "chest": 3.0}


@pytest.fixture(scope="module")
def rules() -> dict[str, Rule]:
    return {short: load_package(shipped_models() / name).rule for short, name in PACKAGES.items()}


def facts(case: dict[str, str]) -> Facts:
    return Facts(
        modality=MODALITIES[case["package"]],
        body_part=case["body_part"],
        series_description=case["series"],
        study_description=case["study"],
        age_years=YEARS[case["package"]],
        image_type=tuple(case["image_type"].split("\\")) if case["image_type"] else (),
        views=tuple(filter(None, [case["view"]])),
        agent=case["agent"],
        kernel=case["kernel"],
    )


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: "/".join(filter(None, list(case.values())[:8]))[:60]
)
def test_a_series_is_read_or_refused_by_the_rule_that_says_so(
    case: dict[str, str], rules: dict[str, Rule]
) -> None:
    found = image_decision(rules[case["package"]], facts(case))
    read = "read" if found.primary else "flag only"
    told = read if found.reason is None else found.reason.removeprefix("outside_intended_use_")
    assert (told, found.rule) == (case["expected"], case["rule"]), found


@pytest.mark.parametrize("list_name", ["refused", "refused_ct", "made", "with"])
def test_no_word_of_another_image_or_of_contrast_lets_a_head_be_not_flagged(
    list_name: str, rules: dict[str, Rule]
) -> None:
    entries = CONTRAST["with"] if list_name == "with" else IMAGE[list_name]
    assert entries
    for one in entries:
        for text in (f"Head {one.rstrip('*')}", f"{one.rstrip('*').upper()}_HEAD"):
            found = image_decision(rules["head"], Facts("CT", "HEAD", text, "CT head", 40.0))
            assert found.reason is not None or not found.primary, text


@pytest.mark.parametrize("word", [*CONTRAST["without"], *CONTRAST["plain"]])
def test_no_word_of_a_plain_series_makes_it_one_with_contrast(
    word: str, rules: dict[str, Rule]
) -> None:
    facts = Facts("CT", "HEAD", f"Head {word.rstrip('*')}", "", 40.0, kernel="H31s")
    found = image_decision(rules["head"], facts)
    assert found.reason is not Reason.OUTSIDE_CONTRAST, found


def test_the_table_is_long_and_in_several_languages() -> None:
    assert len(CASES) >= 500
    assert len({tuple(case.values())[:8] for case in CASES}) == len(CASES)
    accented = [case for case in CASES if not (case["series"] + case["study"]).isascii()]
    assert len(accented) > 60
    assert {case["expected"] for case in CASES} >= {"read", "flag only", "contrast", "image"}
