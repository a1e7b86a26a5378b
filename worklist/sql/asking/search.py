"""Rows by words and facets, open and closed: one index of words over each table answers both.

A row's words are folded parts of its name, its numbers, exam and date, and its facets as
``ai:flagged``: a facet never matches what merely contains its word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from worklist.sql.queue import (
    CLOSED_ROWS,
    CLOSED_STATES,
    JOINS,
    LIST_FIELDS,
    OPEN_ROWS,
    OPEN_STATES,
    QueueError,
    as_dict,
)

#: What can be asked for beside words, and the column that it is of.
FACETS = {
    "state": "state",
    "ai": "ai",
    "modality": "modality",
    "location": "location",
    "class": "order_class",
}
SORTS = ("rank", "newest")
MOST_WORDS, LONGEST = 12, 64
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i"}
_DATES = (
    (re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b"), r"\1\2\3"),
    (re.compile(r"\b(\d{2})/(\d{2})/(\d{4})\b"), r"\3\2\1"),
)
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")


def fold(said: str) -> list[str]:
    """The words of `said`, without accents, case and marks; dates as ``20260314``, UIDs whole."""
    for pattern, digits in _DATES:
        said = pattern.sub(digits, said)
    uids = [found[0] for found in _UID.finditer(said)]
    plain = unicodedata.normalize("NFKD", _UID.sub(" ", said)).casefold()
    letters = "".join(_LETTERS.get(c, c) for c in plain if not unicodedata.combining(c))
    parts = "".join(c if c.isalnum() else " " for c in letters).split()
    return [word[:LONGEST] for word in [*parts, *uids]]


def joined(name: str) -> list[str]:
    """Parts of a name, and the whole, without what stands between: ``O'Brien`` is typed as obrien
    too, and ``李^小龙`` in one word.
    """
    found: list[str] = []
    for spelling in name.split("="):
        parts = ["".join(fold(part)) for part in spelling.split("^")]
        found += [*parts, "".join(parts)]
    return [word[:LONGEST] for word in found if word]


def words_of(said: Iterable[str], at: datetime, facets: Iterable[str]) -> list[str]:
    """What a row is found by: `said` of it, the day `at` which it was made, its `facets`."""
    found = {word for each in said for word in fold(each)}
    return sorted(found | {at.strftime("%Y%m%d")} | {facet.casefold() for facet in facets if facet})


def facets_of(values: dict[str, Any]) -> list[str]:
    """The facets of a row's columns, as words."""
    return [f"{name}:{values[column]}" for name, column in FACETS.items() if values[column]]


@dataclass(frozen=True)
class Asked:
    """What is searched for. `words`: parts of a name in any order, or numbers, exam, date; a row
    has one that begins with each. Facets are exact; `sort`: of `SORTS`; `page`: from 0.
    """

    words: str = ""
    state: str = ""
    ai: str = ""
    modality: str = ""
    location: str = ""
    order_class: str = ""
    sort: str = "rank"
    page: int = 0

    @property
    def facets(self) -> list[str]:
        """As words of the index; ``all`` states are none."""
        told = {
            "state": "" if self.state == "all" else self.state,
            "ai": self.ai,
            "modality": self.modality,
            "location": self.location,
            "class": self.order_class,
        }
        return [f"{name}:{value}".casefold() for name, value in told.items() if value]

    @property
    def any(self) -> bool:
        """Whether anything is asked for that the list itself does not answer."""
        return bool(self.words.strip() or self.facets or self.state or self.sort != "rank")

    def query(self) -> str:
        """As PostgreSQL's tsquery; empty: everything. Raises QueueError `too_broad`."""
        words = list(dict.fromkeys(fold(self.words)))[:MOST_WORDS]
        if self.words.strip() and not any(map(_tells, words)):
            raise QueueError("too_broad")
        begins = [f"{_quoted(word)}:*" for word in words]
        return " & ".join([*begins, *map(_quoted, self.facets)])


def _tells(word: str) -> bool:
    """Whether a word tells few from many: a letter does not, an ideogram does."""
    return len(word) > 1 or unicodedata.category(word) == "Lo"


def _quoted(word: str) -> str:
    """A word of a tsquery as a literal: nothing in it is an operator."""
    escaped = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Found:
    """One page of what was found; `more`: there is another."""

    items: list[dict[str, Any]]
    more: bool


_RANK = "closed_at DESC NULLS FIRST, lane, due_at, received_at, name"
_ORDERS = {"rank": _RANK, "newest": "COALESCE(closed_at, clock) DESC, name"}
#: Of each table, so that a page is merged from heads that an index gives.
_HEADS = {
    ("item", "rank"): "lane, due_at, received_at, name",
    ("closed", "rank"): "closed_at DESC, name",
    ("item", "newest"): "clock DESC, name",
    ("closed", "newest"): "closed_at DESC, name",
}


_ROWS = {"item": OPEN_ROWS, "closed": CLOSED_ROWS}
_MATCH = "WHERE array_to_tsvector(words) @@ CAST(:query AS tsquery)"
#: So many rows that match are many: the first of them are soon met on the way through the order.
_MANY = 20_000


def _head(connection: Connection, table: str, query: str, order: str) -> str:
    """The first `:n` rows of `table` that match, sorted.

    Few are found by the index of words and sorted (`OFFSET 0`): the planner does not know how many
    words begin so, and would walk all that is closed in its order to find nothing.
    """
    rows = _ROWS[table]
    if not query:
        return f"({rows} ORDER BY {order} LIMIT :n)"
    counted = f"SELECT count(*) FROM (SELECT FROM {table} {_MATCH} LIMIT {_MANY}) found"
    if connection.execute(text(counted), {"query": query}).scalar() == _MANY:
        return f"({rows} {_MATCH} ORDER BY {order} LIMIT :n)"
    return f"(SELECT * FROM ({rows} {_MATCH} OFFSET 0) found ORDER BY {order} LIMIT :n)"


def search(connection: Connection, asked: Asked, limit: int) -> Found:
    """Rows that match: of words without a state open and closed ones, else those of the state;
    open ones first, in reading order.

    Raises:
        QueueError: `bad_state`, `too_broad`.
    """
    states = (*OPEN_STATES, *CLOSED_STATES, "all", "")
    if asked.state not in states or asked.sort not in SORTS:
        raise QueueError("bad_state")
    query = asked.query()
    both = asked.state == "all" or (asked.state == "" and bool(asked.words.strip()))
    tables = {
        "item": both or asked.state in ("", *OPEN_STATES),
        "closed": both or asked.state in CLOSED_STATES,
    }
    first = asked.page * limit
    order = _ORDERS[asked.sort]
    values = {"query": query, "n": first + limit + 1, "first": first, "limit": limit + 1}
    connection.execute(text("SET LOCAL statement_timeout = '5s'"))
    heads = [
        _head(connection, table, query, _HEADS[table, asked.sort])
        for table in ("item", "closed")
        if tables[table]
    ]
    rows = connection.execute(
        text(
            f"""SELECT {LIST_FIELDS} FROM (
                    SELECT *, row_number() OVER (ORDER BY {order}) AS place
                    FROM ({" UNION ALL ".join(heads)}) heads
                    ORDER BY {order} OFFSET :first LIMIT :limit) r {JOINS} ORDER BY r.place"""
        ),
        values,
    ).all()
    return Found([as_dict(row) for row in rows[:limit]], len(rows) > limit)
