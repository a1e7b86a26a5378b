"""MLLP frames (HL7 Transport Specification, release 1), bounded in size and in time."""

from __future__ import annotations

import asyncio

from streams.errors import Reason, Refuse

VT, FS, CR = 0x0B, 0x1C, 0x0D
_CHUNK = 65536


class Frames:
    """The messages of one connection, one after the other.

    Args:
        max_bytes: of one message, without its frame.
        idle_s: silence between messages after which the connection ends.
        message_s: a message must be whole so soon after its first byte.
    """

    def __init__(
        self, reader: asyncio.StreamReader, *, max_bytes: int, idle_s: float, message_s: float
    ) -> None:
        self._reader, self._max, self._idle_s, self._message_s = (
            reader,
            max_bytes,
            idle_s,
            message_s,
        )
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """The next message without its frame; None when the connection ended or was silent for too
        long.

        Raises:
            Refuse: `not_hl7` when bytes stand outside a frame, or a message breaks off.
            TooLarge: the message is over `max_bytes`.
            TimeoutError: it was not whole within `message_s`.
        """
        # Some senders leave the final CR out or send line ends between frames: harmless.
        while True:
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))]
            if self._buffer:
                break
            if not await self._more(self._idle_s):
                return None
        if self._buffer[0] != VT:
            raise Refuse(Reason.NOT_HL7, "frame")
        async with asyncio.timeout(self._message_s):
            return await self._whole()

    async def _whole(self) -> bytes:
        searched = 1
        while (end := self._buffer.find(FS, searched)) < 0:
            if len(self._buffer) > self._max + 1:
                raise TooLarge(bytes(self._buffer[1:4096]))
            searched = len(self._buffer)
            if not await self._more(None):
                raise Refuse(Reason.NOT_HL7, "frame")
        if end > self._max + 1:
            raise TooLarge(bytes(self._buffer[1:4096]))
        message = bytes(self._buffer[1:end])
        del self._buffer[: end + 1]
        return message

    async def _more(self, timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                chunk = await self._reader.read(_CHUNK)
        except TimeoutError:
            if timeout_s is None:
                raise
            return False
        self._buffer += chunk
        return bool(chunk)


class TooLarge(Refuse):
    """A message over the limit; `start` holds its first bytes, so that the answer can name it."""

    def __init__(self, start: bytes) -> None:
        super().__init__(Reason.TOO_LARGE)
        self.start = start


def frame(message: bytes) -> bytes:
    """`message` in its MLLP frame."""
    return bytes([VT]) + message + bytes([FS, CR])
