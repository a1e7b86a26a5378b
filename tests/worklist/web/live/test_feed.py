"""The live feed by itself: frames in order, what a follower missed, and who is too slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Reason, Unavailable
from worklist.web.live.feed import (
    KEPT_FRAMES,
    SILENT_S,
    STUCK_S,
    WAITING_BYTES,
    Feed,
    Follower,
    Piece,
)
from worklist.web.schema import Changes

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
pytestmark = pytest.mark.asyncio


class Database:
    """Answers a feed's polls: `gone` names one after another; away while `away`."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = iter(range(10_000))
        self.away = self.gap = False

    def __call__(self, cursor: str | None) -> Changes:
        if self.away:
            raise Unavailable(Reason.DATABASE_DOWN)
        if cursor is None:
            return Changes(cursor="0", as_of=NOW)
        number = next(self.numbers)
        return Changes(cursor=str(number), gone=(f"s{number}",), gap=self.gap, as_of=NOW)


class Reading:
    """A follower whose connection keeps what it was sent; `takes`: the client takes it."""

    def __init__(self, feed: Feed, last: str | None, *, takes: bool = True) -> None:
        self.told, self.takes, self.logged_out = b"", takes, False
        self.closing = False
        self.follower = Follower(self, chunked=False, ended=lambda: self.logged_out)
        self.joined = feed.joined(self.follower, last)
        self.joined.__enter__()

    def write(self, data: bytes) -> None:
        if self.closing:
            raise RuntimeError("the handler is closed")  # as uvloop does
        self.told += data

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0 if self.takes else len(self.told)

    def leave(self) -> str:
        """What it was told; ends the stream."""
        self.joined.__exit__(None, None, None)
        return self.told.decode()


def ids(told: str) -> list[int]:
    return [int(line.split(".")[1]) for line in told.splitlines() if line.startswith("id:")]


async def polled(feed: Feed, times: int = 1) -> None:
    for _ in range(times):
        feed._tell_changes(await feed._poll())


async def started() -> tuple[Feed, Database]:
    database = Database()
    feed = Feed(database, lambda: {"lines": []}, epoch="e")
    await polled(feed)
    return feed, database


async def test_a_frame_has_its_number_and_who_comes_back_gets_what_it_missed() -> None:
    feed, _ = await started()
    await polled(feed, 3)
    told = Reading(feed, "e.1").leave()
    assert ids(told) == [1, 2, 3]
    assert told.count("event: rows") == 2


@pytest.mark.parametrize("last", ["x.1", "e.99", "e.", "e", "7", "e.-1", f"e.{2**70}"])
async def test_who_names_a_frame_that_is_not_known_reads_the_list_anew(last: str) -> None:
    feed, _ = await started()
    await polled(feed, 2)
    told = Reading(feed, last).leave()
    assert "event: reload" in told
    assert "event: rows" not in told
    assert feed.missed(last).frames is None


async def test_a_database_that_was_away_or_a_gap_makes_everybody_read_anew() -> None:
    feed, database = await started()
    for trouble in ("away", "gap"):
        before = feed.id
        setattr(database, trouble, True)
        await polled(feed)
        setattr(database, trouble, False)
        await polled(feed)
        assert feed.missed(before).frames is None, trouble


async def test_who_takes_nothing_is_dropped_with_the_reason_and_recovers() -> None:
    feed, _ = await started()
    slow, fast = Reading(feed, None, takes=False), Reading(feed, None)
    while not slow.follower.over.is_set():
        feed._tell(feed._frame(1, "x" * 50_000))
    await polled(feed)
    assert slow.leave().endswith('event: dropped\ndata: {"reason":"slow"}\n\n')
    assert len(slow.told) < WAITING_BYTES + 100_000
    assert fast.leave().endswith("\n\n"), "others do not wait"
    assert feed.followers == 0
    await polled(feed, 3)
    assert Reading(feed, "e.1").leave().count("event: rows") == 3


async def test_who_takes_a_little_and_then_nothing_is_let_go() -> None:
    feed, _ = await started()
    asleep = Reading(feed, None, takes=False)
    now = asyncio.get_running_loop().time()
    for after, over in ((1.0, False), (STUCK_S - 1, False), (STUCK_S + 2, True)):
        asleep.follower.put(feed._reload(), now + after)
        assert asleep.follower.over.is_set() is over
    asleep.leave()


async def test_a_stream_ends_with_its_session() -> None:
    feed, _ = await started()
    reading = Reading(feed, None)
    reading.logged_out = True
    await polled(feed)
    assert reading.follower.over.is_set()
    assert "event: rows" not in reading.leave()


async def test_a_piece_is_framed_once_for_all() -> None:
    piece = Piece("data: Zoé\n\n".encode())
    size, _, rest = piece.chunk.partition(b"\r\n")
    assert int(size, 16) == len(piece.raw)
    assert rest == piece.raw + b"\r\n"


async def test_who_was_away_for_longer_than_is_kept_reads_anew() -> None:
    feed, _ = await started()
    await polled(feed, KEPT_FRAMES + 1)
    assert feed.missed("e.0").frames is None
    assert len(feed.missed("e.1").frames or ()) == KEPT_FRAMES


@given(st.lists(st.integers(0, 30), max_size=20))
async def test_whenever_a_follower_joins_it_gets_every_frame_once_and_in_order(
    joins: list[int],
) -> None:
    feed, _ = await started()
    for at in range(31):
        for _ in range(joins.count(at)):
            assert ids(Reading(feed, "e.0").leave()) == list(range(at + 1))
        await polled(feed)


async def test_what_is_said_of_the_list_is_told_at_once_when_it_changes() -> None:
    lines: list[dict[str, str]] = []
    feed = Feed(Database(), lambda: {"lines": list(lines)})
    running = asyncio.create_task(feed.run())
    while not feed.asked:
        await asyncio.sleep(0)
    reading = Reading(feed, None)
    lines.append({"code": "ai_off"})
    async with asyncio.timeout(5):
        while b"ai_off" not in reading.told:
            await asyncio.sleep(0.01)
    assert "event: beat" in reading.leave()
    running.cancel()


async def test_a_database_that_accepts_and_never_answers_is_away_and_the_beats_go_on() -> None:
    database, frozen, time = Database(), threading.Event(), [0.0]
    frozen.set()

    def read(cursor: str | None) -> Changes:
        frozen.wait(10)
        return database(cursor)

    feed = Feed(read, lambda: {"lines": [], "database": feed.up}, ticks=lambda: time[0])
    running = asyncio.create_task(feed.run())
    while not feed.up:
        await asyncio.sleep(0.01)
    frozen.clear()
    await asyncio.sleep(0.3)  # the poll that hangs has begun
    time[0] += SILENT_S + 1
    assert not feed.up
    told = Reading(feed, None).leave()
    assert '"database":false' in told, "who joins now hears so"
    frozen.set()
    async with asyncio.timeout(5):
        while not feed.up:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_a_database_that_never_answered_since_the_start_is_not_believed_for_ever() -> None:
    time = [0.0]
    feed = Feed(Database(), ticks=lambda: time[0])
    assert not feed.asked, "a page of the first second does not say that it is away"
    time[0] += SILENT_S + 1
    assert feed.asked
    assert not feed.up


async def test_who_leaves_between_two_pieces_ends_nobody_elses_stream() -> None:
    feed, _ = await started()
    leaving, staying = Reading(feed, None), Reading(feed, None)
    leaving.closing = True
    await polled(feed)
    assert leaving.follower.over.is_set()
    assert ids(staying.leave())[-1:] == [1]
