"""The live feed: one poll of the database, one serialisation, every browser; slow ones are told to
reload.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi.sse import format_sse_event
from prometheus_client import Counter, Gauge

from streams.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worklist.web.schema import Changes

POLL_S = 1.0
BEAT_S = 5.0
HISTORY = 256  # frames kept for Last-Event-ID
QUEUE = 32  # frames that wait for one slow client

clients = Gauge("vigie_feed_clients", "Browsers and programs that follow the live feed")
coalesced = Counter(
    "vigie_feed_coalesced_total", "Times that a slow client's waiting frames became one reload"
)
frames_sent = Counter(
    "vigie_feed_frames_total", "Frames made for the feed, each once for all clients"
)


class Client:
    """One follower's bounded queue."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self.closed = False

    def put(self, frame: bytes, reload: bytes) -> None:
        """Adds `frame`; when too many wait they all become one `reload`."""
        if len(self._frames) >= QUEUE:
            self._frames.clear()
            coalesced.inc()
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
    """Follows `read(cursor)` and tells every client."""

    def __init__(self, read: Callable[[str | None], Changes]) -> None:
        self._read = read
        self._cursor: str | None = None
        self._history: deque[tuple[str, bytes]] = deque(maxlen=HISTORY)
        self._clients: set[Client] = set()
        self._begun: str | None = None
        self.up = False
        self.changed_at: datetime | None = None

    @property
    def followers(self) -> int:
        """How many clients follow."""
        return len(self._clients)

    async def run(self) -> None:
        """Polls until cancelled."""
        beat_at = 0.0
        while True:
            self._settle_poll(await self._poll())
            now = asyncio.get_running_loop().time()
            if self.up and now >= beat_at:
                beat_at = now + BEAT_S
                stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
                self._tell(format_sse_event(event="beat", data_str=f'{{"as_of":"{stamp}"}}'))
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> Changes | None:
        try:
            return await asyncio.to_thread(self._read, self._cursor)
        except Unavailable:
            return None

    def _settle_poll(self, changes: Changes | None) -> None:
        if changes is None:
            if self.up:
                self._tell(format_sse_event(event="stale", data_str="{}"))
            self.up = False
            return
        back, self.up = not self.up and self._begun is not None, True
        if self._begun is None:
            self._begun = changes.cursor
        first, self._cursor = self._cursor is None, changes.cursor
        if back or (changes.gap and not first):
            self._history.clear()
            self._begun = changes.cursor
            self._tell(self._reload())
        elif (changes.items or changes.gone) and not first:
            self.changed_at = changes.as_of
            body = changes.model_dump_json(include={"items", "gone", "as_of"})
            frame = format_sse_event(event="rows", data_str=body, id=changes.cursor)
            self._history.append((changes.cursor, frame))
            self._tell(frame)

    def _reload(self) -> bytes:
        return format_sse_event(event="reload", data_str="{}", id=self._cursor)

    def _tell(self, frame: bytes) -> None:
        frames_sent.inc()
        reload = self._reload()
        for client in self._clients:
            client.put(frame, reload)

    def _begin(self, client: Client, last: str | None) -> None:
        """What a client gets first: nothing missed, the frames it missed, or the advice to reload."""
        reload = self._reload()
        if not self.up:
            client.put(format_sse_event(event="stale", data_str="{}"), reload)
        if last is None:
            client.put(format_sse_event(event="hello", data_str="{}", id=self._cursor), reload)
            return
        ids = [cursor for cursor, _ in self._history]
        if last in ids:
            missed = [frame for _, frame in list(self._history)[ids.index(last) + 1 :]]
        elif last == self._begun and len(ids) < HISTORY:
            missed = [frame for _, frame in self._history]
        elif last == self._cursor:
            missed = []
        else:
            missed = [reload]
        for frame in missed if len(missed) < QUEUE else [reload]:
            client.put(frame, reload)

    @contextmanager
    def _joined(self, last: str | None) -> Iterator[Client]:
        client = Client()
        self._begin(client, last)
        self._clients.add(client)
        clients.inc()
        try:
            yield client
        finally:
            self._clients.discard(client)
            clients.dec()

    async def follow(self, last: str | None, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The byte stream of one client, from after `last`; stops when `ended()` (the session was
        logged out).
        """
        with self._joined(last) as client:
            yield b"retry: 1000\n\n"
            while (piece := await client.take()) is not None and not ended():
                if piece:
                    yield piece

    def close(self) -> None:
        """Ends every stream, so that the server can stop."""
        for client in self._clients:
            client.close()
