"""The prisoner: a child process that reads stored files and decodes what it is asked for, under
limits, and nothing else.

Started by `decode` as ``python -m triage.decoding.child SOCKET MEMORY``: requests and answers are
length-framed JSON on a socket pair, pixels go back through one shared anonymous file. It imports no
torch, opens no network, and gets no secrets.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import struct
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.headers import Header, Limits, read_header
from triage.decoding.pixels import stored, to_frame
from triage.decoding.slices import Place, choose
from triage.errors import NotAnalysed


@dataclass(frozen=True)
class Request:
    """What to decode: the files of one series, at most `most` frames of them, axial slices only if
    `axial`.

    `side`: larger frames are reduced, but not below so many pixels on the short side
        (`pixels.step`); 0: as they are stored.
    """

    paths: tuple[str, ...]
    most: int
    axial: bool
    side: int = 0


def decode_series(request: Request, limits: Limits) -> list[Frame]:
    """The frames that a model reads, in order along the stack. A file that is broken is left out if
    others are not.

    Raises:
        NotAnalysed: the first file's reason when none can be used; `decode_limit` when the answer
            would be too large.
    """
    headers: list[Header] = []
    failed: list[Reason] = []
    if len(request.paths) > limits.files:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    for path in request.paths:
        try:
            headers.append(read_header(Path(path), limits))
        except NotAnalysed as error:
            failed.append(error.reason)
    if not headers:
        raise NotAnalysed(failed[0] if failed else Reason.NO_PIXELS)
    places = choose(headers, most=request.most, axial=request.axial)
    if sum(4 * place.shape[0] * place.shape[1] for place in places) > limits.reply_bytes:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    return _decode_places(headers, places, failed, request.side)


def _decode_places(
    headers: list[Header], places: list[Place], failed: list[Reason], side: int
) -> list[Frame]:
    done: dict[Place, Frame] = {}
    for file, header in enumerate(headers):
        mine = sorted(
            (place for place in places if place.file == file), key=lambda place: place.frame
        )
        if not mine:
            continue
        try:
            for place, array in zip(
                mine, stored(header, [place.frame for place in mine]), strict=False
            ):
                done[place] = to_frame(array, header, place.frame, side)
        except NotAnalysed as error:
            failed.append(error.reason)
    frames = [done[place] for place in places if place in done]
    if not frames:
        raise NotAnalysed(failed[0] if failed else Reason.NO_PIXELS)
    return frames


def main(argv: list[str]) -> None:
    """Answers requests until the parent closes its end."""
    # A cut file makes pydicom warn on each read; what is missing is checked, not warned about.
    warnings.simplefilter("ignore")
    channel, memory = socket.socket(fileno=int(argv[0])), int(argv[1])
    limits = Limits(**json.loads(argv[2]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.reply_bytes, limits.reply_bytes))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    send(channel, {"ready": True})
    while (message := receive(channel)) is not None:
        _spend(limits.cpu_s)
        send(
            channel, answer(Request(**message | {"paths": tuple(message["paths"])}), limits, memory)
        )


def _spend(seconds: float) -> None:
    """From now on this process may use `seconds` of processor time: SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def answer(request: Request, limits: Limits, memory: int) -> dict[str, Any]:
    """Decodes, writes the pixels to the file `memory` one after the other, and says how they lie
    there.
    """
    try:
        frames = decode_series(request, limits)
        size = sum(frame.pixels.nbytes for frame in frames)
        os.ftruncate(memory, size)
        at, told = 0, []
        with mmap.mmap(memory, size) as shared:
            for frame in frames:
                shared[at : at + frame.pixels.nbytes] = np.ascontiguousarray(
                    frame.pixels, dtype=np.float32
                ).data.cast("B")
                at += frame.pixels.nbytes
                rows, columns = frame.pixels.shape
                told.append(
                    {
                        "rows": rows,
                        "columns": columns,
                        "unit": frame.unit,
                        "position_mm": frame.position_mm,
                    }
                )
    except NotAnalysed as error:
        return {"reason": error.reason.value}
    except MemoryError:
        return {"reason": Reason.DECODE_LIMIT.value}
    return {"frames": told, "bytes": size}


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """One framed JSON object."""
    body = json.dumps(message).encode()
    channel.sendall(struct.pack("<I", len(body)) + body)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next framed object, or None at the end. Raises TimeoutError as the socket does."""
    head = _exactly(channel, 4)
    if head is None:
        return None
    body = _exactly(channel, struct.unpack("<I", head)[0])
    return None if body is None else dict(json.loads(body))


def _exactly(channel: socket.socket, size: int) -> bytes | None:
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


def limits_argument(limits: Limits) -> str:
    """`limits` as the child's third argument."""
    return json.dumps({field.name: asdict(limits)[field.name] for field in fields(limits)})


Decoder = Callable[[Request], list[Frame]]

if __name__ == "__main__":
    main(sys.argv[1:])
