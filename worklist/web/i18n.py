"""The page's words: two catalogues, the locale's dates, and names made safe to show."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "fr")
_LONGEST = 120
#: What the browser's modules say themselves.
FOR_SCRIPTS = (
    "left",
    "over",
    "days",
    "hours",
    "minutes",
    "live",
    "connecting",
    "reconnecting",
    "stale",
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


def speaker(lang: str) -> Callable[..., str]:
    """`t(key, **values)` of one language."""
    words = catalogue(lang)

    def t(key: str, **values: Any) -> str:
        return words[key].format(**values)

    return t


def choose(cookie: str | None, accept: str) -> str:
    """The language a browser gets: what its user chose, else the first of ours that it accepts."""
    if cookie in LANGUAGES:
        return str(cookie)
    wished = (part.partition(";")[0].strip()[:2].lower() for part in accept.split(","))
    return next((lang for lang in wished if lang in LANGUAGES), "en")


def clean(text: str | None) -> str:
    """`text` without control and direction-override characters, cut to what a row can hold."""
    kept = "".join(c for c in (text or "") if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"


def person_name(raw: str | None) -> str:
    """``MARTIN^Anne^B`` as ``MARTIN, Anne B``; other writings of the name (``=``) follow as they
    came.
    """
    family, _, given = (raw or "").partition("^")
    rest = " ".join(part for part in given.split("^") if part)
    return clean(f"{family}, {rest}" if rest else family)


def birth_date(raw: str | None, lang: str) -> str:
    """``19610412`` (or ISO) in the locale's way; anything else as it came."""
    digits = (raw or "").replace("-", "")
    if len(digits) != 8 or not digits.isdigit():
        return clean(raw)
    year, month, day = digits[:4], digits[4:6], digits[6:]
    return f"{day}/{month}/{year}" if lang == "fr" else f"{year}-{month}-{day}"


def moment(time: datetime | None, lang: str) -> str:
    """A time in the site's zone, 24 hours."""
    return (
        ""
        if time is None
        else time.astimezone().strftime("%d/%m/%Y %H:%M" if lang == "fr" else "%Y-%m-%d %H:%M")
    )


def span(seconds: float, t: Callable[..., str]) -> str:
    """``01:05``, or ``2 d 03 h`` from a day on; the sign is the caller's."""
    minutes = int(abs(seconds) // 60)
    days, hours = divmod(minutes // 60, 24)
    return (
        f"{days} {t('days')} {hours:02} {t('hours')}" if days else f"{hours:02}:{minutes % 60:02}"
    )


def countdown(target: datetime, now: datetime, t: Callable[..., str]) -> str:
    """``−00:12 left``, ``+00:03 over``."""
    left = (target - now).total_seconds()
    return f"−{span(left, t)} {t('left')}" if left >= 0 else f"+{span(left, t)} {t('over')}"
