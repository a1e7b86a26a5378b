"""The live feed: the database is polled and each change is serialised once, for all browsers.

A frame is named ``epoch.n``: the epoch is this process's life, so what another process named is not
known here, and whoever followed that one reads the list anew. A browser that is too slow is dropped
with the reason; it comes back, and gets what it missed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson
from fastapi.sse import format_sse_event

from streams.errors import Unavailable
from worklist import metrics
from worklist.web.schema import Changes

#: Ten times a second costs less than a hundredth of a processor, and needs no NOTIFY in anybody's
#: transaction (which halves the claims a second).
POLL_S = 0.1
BEAT_S = 5.0
SILENT_S = 5.0  # a database that answers nothing for so long is away, though its door is open
KEPT_FRAMES = 512  # for followers that come back
MOST_MISSED = 56  # who missed more reads the list anew
WAITING_BYTES = 1 << 20  # for one slow follower
STUCK_S = 20.0  # who takes nothing for so long is gone, or asleep


@dataclass(frozen=True)
class Missed:
    """What came after a frame: the frames' data; None: that frame is not known here any more."""

    id: str
    frames: tuple[str, ...] | None


class Piece:
    """What every follower gets, made once: as it is, and as one chunk of HTTP/1.1."""

    __slots__ = ("chunk", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.chunk = b"%x\r\n%b\r\n" % (len(raw), raw)


class Wire(Protocol):
    """A connection's way out, as `asyncio.WriteTransport` is one."""

    def write(self, data: bytes) -> None:
        """Sends, or keeps what the client does not take yet."""

    def get_write_buffer_size(self) -> int:
        """How much is kept, bytes."""

    def is_closing(self) -> bool:
        """Whether nothing goes out any more: uvloop raises where something is written then."""


def _beat(truth: Mapping[str, Any]) -> Piece:
    """How far the list can be believed: at once when that changes, else so that silence is
    noticed.
    """
    return Piece(format_sse_event(event="beat", data_str=orjson.dumps(truth).decode()))


_DROPPED = Piece(format_sse_event(event="dropped", data_str='{"reason":"slow"}'))


class Follower:
    """One browser or program. Pieces go straight to its connection: with two hundred of them a
    queue, a task's wake-up and a framing for each cost four times what the writing does.

    Args:
        chunked: whether the answer's body goes in chunks (HTTP/1.0 knows none).
        ended: whether the session was ended.
    """

    def __init__(self, wire: Wire, *, chunked: bool, ended: Callable[[], bool]) -> None:
        self._wire, self._chunked, self._ended = wire, chunked, ended
        self._taken_at = 0.0
        self.over = asyncio.Event()

    def put(self, piece: Piece, now: float) -> None:
        """Sends `piece` at the loop's time `now`; who takes too little is told why, and let go."""
        if self.over.is_set():
            return
        if self._wire.is_closing():  # its end is told a moment later
            self.over.set()
            return
        waiting = self._wire.get_write_buffer_size()
        if not waiting:
            self._taken_at = now
        if self._ended():
            self.over.set()
        elif waiting and now - self._taken_at > STUCK_S:
            metrics.feed_dropped.labels("stuck").inc()
            self.over.set()
        elif waiting > WAITING_BYTES:
            metrics.feed_dropped.labels("slow").inc()
            self._wire.write(_DROPPED.chunk if self._chunked else _DROPPED.raw)
            self.over.set()
        else:
            self._wire.write(piece.chunk if self._chunked else piece.raw)


class Feed:
    """Polls `read(cursor)` and tells every follower what changed.

    `changed_at` says when a row last changed. `truth` goes with each beat.
    """

    def __init__(
        self,
        read: Callable[[str | None], Changes],
        truth: Callable[[], dict[str, Any]] = dict,
        epoch: str = "",
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._truth = truth
        self._cursor: str | None = None
        self._epoch = epoch or secrets.token_hex(4)
        self._number = 0
        self._history: deque[tuple[int, str]] = deque(maxlen=KEPT_FRAMES)
        self._followers: set[Follower] = set()
        self._ticks = ticks
        self._answered_at: float | None = None  # a refusal is an answer too
        self._asked_at = ticks()
        self._up = False
        self.changed_at: datetime | None = None

    @property
    def asked(self) -> bool:
        """Whether the database was heard of, or should have been."""
        return self._answered_at is not None or self._ticks() - self._asked_at > SILENT_S

    @property
    def up(self) -> bool:
        """Whether the database answered last, and lately."""
        at = self._answered_at
        return self._up and at is not None and self._ticks() - at <= SILENT_S

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    @property
    def id(self) -> str:
        """The name of the newest frame: a page that is painted now follows from there."""
        return f"{self._epoch}.{self._number}"

    async def run(self) -> None:
        """Polls, and beats, until cancelled: each by itself, for a poll may take its time."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._beats())
            while True:
                self._tell_changes(await self._poll())
                await asyncio.sleep(POLL_S if self._up else 1.0)

    async def _beats(self) -> None:
        beat_at, told = 0.0, None
        while True:
            now = asyncio.get_running_loop().time()
            truth = self._truth()
            if now >= beat_at or _graver(truth) != told:
                beat_at, told = now + BEAT_S, _graver(truth)
                self._tell(_beat(truth))
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> Changes | None:
        try:
            return await asyncio.to_thread(self._read, self._cursor)
        except Unavailable:
            return None

    def _tell_changes(self, changes: Changes | None) -> None:
        self._answered_at = self._ticks()
        if changes is None:
            self._up = False
            return
        first = self._cursor is None
        recovered = not self._up and not first
        self._up, self._cursor = True, changes.cursor
        if first:
            return
        if recovered or changes.gap:
            self._anew()
        elif changes.items or changes.gone:
            self.changed_at = changes.as_of
            self._number += 1
            body = changes.model_dump_json(exclude={"cursor", "gap"})
            self._history.append((self._number, body))
            self._tell(self._frame(self._number, body))

    def _anew(self) -> None:
        """What came meanwhile is not known in full: everybody reads the list anew."""
        self._history.clear()
        self._number += 1
        self._tell(self._reload())

    def _frame(self, number: int, body: str) -> Piece:
        return Piece(format_sse_event(event="rows", data_str=body, id=f"{self._epoch}.{number}"))

    def _reload(self) -> Piece:
        return Piece(format_sse_event(event="reload", data_str="{}", id=self.id))

    def _tell(self, piece: Piece) -> None:
        metrics.feed_frames.inc()
        now = asyncio.get_running_loop().time()
        for follower in self._followers:
            follower.put(piece, now)

    def missed(self, last: str) -> Missed:
        """What came after the frame `last`."""
        epoch, _, number = last.partition(".")
        oldest = self._history[0][0] if self._history else self._number + 1
        known = epoch == self._epoch and number.isdecimal()
        if not known or not oldest - 1 <= int(number) <= self._number:
            return Missed(self.id, None)
        kept = ((at, body) for at, body in self._history if at > int(number))
        return Missed(self.id, tuple(body for _, body in kept))

    def _greeting(self, last: str | None) -> Iterator[Piece]:
        """What a follower gets first: how far the list can be believed, where it is, and the frames
        that it missed since `last`; or the advice to reload, where those are not kept.
        """
        yield _beat(self._truth())
        missed = self.missed(last) if last else Missed(self.id, ())
        if missed.frames is None or len(missed.frames) >= MOST_MISSED:
            yield self._reload()
            return
        start = self._number - len(missed.frames)
        hello = format_sse_event(event="hello", data_str="{}", id=f"{self._epoch}.{start}")
        yield Piece(hello)
        for number, body in enumerate(missed.frames, start + 1):
            yield self._frame(number, body)

    @contextmanager
    def joined(self, follower: Follower, last: str | None) -> Iterator[None]:
        """While `follower` follows, from after the event `last`."""
        now = asyncio.get_running_loop().time()
        for piece in self._greeting(last):
            follower.put(piece, now)
        self._followers.add(follower)
        metrics.feed_clients.inc()
        try:
            yield
        finally:
            self._followers.discard(follower)
            metrics.feed_clients.dec()

    def close(self) -> None:
        """Ends every stream, so that the server can stop."""
        for follower in self._followers:
            follower.over.set()


def _graver(truth: Mapping[str, Any]) -> list[str]:
    """What a change of which is told at once: which lines there are, not their numbers."""
    return [line["code"] for line in truth.get("lines", ())]
