"""An answer without end: the feed writes its pieces straight to the connection.

A client that takes nothing for a while is let go: its memory is bounded, and others do not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worklist.web.live.feed import STUCK_S, Feed, Follower

_HEADERS = {
    "content-type": "text/event-stream",
    "x-accel-buffering": "no",
}


class FeedStream(Response):
    """The feed for one follower, from after the frame `last`; ends when `ended()` says so."""

    def __init__(self, feed: Feed, last: str | None, ended: Callable[[], bool]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._feed, self._last, self._ended = feed, last, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire: asyncio.WriteTransport = scope["state"]["transport"]  # see commands.PatientProtocol
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # By the usual way, so that the headers are out before the feed writes.
        begin = {"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True}
        await send(begin)
        chunked = scope["http_version"] != "1.0"
        follower = Follower(wire, chunked=chunked, ended=self._ended)
        gone = asyncio.ensure_future(_until_gone(receive))
        gone.add_done_callback(lambda _: follower.over.set())
        try:
            with self._feed.joined(follower, self._last):
                await follower.over.wait()
            if not wire.is_closing():
                async with asyncio.timeout(STUCK_S):
                    await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            wire.abort()
        finally:
            gone.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
