"""The page's words: both languages alike, no word that promise 3 forbids, names as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import get_args

import pytest

from streams.errors import Reason
from streams.events import FindingsMade
from worklist.record.acts import OUTCOMES
from worklist.sql.models import STUCK
from worklist.sql.queue import QueueError
from worklist.sql.rights import RIGHTS
from worklist.web.i18n import (
    LANGUAGES,
    birth_date,
    brief,
    catalogue,
    choose,
    clean,
    countdown,
    person_name,
    span,
    translator,
)

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
EN = translator("en")


FORBIDDEN = re.compile(
    r"\b(negative|normal|low risk|négatif|normale?|faible risque)\b", re.IGNORECASE
)


def test_both_catalogues_have_the_same_sentences_with_the_same_gaps() -> None:
    one, two = (catalogue(lang) for lang in LANGUAGES)
    assert set(one) == set(two)
    for key in one:
        assert set(re.findall(r"{(\w+)}", one[key])) == set(re.findall(r"{(\w+)}", two[key])), key


def test_every_reason_of_the_closed_list_that_a_series_can_have_is_translated() -> None:
    series = list(Reason)[list(Reason).index(Reason.NO_MODEL) :]
    assert all(
        f"reason_{reason.value}" in catalogue(lang) for lang in LANGUAGES for reason in series
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_rule_that_tells_a_foreign_series_has_words(lang: str) -> None:
    rule, _none = get_args(FindingsMade.model_fields["unlike"].annotation)
    words = {f"reason_out_of_distribution_{name}" for name in get_args(rule)}
    assert len(words) == 3
    assert words <= set(catalogue(lang))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_mark_act_outcome_and_refusal_of_the_list_has_words(lang: str) -> None:
    words = catalogue(lang)
    rights = {act for act in RIGHTS if act != "renew"}
    assert rights <= set(words)
    assert {f"outcome_{code}" for code in OUTCOMES} <= set(words)
    source = (files("worklist") / "record" / "items.py").read_text()
    told = source.partition("def _marks")[2].partition("}")[0]
    marks = {*re.findall(r'"(\w+)":', told), "priority_conflict", "may_be_order", STUCK}
    assert "new_since_read" in marks
    assert {f"mark_{mark}" for mark in marks} <= set(words)
    codes = re.findall(r"`(\w+)`", str(QueueError.__doc__).partition("Codes:")[2])
    assert {f"error_{code}" for code in codes} <= set(words)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_promise_3_no_word_on_the_page_calls_anything_negative(lang: str) -> None:
    templates = [file.read_text() for file in (files("worklist") / "templates").iterdir()]
    assert not [text for text in [*catalogue(lang).values(), *templates] if FORBIDDEN.search(text)]


def test_the_countdown_is_signed() -> None:
    assert countdown(NOW + timedelta(minutes=12, seconds=5), NOW, EN) == "−00:12 left"
    assert countdown(NOW - timedelta(minutes=3, seconds=5), NOW, EN) == "+00:03 over"
    for late in (-59, 0, 59):
        word = "left" if late <= 0 else "over"
        assert countdown(NOW - timedelta(seconds=late), NOW, EN) == f"< 1 min {word}"
    assert span(timedelta(days=2, hours=3, minutes=59).total_seconds(), EN) == "2 d 03 h"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "< 1 min"),
        (59, "< 1 min"),
        (60, "1 min"),
        (3900, "1 h 5 min"),
        (7200, "2 h"),
        (90_000, "1 d 01 h"),
    ],
)
def test_a_duration_in_a_sentence_is_said_in_units(seconds: float, said: str) -> None:
    assert brief(seconds, EN) == said


def test_names_and_dates() -> None:
    assert person_name("MARTIN^Anne^B") == "MARTIN, Anne B"
    assert person_name("") == ""
    assert birth_date("19610412", "fr") == "12/04/1961"
    assert birth_date("1961", "en") == "1961"
    assert clean("a\u202eb\x00c\n") == "abc"
    assert len(clean("x" * 10_000)) == 120


def test_the_language_is_what_was_chosen_else_what_the_browser_asks() -> None:
    assert choose("fr", "en") == "fr"
    assert choose("xx", "de-DE,fr-FR;q=0.8") == "fr"
    assert choose(None, "") == "en"
