"""A row in words: the five words of AI, the urgency that the rank gave, its clocks, its bound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worklist.web.door.edge import MAX_BODY
from worklist.web.i18n import catalogue, moment, translator
from worklist.web.row_view import ai_detail, urgency, view
from worklist.web.schema import MOST_SEEN, Flag, ImageCount, Row, Why

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
EN = translator("en")


def row(**more: Any) -> Row:
    fields: dict[str, Any] = {
        "study": "s1",
        "key": "2a",
        "age": "066Y",
        "accession": "A1",
        "accessions": ("A1",),
        "study_uid": "1.2",
        "patient_id": "P1",
        "patient_name": "DOE^JANE",
        "birth_date": "19600102",
        "sex": "F",
        "modality": "CT",
        "body_part": "",
        "description": "CT head",
        "priority": "routine",
        "location": "",
        "site": "",
        "subspecialty": "",
        "state": "readable",
        "ai": "pending",
        "ai_reason": None,
        "ai_unlike": None,
        "looked_for": (),
        "flags": (),
        "lane": 2,
        "due_at": NOW,
        "target_at": NOW + timedelta(minutes=12),
        "received_at": NOW,
        "clock_at": NOW,
        "scheduled_at": None,
        "last_image_at": None,
        "report_at": None,
        "why": (Why(term="class:routine", target_s=3600, source="order"),),
        "policy": "p",
        "overtaken_until": NOW + timedelta(days=30, seconds=1),
        "marks": (),
        "borrowed": (),
        "siblings": (),
        "images": ImageCount(here=1),
        "coverage": None,
        "cleared_by": "",
        "cleared_reason": "",
        "pinned_by": "",
        "pinned_reason": "",
        "outcome": "",
        "in_reading": None,
        "claimed_by": None,
        "claimed_until": None,
        "opened_by": None,
        "finished_at": None,
        "finished_by": "",
        "finish_id": "",
    }
    return Row(**(fields | more))


@pytest.mark.parametrize(
    ("coverage", "shown"),
    [
        (None, ""),
        ({"read": 1, "there": 1, "primary": True, "extent_mm": None}, "1 of 1"),
        ({"read": 1, "there": 1, "age_stated": False}, "1 of 1, age not stated"),
        (
            {"read": 9, "there": 14, "extent_mm": 140.0, "spacing_mm": 10, "largest_gap_mm": 60.0},
            "9 of 14, 140 mm, largest gap 60 mm",
        ),
        (
            {"read": 28, "there": 28, "extent_mm": 139.6, "spacing_mm": 5, "largest_gap_mm": 5},
            "28 of 28, 140 mm",
        ),
    ],
)
def test_the_study_page_says_what_was_read_of_what_is_there(
    coverage: dict[str, bool | int | float | None] | None, shown: str
) -> None:
    assert view(row(coverage=coverage), NOW, "en", EN, "anne")["coverage"] == shown


def test_ai_is_said_in_five_words() -> None:
    words = catalogue("en")
    said = ("flagged", "withdrawn", "not_flagged", "not_analysed", "pending")
    assert [words[f"ai_{ai}"] for ai in said] == [
        "flagged",
        "flag withdrawn",
        "not flagged",
        "not analysed",
        "pending",
    ]
    assert (
        ai_detail(row(ai="not_flagged", looked_for=("haemorrhage",)), EN, words)
        == "for: haemorrhage"
    )
    assert (
        ai_detail(row(ai="not_analysed", ai_reason="no_model"), EN, words)
        == "no model for this study"
    )
    assert (
        ai_detail(
            row(ai="flagged", flags=(Flag(package="p", code="c", name="haemorrhage"),)), EN, words
        )
        == "haemorrhage"
    )
    assert (
        ai_detail(
            row(ai="withdrawn", cleared_by="anne", cleared_reason="motion", looked_for=("bleed",)),
            EN,
            words,
        )
        == "by anne: motion"
    )
    assert ai_detail(row(), EN, words) == ""


@pytest.mark.parametrize(
    ("reason", "rule", "lang", "said"),
    [
        ("out_of_distribution", None, "en", "unlike what the model learned on"),
        ("out_of_distribution", "later", "en", "unlike what the model learned on"),
        (
            "out_of_distribution",
            "features",
            "en",
            "unlike what the model learned on (by what the network sees in it)",
        ),
        (
            "out_of_distribution",
            "size",
            "en",
            "unlike what the model learned on (size of the body)",
        ),
        (
            "out_of_distribution",
            "skull",
            "fr",
            "différent de ce que le modèle a appris (aucun crâne visible)",
        ),
        ("unsure", "skull", "en", "the model was unsure"),
        ("later", "skull", "en", "later"),
    ],
)
def test_a_foreign_series_says_what_told_so_where_that_is_known(
    reason: str, rule: str | None, lang: str, said: str
) -> None:
    shown = row(ai="not_analysed", ai_reason=reason, ai_unlike=rule)
    assert ai_detail(shown, translator(lang), catalogue(lang)) == said


def test_urgency_agrees_with_the_rank_that_was_kept() -> None:
    flag = (Why(term="flag:RID4700", target_s=900, source="p"),)
    assert urgency(row(lane=3, why=flag)) == "expected"
    assert urgency(row(lane=0)) == "pinned"
    assert urgency(row(lane=1)) == "emergent"
    assert urgency(row(why=flag)) == "flagged"
    assert urgency(row(ai="flagged")) == "routine"  # a package in shadow changes nothing
    assert urgency(row(priority="unknown")) == "unknown"
    assert urgency(row(priority="timed")) == "other"


def test_a_row_in_words() -> None:
    shown = view(row(lane=1, priority="stat", claimed_by="anne"), NOW, "en", EN, "anne")
    assert (shown["word"], shown["order_class"], shown["mine"], shown["target_text"]) == (
        "Emergent",
        "STAT",
        True,
        "−00:12 left",
    )
    assert shown["why"] == [
        {"term": "Order priority: routine", "target": "1 h", "source": "from the order"}
    ]


@pytest.mark.parametrize(
    ("modality", "description", "said"),
    [
        ("CT", "CT head", "head"),
        ("CT", "ct Head", "Head"),
        ("CT", "CTA head", "CTA head"),
        ("", "CT head", "CT head"),
        ("CT", "CT", "CT"),
    ],
)
def test_the_modality_is_said_once(modality: str, description: str, said: str) -> None:
    shown = view(row(modality=modality, description=description), NOW, "en", EN, "anne")
    assert shown["description"] == said


def test_a_shipped_packages_finding_is_said_in_french_and_a_hospitals_own_as_it_wrote_it() -> None:
    flags = tuple(
        Flag(package="p", code=name, name=name) for name in ("Intracranial haemorrhage", "Kyste")
    )
    shown = view(row(ai="flagged", flags=flags), NOW, "fr", translator("fr"), "anne")
    assert shown["ai_detail"] == "Hémorragie intracrânienne, Kyste"


def test_promise_4_the_bound_is_shown_to_the_minute_and_never_earlier_than_it_is() -> None:
    shown = view(row(), NOW, "en", EN, "anne")
    assert shown["bound_text"] == moment(NOW + timedelta(days=30, minutes=1), "en")
    whole = view(row(overtaken_until=NOW), NOW, "en", EN, "anne")
    assert whole["bound_text"] == moment(NOW, "en")
    assert view(row(overtaken_until=None, lane=3), NOW, "en", EN, "anne")["bound_text"] == ""


def test_marks_are_in_words_and_say_which_order_it_may_be() -> None:
    marked = row(marks=("identity_conflict", "may_be_order"), borrowed=("A7",))
    shown = view(marked, NOW, "en", EN, "anne")["marks"]
    assert [(mark["code"], mark["word"]) for mark in shown] == [
        ("identity_conflict", "identity conflict"),
        ("may_be_order", "may be order A7"),
    ]
    assert {mark["resolved"] for mark in shown} == {"It is this order's, It is not this order's"}


def test_a_study_that_was_read_has_no_clock_and_cannot_be_claimed() -> None:
    read = view(row(state="read", finished_at=NOW, finished_by="anne"), NOW, "en", EN, "anne")
    assert (read["lane"], read["target_iso"], read["claimable"]) == ("closed", "", False)


def test_what_is_too_much_for_one_request_is_not_named_as_seen() -> None:
    ids = tuple(f"{i:024x}" for i in range(MOST_SEEN))
    shown = view(row(fragments=ids), NOW, "en", EN, "anne")
    assert shown["seen"] == " ".join(ids)
    assert len(shown["seen"]) < MAX_BODY - 1000
    assert view(row(fragments=(*ids, "x")), NOW, "en", EN, "anne")["seen"] == ""
