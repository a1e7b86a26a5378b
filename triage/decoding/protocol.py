"""What the worker and a decoder process say to each other: length-framed JSON on a socket pair."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triage.decoding.frames import Frame


@dataclass(frozen=True)
class Request:
    """What to decode: the files of one series.

    Attributes:
        paths: the files, in any order.
        max_frames: a longer stack is thinned evenly to so many.
        axial: only axial slices that are no scouts and not from a bone kernel.
        min_side_px: a larger frame is reduced, and its short side keeps at least so many pixels;
            0: every frame as it is stored.
    """

    paths: tuple[str, ...]
    max_frames: int
    axial: bool
    min_side_px: int = 0


#: Raises `NotAnalysed` with the reason where there are no frames.
Decoder = Callable[[Request], list[Frame]]


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Sends one JSON object, its length in front."""
    body = json.dumps(message).encode()
    channel.sendall(struct.pack("<I", len(body)) + body)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next object, or None at the end. Raises TimeoutError as the socket does."""
    head = _read_exactly(channel, 4)
    if head is None:
        return None
    body = _read_exactly(channel, struct.unpack("<I", head)[0])
    return None if body is None else dict(json.loads(body))


def _read_exactly(channel: socket.socket, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        try:
            part = channel.recv(min(size, 1 << 20))
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
