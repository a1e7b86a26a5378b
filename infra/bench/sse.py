"""The live feed to 200 clients beside raw socket writes; then what they cost and see."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from infra.bench.measure import Result, compare
from infra.bench.page import readers
from worklist.web.commands import PatientProtocol, Server
from worklist.web.live.feed import Feed
from worklist.web.live.stream import FeedStream
from worklist.web.schema import Changes

CLIENTS, FRAMES, FRAME_BYTES = 200, 60, 2000


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Frames delivered a second, each to all clients before the next; then what readers cost the
    web process, and what they see.
    """
    frames = 10 if quick else FRAMES
    with _feed() as (told, by_feed), _raw() as (write, by_hand):
        body = "x" * FRAME_BYTES

        def ours() -> float:
            return by_feed.take(frames, lambda: told(body))

        def reference() -> float:
            return by_hand.take(frames, lambda: write(body.encode()))

        what = f"a change to {CLIENTS} clients, beside a raw write to each"
        fan_out = compare("sse", what, "deliveries/s", ours, reference, runs=runs)
    return [fan_out, *readers.measure(quick)]


class Clients:
    """Sockets that are read by one thread; how much all of them got."""

    def __init__(self, port: int, hello: bytes) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS)]
        for one in self._sockets:
            one.sendall(hello)
            self._selector.register(one, selectors.EVENT_READ)

    def read(self, least: int) -> None:
        """Until each has got at least so many bytes more, or a second passed in silence."""
        left = dict.fromkeys((one.fileno() for one in self._sockets), least)
        while left:
            ready = self._selector.select(1.0)
            if not ready:
                return
            for key, _ in ready:
                got = len(key.fileobj.recv(1 << 16))  # type: ignore[union-attr]
                name = key.fd
                if name in left:
                    left[name] -= got
                    if left[name] <= 0:
                        del left[name]

    def take(self, frames: int, tell: Any) -> float:
        """Deliveries a second."""
        started = time.perf_counter()
        for _ in range(frames):
            tell()
            self.read(FRAME_BYTES)
        return frames * CLIENTS / (time.perf_counter() - started)

    def close(self) -> None:
        """Hangs up."""
        for one in self._sockets:
            one.close()
        self._selector.close()


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@contextmanager
def _feed() -> Iterator[tuple[Any, Clients]]:
    """The feed as web serves it, and its clients."""
    feed = Feed(lambda _: Changes(cursor="0", as_of=datetime.now(UTC)), dict)

    async def stream(_request: Any) -> FeedStream:
        return FeedStream(feed, None, lambda: False)

    app = Starlette(routes=[Route("/events", stream)])
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(app, http=PatientProtocol, log_config=None, access_log=False)
    ready = threading.Event()
    server = Server(config, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    ready.wait(10)
    clients = Clients(listener.getsockname()[1], b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    clients.read(200)
    loop: asyncio.AbstractEventLoop = server.servers[0].get_loop()
    number = iter(range(10**9))

    def tell(body: str) -> None:
        loop.call_soon_threadsafe(feed._tell, feed._frame(next(number), body))

    try:
        yield tell, clients
    finally:
        clients.close()
        server.should_exit = True
        thread.join(10)


@contextmanager
def _raw() -> Iterator[tuple[Any, Clients]]:
    """A server that writes bytes to each of its connections, and its clients."""
    with _loop() as loop:
        transports: list[asyncio.Transport] = []

        class Keep(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transports.append(transport)  # type: ignore[arg-type]

        async def serve() -> asyncio.Server:
            return await loop.create_server(Keep, "127.0.0.1", 0, backlog=512)

        server: Future[asyncio.Server] = asyncio.run_coroutine_threadsafe(serve(), loop)
        port = server.result(10).sockets[0].getsockname()[1]
        clients = Clients(port, b"x")

        def write_all(body: bytes) -> None:
            for one in transports:
                one.write(body)

        def write(body: bytes) -> None:
            loop.call_soon_threadsafe(write_all, body)

        try:
            yield write, clients
        finally:
            clients.close()
            loop.call_soon_threadsafe(server.result().close)
