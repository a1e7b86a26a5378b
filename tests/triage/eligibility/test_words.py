"""Free text folded and searched."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.eligibility.words import entry, find, fold, vocabulary, without


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TDM CÉRÉBRALE", "tdm cerebrale"),
        ("TDM ce\u0301re\u0301brale", "tdm cerebrale"),
        ("HeadRoutine5mm", "head routine 5 mm"),
        ("CRANE_SANS-IV", "crane sans iv"),
        ("C-SPINE", "c spine"),
        ("Crâne C-", "crane cminus"),
        ("Crâne C+", "crane cplus"),
        ("Head CE-", "head cminus"),
        ("HEAD W80 L:40", "head width 80 l 40"),
        ("HEAD W 5mm", "head w 5 mm"),
        ("W/O", "w o"),
        ("cœur, œsophage", "coeur oesophage"),
        ("頭部 CT", "ct"),
        ("", ""),
    ],
)
def test_words_are_folded(text: str, words: str) -> None:
    assert " ".join(fold(text)) == words


@given(st.text())
def test_any_text_folds_to_plain_words(text: str) -> None:
    tokens = fold(text)
    assert all(re.fullmatch(r"[a-z]+|[0-9]+", token) for token in tokens)
    assert fold(" ".join(tokens)) == tokens


def test_words_are_whole_and_phrases_in_a_row() -> None:
    tokens = fold("CT femoral neck and head")
    assert find(tokens, ["femoral head", "emoral", "neck and"]) == "neck and"
    assert find(tokens, ["femor*"]) == "femor*"
    assert find(fold("ahead"), ["head"]) == ""
    assert entry("Crâne*") == "crane*"


def test_what_was_taken_out_joins_nothing_across_it() -> None:
    rest, first = without(fold("radial head head"), ["radial head"])
    assert (rest, first) == (("|", "head"), "radial head")
    assert find(without(fold("w x o"), ["x"])[0], ["w o"]) == ""


def test_long_entries_are_taken_out_before_their_parts() -> None:
    rest, first = without(fold("sans injection portal"), ["sans", "sans injection"])
    assert (rest, first) == (("|", "portal"), "sans injection")


def test_the_vocabulary_is_written_as_it_is_compared() -> None:
    for table, lists in vocabulary().items():
        for name, entries in lists.items():
            assert len(set(entries)) == len(entries), (table, name)
            if table != "kernel" or name == "sharp_words":
                assert all(entry(one.rstrip("*")) == one.rstrip("*") for one in entries), table
