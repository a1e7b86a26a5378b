"""A connection that is read with time limits, and without holding more than one buffer."""

from __future__ import annotations

import socket
import time
from collections import deque

from streams.errors import Reason, Refuse

#: Bytes held of a connection that sends; one that is silent holds none.
BUFFER = 288 * 1024
#: A message that is under way may be as slow as this, bytes a second, once it took so long.
SLOWEST, _GRACE_S = 16 * 1024, 30.0
_FREE: deque[bytearray] = deque(maxlen=64)  # buffers that nobody uses now


class Closed(Exception):
    """The other side is gone."""


class Wire:
    """Reads and writes one connection. Raises Closed, Refuse `too_slow`, or OSError.

    Args:
        wait_s: the longest silence inside a message, and of a reader of ours, seconds.
    """

    def __init__(self, connection: socket.socket, wait_s: float) -> None:
        self._socket = connection
        self._buffer: bytearray | None = None
        self._view = memoryview(b"")
        self._start = self._end = 0
        self._since = time.monotonic()
        self._read = 0  # bytes since then
        self._within_s: float | None = None
        self.limit(wait_s)

    def limit(self, wait_s: float) -> None:
        """Another longest silence from here on."""
        self._socket.settimeout(wait_s)

    def begins(self, within_s: float | None = None) -> None:
        """A message begins; it is to be whole in `within_s` seconds, or else never too slow."""
        self._since, self._read, self._within_s = time.monotonic(), 0, within_s

    def waits(self, idle_s: float) -> None:
        """Until something comes; Refuse `too_slow` after so many seconds of silence."""
        if self._start < self._end:
            return
        self._rest()
        end = time.monotonic() + idle_s
        while True:
            try:
                first = self._socket.recv(1)
                break
            except TimeoutError:
                if time.monotonic() >= end:
                    raise Refuse(Reason.TOO_SLOW, "idle") from None
        if not first:
            raise Closed
        self._buffer = _FREE.pop() if _FREE else bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._view[:1] = first
        self._start, self._end = 0, 1

    def _rest(self) -> None:
        """Gives the buffer back: nothing is under way."""
        if self._buffer is not None:
            _FREE.append(self._buffer)
            self._buffer, self._view, self._start, self._end = None, memoryview(b""), 0, 0

    def take(self, count: int) -> memoryview:
        """`count` bytes, fewer than BUFFER; valid until the next read."""
        while self._end - self._start < count:
            self._fill(count)
        return self._given(count)

    def some(self, most: int) -> memoryview:
        """What is there of `most` bytes, at least one; valid until the next read."""
        if self._start == self._end:
            self._fill(1)
        return self._given(min(most, self._end - self._start))

    def _given(self, count: int) -> memoryview:
        found = self._view[self._start : self._start + count]
        self._start += count
        return found

    def _fill(self, count: int) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > BUFFER:
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        try:
            got = self._socket.recv_into(self._view[self._end :])
        except TimeoutError:
            raise Refuse(Reason.TOO_SLOW, "silence") from None
        if got == 0:
            raise Closed
        self._end += got
        self._read += got
        self._check_pace()

    def _check_pace(self) -> None:
        took = time.monotonic() - self._since
        if self._within_s is not None:
            if took > self._within_s:
                raise Refuse(Reason.TOO_SLOW, "request")
        elif took > _GRACE_S + self._read / SLOWEST:
            raise Refuse(Reason.TOO_SLOW, "message")

    def send(self, data: bytes) -> None:
        """All of `data`; Refuse `too_slow` where nobody takes it."""
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise Refuse(Reason.TOO_SLOW, "answer") from None

    def close(self) -> None:
        """Closes the connection, and gives the buffer back."""
        self._rest()
        self._socket.close()
