"""One placer number, two orders: in the tables each closes, waits and ranks by itself."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from streams.events import Event
from tests.worklist.conftest import Feed, Make, numbers


def rows(engine: Engine) -> dict[str, tuple[str, int]]:
    """Study UID → state and lane of what is open."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT uid, state, lane FROM item WHERE uid <> ''")).all()
    return {row.uid: (row.state, row.lane) for row in found}


def said(make: Make) -> list[Event]:
    return [
        make.order("A1", also="p5 f1", at=1, priority="routine"),
        make.order("A2", also="p5 f2", at=2, priority="stat"),
        make.series("1.1", accession="A1", at=10),
        make.series("1.2", accession="A2", at=11),
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_report_on_one_order_of_a_requisition_leaves_the_stat_of_the_other_unread(
    engine: Engine, make: Make, feed: Feed, backwards: bool
) -> None:
    told = said(make)
    told.append(make.report("A1", at=30, numbers=(*numbers("p5 f1"), *told[0].numbers)))  # type: ignore[union-attr]
    for event in reversed(told) if backwards else told:
        feed(event)
    assert rows(engine) == {"1.2": ("readable", 1)}


def test_a_report_that_names_the_requisition_alone_closes_neither(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*said(make), make.report("A1", at=30, numbers=numbers("p5")))
    assert rows(engine) == {"1.1": ("readable", 2), "1.2": ("readable", 1)}


def test_a_cancel_of_one_order_cancels_no_other(engine: Engine, make: Make, feed: Feed) -> None:
    feed(*said(make)[:2], make.order("A1", also="p5 f1", at=5, status="cancelled"))
    with engine.connect() as connection:
        open_ = connection.execute(text("SELECT accessions, state FROM item")).all()
    assert [(list(row.accessions), row.state) for row in open_] == [(["A2"], "expected")]
