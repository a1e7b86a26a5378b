"""The live feed: the database is polled once and each change is serialised once, for all browsers.
A browser that is too slow is told to reload the list.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import orjson
from fastapi.sse import format_sse_event

from streams.errors import Unavailable
from worklist import metrics
from worklist.web.schema import Changes

POLL_S = 1.0
BEAT_S = 5.0
KEPT_FRAMES = 256  # for followers that come back with a Last-Event-ID
WAITING_FRAMES = 32  # for one slow follower


class Follower:
    """The frames that wait for one browser or program; bounded."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self.closed = False

    def put(self, frame: bytes, reload: bytes) -> None:
        """Adds `frame`; when too many wait they all become one `reload`."""
        if len(self._frames) >= WAITING_FRAMES:
            self._frames.clear()
            metrics.feed_coalesced.inc()
            frame = reload
        self._frames.append(frame)
        self._ready.set()

    def close(self) -> None:
        """Ends the stream after what already waits."""
        self.closed = True
        self._ready.set()

    async def take(self) -> bytes | None:
        """The frames that wait, as one piece; None once closed."""
        await self._ready.wait()
        self._ready.clear()
        piece = b"".join(self._frames)
        self._frames.clear()
        return piece if piece or not self.closed else None


class Feed:
    """Polls `read(cursor)` and tells every follower what changed.

    `up` says whether the database answered last, `changed_at` when a row last changed.
    """

    def __init__(
        self,
        read: Callable[[str | None], Changes],
        behind: Callable[[], Mapping[str, int] | None] = lambda: None,
    ) -> None:
        self._read = read
        self._behind = behind
        self._cursor: str | None = None
        self._history: deque[tuple[str, bytes]] = deque(maxlen=KEPT_FRAMES)
        self._followers: set[Follower] = set()
        self._first_cursor: str | None = None
        self.up = False
        self.changed_at: datetime | None = None

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def run(self) -> None:
        """Polls until cancelled."""
        beat_at = 0.0
        while True:
            self._tell_changes(await self._poll())
            now = asyncio.get_running_loop().time()
            if self.up and now >= beat_at:
                beat_at = now + BEAT_S
                stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
                body = orjson.dumps({"as_of": stamp, "behind": self._behind()}).decode()
                self._tell(format_sse_event(event="beat", data_str=body))
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> Changes | None:
        try:
            return await asyncio.to_thread(self._read, self._cursor)
        except Unavailable:
            return None

    def _tell_changes(self, changes: Changes | None) -> None:
        if changes is None:
            if self.up:
                self._tell(format_sse_event(event="stale", data_str="{}"))
            self.up = False
            return
        first = self._cursor is None
        recovered = not self.up and not first
        self.up, self._cursor = True, changes.cursor
        if first:
            self._first_cursor = changes.cursor
        elif recovered or changes.gap:
            self._history.clear()
            self._first_cursor = changes.cursor
            self._tell(self._reload())
        elif changes.items or changes.gone:
            self.changed_at = changes.as_of
            body = changes.model_dump_json(include={"items", "gone", "as_of"})
            frame = format_sse_event(event="rows", data_str=body, id=changes.cursor)
            self._history.append((changes.cursor, frame))
            self._tell(frame)

    def _reload(self) -> bytes:
        return format_sse_event(event="reload", data_str="{}", id=self._cursor)

    def _tell(self, frame: bytes) -> None:
        metrics.feed_frames.inc()
        reload = self._reload()
        for follower in self._followers:
            follower.put(frame, reload)

    def _greet(self, follower: Follower, last: str | None) -> None:
        """Puts what a follower gets first: a greeting, or the frames that it missed since `last`,
        or, when those are not kept any more, the advice to reload.
        """
        reload = self._reload()
        if not self.up:
            follower.put(format_sse_event(event="stale", data_str="{}"), reload)
        if last is None:
            follower.put(format_sse_event(event="hello", data_str="{}", id=self._cursor), reload)
            return
        ids = [cursor for cursor, _ in self._history]
        if last in ids:
            missed = [frame for _, frame in list(self._history)[ids.index(last) + 1 :]]
        elif last == self._first_cursor and len(ids) < KEPT_FRAMES:
            missed = [frame for _, frame in self._history]
        elif last == self._cursor:
            missed = []
        else:
            missed = [reload]
        for frame in missed if len(missed) < WAITING_FRAMES else [reload]:
            follower.put(frame, reload)

    @contextmanager
    def _joined(self, last: str | None) -> Iterator[Follower]:
        follower = Follower()
        self._greet(follower, last)
        self._followers.add(follower)
        metrics.feed_clients.inc()
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            metrics.feed_clients.dec()

    async def follow(self, last: str | None, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The byte stream of one follower, from after the event `last`; stops when `ended()` says
        so (the session was logged out).
        """
        with self._joined(last) as follower:
            yield b"retry: 1000\n\n"
            while (piece := await follower.take()) is not None and not ended():
                if piece:
                    yield piece

    def close(self) -> None:
        """Ends every stream, so that the server can stop."""
        for follower in self._followers:
            follower.close()
