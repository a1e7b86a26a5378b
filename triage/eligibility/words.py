"""Free text of modalities, folded so that it can be compared: no accents, case, punctuation."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

Tokens = tuple[str, ...]
_LIGATURES = str.maketrans({"œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ß": "ss"})
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[a-zA-Z])(?=\d)|(?<=\d)(?=[a-zA-Z])")
# "C+", "CE+" and "C-" of a series: a hyphen that ties a word on ("C-spine") says nothing.
_NO_IV = re.compile(r"\biv\s?-(?=$|[\s,;)_])", re.IGNORECASE)
_PLUS = re.compile(r"\bce?\s?\+", re.IGNORECASE)
_MINUS = re.compile(r"\bce?\s?-(?=$|[\s,;)_])", re.IGNORECASE)
# "I+" and "I-" are French for injected and not: "I + II" are two parts of something.
_INJECTED = re.compile(r"(?<![^\W_])i(?:\+(?=$|[\s,;)_/])|\s\+$)", re.IGNORECASE)
_NOT_INJECTED = re.compile(r"(?<![^\W_])i-(?=$|[\s,;)_/]|i\+)", re.IGNORECASE)
# "W80" is a window's width, "W/" and a "W" by itself are "with".
_WIDTH = re.compile(r"(?<![^\W_])w[:=]?(?=\d)", re.IGNORECASE)
_LONGEST = 300  # characters that are looked at: no description has more


def fold(text: str) -> Tokens:
    """The words of `text`: letters and digits apart, `HeadRoutine` two words."""
    text = _MINUS.sub(" cminus ", _PLUS.sub(" cplus ", text[:_LONGEST]))
    text = _INJECTED.sub(" iplus ", _NOT_INJECTED.sub(" iminus ", text))
    text = _WIDTH.sub(" width ", _NO_IV.sub(" ivminus ", text))
    parts = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
    plain = "".join(part for part in parts if not unicodedata.combining(part))
    apart = _CAMEL.sub(" ", plain.replace("+", " plus "))
    return tuple(re.findall(r"[a-z0-9]+", apart.casefold()))


@cache
def _phrase(text: str) -> Tokens:
    return tuple(text.split())


def entry(text: str) -> str:
    """`text` as an entry of the vocabulary."""
    return " ".join(fold(text)) + ("*" if text.endswith("*") else "")


def find(tokens: Tokens, entries: Iterable[str]) -> str:
    """The first of `entries` that stands in `tokens`; empty where none does."""
    return next((one for one in entries if _places(tokens, _phrase(one))), "")


def without(tokens: Tokens, entries: Iterable[str]) -> tuple[Tokens, str]:
    """`tokens` less all that `entries` cover, and the first entry that was there."""
    first = ""
    # Long ones first: what is left of them would be read as something else.
    for one in sorted(entries, key=lambda one: -len(_phrase(one))):
        phrase = _phrase(one)
        while at := _places(tokens, phrase):
            tokens = (*tokens[: at - 1], "|", *tokens[at - 1 + len(phrase) :])
            first = first or one
    return tokens, first


def _places(tokens: Tokens, phrase: Tokens) -> int:
    """Where `phrase` begins in `tokens`, counted from 1; 0: nowhere."""
    for at in range(len(tokens) - len(phrase) + 1):
        if all(map(_is, tokens[at : at + len(phrase)], phrase)):
            return at + 1
    return 0


def _is(token: str, word: str) -> bool:
    return token.startswith(word[:-1]) if word.endswith("*") else token == word


@cache
def vocabulary() -> dict[str, dict[str, tuple[str, ...]]]:
    """The tables of `vocabulary.toml`."""
    text = (files(__package__) / "vocabulary.toml").read_text(encoding="utf-8")
    return {
        table: {name: tuple(entries) for name, entries in content.items()}
        for table, content in tomllib.loads(text).items()
    }
