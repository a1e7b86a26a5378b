"""The page's words: the two languages, their dates and durations, and names made fit to show."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

LANGUAGES = ("en", "fr")
Translate = Callable[..., str]
_LONGEST = 120  # characters that a row has room for


@cache
def catalogue(lang: str) -> dict[str, str]:
    """All sentences of one language."""
    words: dict[str, str] = json.loads((files("worklist") / "locales" / f"{lang}.json").read_text())
    return words


@cache
def words_path(lang: str) -> str:
    """Where scripts find all sentences of a language: a path that is another when they change."""
    version = hashlib.sha256(orjson.dumps(catalogue(lang))).hexdigest()[:12]
    return f"/words/{version}/{lang}.json"


def translator(lang: str) -> Translate:
    """`translate(key, **values)` of one language: the sentence, its gaps filled."""
    words = catalogue(lang)

    def translate(key: str, **values: Any) -> str:
        return words[key].format(**values)

    return translate


def choose(cookie: str | None, accept: str) -> str:
    """The language a browser gets: what its user chose, else the first of ours that it accepts."""
    if cookie in LANGUAGES:
        return str(cookie)
    wished = (part.partition(";")[0].strip()[:2].lower() for part in accept.split(","))
    return next((lang for lang in wished if lang in LANGUAGES), "en")


def clean(text: str | None) -> str:
    """`text` without control and direction-override characters, cut to what a row has room for."""
    kept = _visible(text or "")
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"


def clean_lines(text: str) -> str:
    """The same of a longer text: whole, line by line."""
    return "\n".join(map(_visible, text.splitlines()))


def _visible(text: str) -> str:
    if text.isprintable():  # nearly always, and soon seen
        return text
    hidden = ("Cc", "Cf", "Cs")  # Unicode categories: control, format, surrogate
    return "".join(c for c in text.expandtabs(4) if unicodedata.category(c) not in hidden)


def person_name(raw: str | None) -> str:
    """``MARTIN^Anne^B`` as ``MARTIN, Anne B``. The name in other scripts (after ``=``) follows as
    it came.
    """
    family, _, given = (raw or "").partition("^")
    rest = " ".join(part for part in given.split("^") if part)
    return clean(f"{family}, {rest}" if rest else family)


def birth_date(raw: str | None, lang: str) -> str:
    """``19610412`` (or ISO) as the language writes dates; anything else as it came."""
    digits = (raw or "").replace("-", "")
    if len(digits) != 8 or not digits.isdigit():
        return clean(raw)
    year, month, day = digits[:4], digits[4:6], digits[6:]
    return f"{day}/{month}/{year}" if lang == "fr" else f"{year}-{month}-{day}"


def moment(time: datetime | None, lang: str) -> str:
    """A time in the server's zone, to the minute that has begun; empty for None."""
    if time is None:
        return ""
    return time.astimezone().strftime("%d/%m/%Y %H:%M" if lang == "fr" else "%Y-%m-%d %H:%M")


def zone_minutes() -> int:
    """How far the server's zone is ahead of UTC now, minutes: scripts write times as we do."""
    ahead = datetime.now().astimezone().utcoffset()
    return int(ahead.total_seconds() // 60) if ahead else 0


def span(seconds: float, translate: Translate) -> str:
    """A duration, ``01:05`` (hours and minutes), or ``2 d 03 h`` from a day on; without sign."""
    minutes = int(abs(seconds) // 60)
    days, hours = divmod(minutes // 60, 24)
    if not days:
        return f"{hours:02}:{minutes % 60:02}"
    return f"{days} {translate('days')} {hours:02} {translate('hours')}"


def brief(seconds: float, translate: Translate) -> str:
    """A duration as it stands in a sentence: ``< 1 min``, ``12 min``, ``1 h 5 min``, days."""
    minutes = int(abs(seconds) // 60)
    if minutes >= 24 * 60:
        return span(seconds, translate)
    if minutes >= 60:
        name = "brief_hours" if minutes % 60 else "brief_whole_hours"
        return translate(name, h=minutes // 60, m=minutes % 60)
    return translate("brief_minutes", m=minutes) if minutes else translate("brief_none")


def countdown(target: datetime, now: datetime, translate: Translate) -> str:
    """``−00:12 left``, ``+00:03 over``; within the last minute ``< 1 min left``."""
    left = (target - now).total_seconds()
    sign, word = ("−", "left") if left >= 0 else ("+", "over")
    if abs(left) < 60:
        return f"{translate('brief_none')} {translate(word)}"
    return f"{sign}{span(left, translate)} {translate(word)}"
