"""How far the log was applied: where reading begins, what is a gap, and what is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from streams.errors import Stop
from streams.kafka.consume import Origin
from streams.kafka.watermarks import Extent, Place
from tests.worklist.conftest import T0, Make
from worklist.sql.writing import positions
from worklist.sql.writing.positions import Position

PLACE = ("orders", 0)
Log = Callable[[Place, int], tuple[int, int]]


def never(_place: Place, wanted: int) -> tuple[int, int]:
    raise AssertionError(f"nothing is missing before {wanted}")


def log_from(start: int, there: int) -> Log:
    """A log that starts at `start`, and whose first record from the wanted one on is `there`."""
    return lambda _place, _wanted: (start, there)


def note(engine: Engine, make: Make, offsets: range, look: Log = never) -> None:
    batch = [Origin(*PLACE, offset, b"k", b"v") for offset in offsets]
    with engine.begin() as connection:
        positions.note_positions(connection, batch, [make.order()] * len(batch), look)


def begin(
    engine: Engine, start: int, end: int, topic_id: str = "", *, expected: bool = False
) -> int:
    with engine.begin() as connection:
        ids = {"orders": topic_id} if topic_id else {}
        found = positions.begin(connection, {PLACE: Extent(start, end)}, ids, expected=expected)
    return found[PLACE]


def only(engine: Engine) -> Position:
    with engine.connect() as connection:
        (found,) = positions.read(connection)
    return found


def test_reading_begins_after_what_was_applied_whatever_the_group_committed(
    engine: Engine, make: Make
) -> None:
    assert begin(engine, 0, 10) == 0
    note(engine, make, range(7))
    assert begin(engine, 0, 10) == 7
    found = only(engine)
    assert (found.offset, found.newest_received, found.lost, found.gap_at) == (6, T0, 0, None)


def test_a_batch_that_comes_again_takes_nothing_back(engine: Engine, make: Make) -> None:
    note(engine, make, range(7))
    note(engine, make, range(3))
    assert only(engine).offset == 6


def test_records_that_expired_while_nobody_read_are_counted_and_reading_goes_on(
    engine: Engine, make: Make
) -> None:
    note(engine, make, range(41))
    assert begin(engine, 1000, 1200) == 1000
    found = only(engine)
    assert (found.offset, found.lost, found.gap_at is not None) == (999, 959, True)
    assert begin(engine, 1000, 1200) == 1000
    assert only(engine) == found, "told once"
    note(engine, make, range(1000, 1200))


def test_records_that_expire_before_a_reader_that_lags_are_seen_by_the_batch(
    engine: Engine, make: Make
) -> None:
    note(engine, make, range(10))
    note(engine, make, range(50, 60), log_from(50, 50))
    found = only(engine)
    assert (found.offset, found.lost, found.gap_at is not None) == (59, 40, True)


def test_of_a_new_partition_the_first_records_may_have_expired_too(
    engine: Engine, make: Make
) -> None:
    note(engine, make, range(5, 8), log_from(5, 5))
    assert only(engine).lost == 5


def test_marks_of_transactions_between_records_are_no_gap(engine: Engine, make: Make) -> None:
    note(engine, make, range(10))
    note(engine, make, range(13, 20), log_from(0, 13))
    found = only(engine)
    assert (found.offset, found.lost, found.gap_at) == (19, 0, None)


def test_records_that_were_passed_over_and_are_still_there_stop_the_reader(
    engine: Engine, make: Make
) -> None:
    """As after a backup was restored while the agent ran."""
    note(engine, make, range(10))
    with pytest.raises(Stop):
        note(engine, make, range(20, 30), log_from(0, 10))
    assert only(engine).offset == 9
    assert begin(engine, 0, 30) == 10


@pytest.mark.parametrize(
    ("end", "topic_id"), [(3, ""), (3, "one"), (3, "another"), (500, "another")]
)
def test_a_topic_made_anew_is_read_from_its_start(
    engine: Engine, make: Make, end: int, topic_id: str
) -> None:
    begin(engine, 0, 0, "one")
    note(engine, make, range(100))
    assert begin(engine, 0, end, topic_id) == 0
    found = only(engine)
    assert (found.offset, found.gap_at is not None) == (-1, True)
    note(engine, make, range(3))
    assert begin(engine, 0, end, topic_id) == 3


def test_a_topic_whose_broker_tells_no_id_keeps_the_one_that_is_known(
    engine: Engine, make: Make
) -> None:
    begin(engine, 0, 0, "one")
    note(engine, make, range(5))
    assert begin(engine, 0, 5) == 5
    assert (only(engine).topic_id, only(engine).gap_at) == ("one", None)


@pytest.mark.parametrize("before", [True, False])
def test_after_an_announced_rebuild_a_gap_is_noted_and_no_alarm(
    engine: Engine, make: Make, before: bool
) -> None:
    note(engine, make, range(10))
    if not before:
        begin(engine, 50, 60)
        assert only(engine).gap_at is not None
    with engine.begin() as connection:
        positions.announce(connection, "anne", "new disk")
    if before:
        begin(engine, 50, 60)
    assert (only(engine).lost, only(engine).gap_at) == (40, None)
    with engine.begin() as connection:
        said = connection.execute(
            text("SELECT act, actor, reason FROM audit ORDER BY id DESC LIMIT 1")
        ).one()
        assert tuple(said) == ("rebuild_announced", "anne", "new disk")
        connection.execute(text("UPDATE rebuild SET at = at - interval '2 days'"))
    assert only(engine).gap_at is not None, "an announcement covers a day, not the next accident"


def test_what_the_mock_forgets_is_no_alarm(engine: Engine, make: Make) -> None:
    note(engine, make, range(10))
    assert begin(engine, 0, 0, expected=True) == 0
    assert (only(engine).offset, only(engine).gap_at) == (-1, None)
