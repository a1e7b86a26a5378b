"""One connection: messages in, answers out in the order of the messages, bounded in time and room.

A sender need not wait for an answer before it sends the next message: up to `PIPELINE` are under
way at once, then its bytes wait in its own socket.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

from streams.errors import Reason, Refuse
from streams.hl7.wire.framing import Frames, Outside, TooLarge, frame

#: Messages of one connection that may wait for the broker at once.
PIPELINE = 64
_CHUNK = 65536


class Taker(Protocol):
    """What takes the messages of one connection."""

    def take(self, raw: bytes) -> Coroutine[Any, Any, list[bytes]]:
        """Makes a message durable: the answers that are asked for. Raises nothing."""

    def cut(self, start: bytes, error: Refuse) -> Coroutine[Any, Any, list[bytes]]:
        """The answers to a message of which only the start was read."""

    def broken(self, error: Refuse) -> None:
        """The connection ends because of what the sender did."""


class Connection:
    """Serves one sender until it goes, falls silent, breaks the rules, or `close` is called.

    Args:
        max_bytes: of one message.
        idle_s: silence between messages after which the connection ends.
        message_s: a message must be whole so soon after its first byte, and its answer taken.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        taker: Taker,
        *,
        max_bytes: int,
        idle_s: float,
        message_s: float,
    ) -> None:
        self._reader, self._writer, self._taker = reader, writer, taker
        self._idle_s, self._message_s = idle_s, message_s
        self._frames = Frames(max_bytes)
        self._answers: asyncio.Queue[asyncio.Task[list[bytes]] | None] = asyncio.Queue(PIPELINE)
        self._deadline = math.inf
        self._reading: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Takes no new message; those under way get their answers."""
        if self._reading is not None:
            self._reading.cancel()

    async def serve(self) -> None:
        """Until the connection is over. Raises OSError when the sender went away, TimeoutError when
        it does not take its answers.
        """
        self._reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch(self._reading))
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait({self._reading, answering}, return_when=asyncio.FIRST_COMPLETED)
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
            await self._put(None, answering)
            await answering
        finally:
            watching.cancel()
            answering.cancel()
            while not self._answers.empty():
                if left := self._answers.get_nowait():
                    left.cancel()

    async def _put(
        self, answer: asyncio.Task[list[bytes]] | None, answering: asyncio.Task[None]
    ) -> None:
        """Waits for room, as long as somebody makes room."""
        putting = asyncio.create_task(self._answers.put(answer))
        await asyncio.wait({putting, answering}, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time
        self._deadline = now() + self._idle_s
        while chunk := await self._reader.read(_CHUNK):
            begun = self._frames.begun
            try:
                whole = self._frames.feed(chunk)
            except TooLarge as error:
                await self._take(error.whole)
                cut = self._taker.cut(error.start, error)
                await self._answers.put(asyncio.create_task(cut))
                return
            except Outside as error:
                await self._take(error.whole)
                self._taker.broken(error)
                return
            for _ in range(self._frames.halves):
                self._taker.broken(Refuse(Reason.NOT_HL7, "frame"))
            self._frames.halves = 0
            if whole:
                await self._take(whole)
            if not self._frames.begun:
                self._deadline = now() + self._idle_s
            elif whole or not begun:
                self._deadline = now() + self._message_s
        if self._frames.begun:
            self._taker.broken(Refuse(Reason.NOT_HL7, "frame"))

    async def _take(self, whole: list[bytes]) -> None:
        self._deadline = math.inf  # it is ours to be quick now
        for raw in whole:
            await self._answers.put(asyncio.create_task(self._taker.take(raw)))

    async def _answer(self) -> None:
        writer = self._writer
        while answer := await self._answers.get():
            told = b"".join(map(frame, await answer))
            if writer.is_closing():  # uvloop has another error for that
                raise ConnectionResetError
            writer.write(told)
            if writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self._message_s):
                    await writer.drain()

    async def _watch(self, reading: asyncio.Task[None]) -> None:
        """Ends the reading when the sender is silent, or half a message stays one."""
        loop = asyncio.get_running_loop()
        while True:
            left = min(self._deadline - loop.time(), self._message_s)
            if left <= 0:
                break
            await asyncio.sleep(left)
        if self._frames.begun:
            self._taker.broken(Refuse(Reason.NOT_HL7, "frame"))
        reading.cancel()
