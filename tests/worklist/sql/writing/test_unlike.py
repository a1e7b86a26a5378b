"""A row keeps what told that its series is foreign, open or closed; and no longer than it is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, text

from streams.errors import Reason
from tests.worklist.conftest import Feed, Make

Rows = Callable[..., dict[str, dict[str, Any]]]
FOREIGN = {"outcome": "not_analysed", "reason": Reason.OUT_OF_DISTRIBUTION, "unlike": "size"}


def told(row: dict[str, Any]) -> tuple[str, str, bool]:
    return row["ai_reason"], row["ai_unlike"], row["open"]


def test_the_rule_stands_in_the_open_row_and_in_the_closed_one(
    make: Make, feed: Feed, rows: Rows
) -> None:
    images = make.series(accession="A1")
    feed(make.order(), images)
    assert told(rows()["1.2.1"]) == ("", "", True)
    feed(make.finding(of=images, flagged=False, **FOREIGN))
    assert told(rows()["1.2.1"]) == ("out_of_distribution", "size", True)
    feed(make.report())
    assert told(rows()["1.2.1"]) == ("out_of_distribution", "size", False)
    feed(make.finding(of=images, flagged=False, at=70))
    assert told(rows()["1.2.1"]) == ("", "", False)


def test_a_row_from_before_says_its_rule_once_it_is_derived_anew(
    make: Make, feed: Feed, rows: Rows, engine: Engine
) -> None:
    images = make.series(accession="A1")
    feed(images, make.finding(of=images, flagged=False, **FOREIGN))
    with engine.begin() as connection:
        connection.execute(text("UPDATE item SET ai_unlike = ''"))
    assert told(rows()["1.2.1"]) == ("out_of_distribution", "", True)
    feed(make.order())
    assert told(rows()["1.2.1"]) == ("out_of_distribution", "size", True)
