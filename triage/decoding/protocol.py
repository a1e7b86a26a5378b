"""What the worker and a decoder process say to each other: length-framed JSON on a socket pair.

The worker believes nothing of an answer: sizes, types and time are bounded on its side.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streams.errors import Reason
from triage.decoding.frames import Decoded
from triage.eligibility.rule import Rule, rule_of

#: Until when a child waits for its next order: its parent's end ends it.
FOREVER = math.inf
#: In place of a frame: the file's header.
HEADER = -1
#: A decoder says so in the first bytes of the shared memory where it is: file and frame.
MARK = struct.Struct("<8sii")
MARKED = b"is here:"
_MOST_BYTES = 32 * 1024**2  # of one message: 16,384 frames are told in 4 MB


@dataclass(frozen=True)
class Wanted:
    """What a model reads of any series.

    Attributes:
        slab_mm: slices of a stack that are thinner are averaged to about so much; 0: each frame
            stays as it is.
        axial: axial slices alone.
        rule: which images the model is meant for; None: whatever is there.
        min_side_px: a larger frame is reduced, and its short side keeps at least so many pixels;
            0: every frame as it is stored.
        input: the package's input, as its JSON: frames are prepared for it before they leave the
            decoder, which has a processor of its own; empty: the frames themselves leave.
    """

    slab_mm: float = 0.0
    axial: bool = False
    min_side_px: int = 0
    rule: Rule | None = None
    input: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """Where a decoder was when it ended, and why it did.

    Attributes:
        file: index among the files of its request.
        frame: of that file; HEADER: before any.
    """

    file: int
    frame: int
    reason: Reason


@dataclass(frozen=True)
class Request:
    """What to decode: the files of one series, in any order, and what is wanted of them.

    Attributes:
        all_there: a file that the store does not give is an error, not one slice less.
        ended: what ended a decoder before: it is not tried again, and fails for that reason.
    """

    paths: tuple[str, ...]
    wanted: Wanted = field(default_factory=Wanted)
    all_there: bool = False
    ended: tuple[Ended, ...] = ()

    @classmethod
    def of(cls, message: dict[str, Any]) -> Request:
        """What `dataclasses.asdict` made of one, back from JSON."""
        wanted = dict(message["wanted"])
        if wanted["rule"] is not None:
            wanted["rule"] = rule_of(wanted["rule"])
        ended = tuple(
            Ended(at["file"], at["frame"], Reason(at["reason"])) for at in message["ended"]
        )
        return cls(tuple(message["paths"]), Wanted(**wanted), message["all_there"], ended)


#: Raises `NotAnalysed` with the reason where there are no frames.
Decoder = Callable[[Request], Decoded]


def send(channel: socket.socket, message: dict[str, Any], until: float) -> None:
    """Sends one JSON object, its length in front. Raises TimeoutError as `receive` does."""
    body = json.dumps(message).encode()
    _allow(channel, until)
    channel.sendall(struct.pack("<I", len(body)) + body)


def receive(channel: socket.socket, until: float) -> dict[str, Any] | None:
    """The next object, or None at the end.

    Args:
        until: monotonic seconds by which it has to be there whole.

    Raises:
        TimeoutError: it is not.
        ValueError: it is too long, no JSON object, or has numbers that are not finite.
    """
    head = _read_exactly(channel, 4, until)
    if head is None:
        return None
    (size,) = struct.unpack("<I", head)
    if size > _MOST_BYTES:
        raise ValueError("a message of too many bytes")
    body = _read_exactly(channel, size, until)
    if body is None:
        return None
    message = json.loads(body, parse_constant=_finite, parse_float=_finite)
    if not isinstance(message, dict):
        raise ValueError("no object")
    return message


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _allow(channel: socket.socket, until: float) -> None:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    channel.settimeout(None if math.isinf(left_s) else left_s)


def _read_exactly(channel: socket.socket, size: int, until: float) -> bytes | None:
    parts: list[bytes] = []
    while size:
        _allow(channel, until)
        try:
            part = channel.recv(min(size, 1 << 20))
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
