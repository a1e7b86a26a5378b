"""What does not fit together is told, each row under what is odd about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.worklist.conftest import Feed, Make
from worklist.sql.asking import workbench
from worklist.sql.queue import QueueError
from worklist.sql.writing.opening import Opener


def told(engine: Engine, opener: Opener) -> dict[str, list[str]]:
    """By kind the accessions, or study UIDs, of its rows."""
    with engine.connect() as connection:
        counts = workbench.counted(connection, opener)
        found = {
            kind: sorted(
                row["accession"] or row["study_uid"]
                for row in workbench.listed(connection, kind).items
            )
            for kind in workbench.KINDS
        }
    assert counts.pop(workbench.OFF_LIST) == 0
    assert counts == {kind: len(rows) for kind, rows in found.items()}
    return {kind: rows for kind, rows in found.items() if rows}


def test_an_order_and_its_images_are_nobody_s_work(
    engine: Engine, opener: Opener, make: Make, feed: Feed
) -> None:
    feed(make.order("A1"), make.series("1.1", accession="A1"))
    assert told(engine, opener) == {}


def test_images_that_no_order_names(engine: Engine, opener: Opener, make: Make, feed: Feed) -> None:
    feed(make.series("1.1", accession="A1"), make.order("A2", also="f2", at=1))
    assert told(engine, opener)["images-without-order"] == ["A1"]
    feed(make.order("A1", at=2))
    assert "images-without-order" not in told(engine, opener)


def test_an_order_whose_images_do_not_come(
    engine: Engine, opener: Opener, make: Make, feed: Feed
) -> None:
    old, new = make.order("A1"), make.order("A2", also="f2")
    longer = old.model_copy(update={"received_at": old.received_at - timedelta(days=30)})
    soon = {"scheduled_at": new.received_at + timedelta(days=3650)}
    feed(longer, new.model_copy(update=soon))
    assert told(engine, opener) == {"orders-without-images": ["A1"]}


def test_two_patients_under_one_number(
    engine: Engine, opener: Opener, make: Make, feed: Feed
) -> None:
    feed(
        make.order("A1", patient="P1"),
        make.series("1.1", accession="A1", patient="P9", at=1),
    )
    assert "identity-conflicts" in told(engine, opener)


def test_a_kind_that_is_none_is_refused(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(QueueError):
        workbench.listed(connection, "nonsense")
