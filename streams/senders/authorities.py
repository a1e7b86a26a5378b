"""Who gives numbers out at this site (``authorities.toml``), and which values identify nothing."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from fnmatch import translate
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field, model_validator

_NOBODY_BORN = ("19000101", "00000000", "18000101", "11111111", "99991231")
_NO_NUMBER = ("UNKNOWN", "UNK", "NONE", "NULL", "N/A", "NA", "-", ".")


class Authority(BaseModel):
    """One authority: all names and OIDs by which messages and images call it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1)


class Authorities(BaseModel):
    """The site's authorities and its dummy values.

    Attributes:
        authority: canonical name → the names that mean it.
        dummies: patterns of numbers that identify nothing, beside zeros and nines alone (``*``
            stands for anything).
        dummy_birth_dates: dates that stand for an unknown one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    authority: dict[str, Authority] = {}
    dummies: tuple[str, ...] = _NO_NUMBER
    dummy_birth_dates: tuple[str, ...] = _NOBODY_BORN

    @cached_property
    def _canonical(self) -> dict[str, str]:
        """By each name of an authority the one that is shown."""
        return {
            name: canonical
            for canonical, authority in self.authority.items()
            for name in (*authority.names, canonical)
        }

    @cached_property
    def _dummy(self) -> re.Pattern[str]:
        return re.compile("|".join(map(translate, self.dummies)) or "(?!)")

    @model_validator(mode="after")
    def _each_name_once(self) -> Authorities:
        count = Counter(
            name
            for canonical, authority in self.authority.items()
            for name in {canonical, *authority.names}
        )
        if twice := sorted(name for name, number in count.items() if number > 1):
            raise ValueError(f"{', '.join(twice)}: the name of two authorities")
        return self

    def canonical(self, *stated: str) -> str:
        """The authority that the first non-empty of `stated` names; empty where none is."""
        for text in stated:
            if name := text.strip():
                return self._canonical.get(name) or name[:64]
        return ""

    def identifies(self, value: str) -> bool:
        """Whether a number of this value identifies anything."""
        value = value.strip().upper()
        if not value.strip("0") or (len(value) > 2 and not value.strip("9")):
            return False
        return not self._dummy.match(value)

    def birth_date(self, stated: str) -> str | None:
        """A birth date as YYYYMMDD; None where it is no day, or stands for an unknown one."""
        date = stated.strip()[:8]
        if (
            len(date) != 8
            or not (date.isascii() and date.isdigit())
            or date in self.dummy_birth_dates
        ):
            return None
        try:
            datetime(int(date[:4]), int(date[4:6]), int(date[6:]), tzinfo=UTC)
        except ValueError:
            return None
        return date
