"""The page's words: the two languages, their dates and durations, and names made fit to show."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "fr")
Translate = Callable[..., str]
_LONGEST = 120  # characters that a row has room for
#: The sentences that the page's scripts need.
FOR_SCRIPTS = (
    "left",
    "over",
    "days",
    "hours",
    "live",
    "connecting",
    "reconnecting",
    "stale",
    "behind",
    "paused",
    "pause",
    "resume",
    "pending_moves",
    "new_strip",
    "close",
    "filter_note",
    "announce_soon",
    "announce_over",
)


@cache
def catalogue(lang: str) -> dict[str, str]:
    """All sentences of one language."""
    words: dict[str, str] = json.loads((files("worklist") / "locales" / f"{lang}.json").read_text())
    return words


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
    hidden = ("Cc", "Cf", "Cs")  # Unicode categories: control, format, surrogate
    kept = "".join(c for c in (text or "") if unicodedata.category(c) not in hidden)
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"


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


def span(seconds: float, translate: Translate) -> str:
    """A duration, ``01:05`` (hours and minutes), or ``2 d 03 h`` from a day on; without sign."""
    minutes = int(abs(seconds) // 60)
    days, hours = divmod(minutes // 60, 24)
    if not days:
        return f"{hours:02}:{minutes % 60:02}"
    return f"{days} {translate('days')} {hours:02} {translate('hours')}"


def countdown(target: datetime, now: datetime, translate: Translate) -> str:
    """``−00:12 left``, ``+00:03 over``."""
    left = (target - now).total_seconds()
    sign, word = ("−", "left") if left >= 0 else ("+", "over")
    return f"{sign}{span(left, translate)} {translate(word)}"
