"""MLLP frames (HL7 Transport Specification, release 1): bytes in, messages out, bounded in size."""

from __future__ import annotations

from streams.errors import Reason, Refuse

VT, FS, CR = b"\x0b", b"\x1c", b"\x0d"
#: Some senders leave the last CR out, end a frame twice, or send line ends and NULs between frames:
#: harmless.
_BETWEEN = b"\r\n\x00" + FS
#: What may follow the mark that ends a message: nothing yet, or what stands between messages.
_AFTER = (b"", VT, *(bytes([one]) for one in _BETWEEN))
#: What begins a message or a batch.
_HEADS = tuple(VT + name for name in (b"MSH", b"BHS", b"FHS"))
_START = 4096  # bytes of a message over the limit that are kept, so that the answer can name it


class Frames:
    """The messages of one connection, one after the other.

    Args:
        max_bytes: of one message, without its frame.

    Attributes:
        halves: messages that began and never ended, since somebody last asked: after one of them
            its sender began another.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._buffer = bytearray()
        self._searched = 0
        self.halves = 0

    @property
    def begun(self) -> bool:
        """Whether a message has begun and is not whole yet."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that `chunk` completes, without their frames.

        Raises:
            Refuse: `not_hl7` when bytes stand outside a frame.
            TooLarge: a message is over `max_bytes`. What was whole before it is in `whole`.
        """
        buffer, found = self._buffer, list[bytes]()
        buffer += chunk
        while buffer:
            if buffer[:1] != VT:
                del buffer[: len(buffer) - len(buffer.lstrip(_BETWEEN))]
                if not buffer:
                    break
                if buffer[:1] != VT:
                    raise Outside(found)
            end = self._end(self._searched or 1)
            if (end if end >= 0 else len(buffer)) > self._max + 1:
                raise TooLarge(bytes(buffer[:_START].lstrip(VT)), found)
            if end < 0:
                self._searched = len(buffer)
                break
            found.append(self._last(bytes(buffer[:end].lstrip(VT))))
            del buffer[: end + 1]
            self._searched = 0
        return found

    def _end(self, start: int) -> int:
        """Where the message ends; negative where it does not yet. A mark that something else
        follows is a byte of its text.
        """
        buffer = self._buffer
        while True:
            end = buffer.find(FS, start)
            if end < 0 or buffer[end + 1 : end + 2] in _AFTER:
                return end
            start = end + 1

    def _last(self, content: bytes) -> bytes:
        """The last message that begins within a frame: what stands before it is a half."""
        if VT not in content:
            return content
        start = max(content.rfind(head) for head in _HEADS)
        self.halves += start >= 0
        return content[start + 1 :]


class Outside(Refuse):
    """Bytes outside a frame; `whole` holds the messages before them."""

    def __init__(self, whole: list[bytes]) -> None:
        super().__init__(Reason.NOT_HL7, "frame")
        self.whole = whole


class TooLarge(Refuse):
    """A message over the limit: its first bytes, and the messages before it."""

    def __init__(self, start: bytes, whole: list[bytes]) -> None:
        super().__init__(Reason.TOO_LARGE)
        self.start, self.whole = start, whole


def frame(message: bytes) -> bytes:
    """`message` in its MLLP frame."""
    return VT + message + FS + CR
