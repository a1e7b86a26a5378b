"""The decoder process: reads stored files and decodes what it is asked for, under limits.

Started by `pool` as ``python -m triage.decoding.child SOCKET MEMORY LIMITS``. Requests and answers
are those of `protocol`; pixels go back through one shared anonymous file. It imports no torch,
opens no network, and gets no secrets.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.image_header import ImageHeader, read_header
from triage.decoding.limits import Limits
from triage.decoding.pixels import to_frame
from triage.decoding.protocol import Request, receive, send
from triage.decoding.slices import Place, choose
from triage.decoding.stored import stored
from triage.errors import NotAnalysed


def decode_series(request: Request, limits: Limits) -> list[Frame]:
    """The frames that a model reads, in order along the stack.

    A broken file is left out where others are not.

    Raises:
        NotAnalysed: the first file's reason when none can be used; `decode_limit` when the answer
            would be too large.
    """
    headers: list[ImageHeader] = []
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
    places = choose(headers, max_frames=request.max_frames, axial=request.axial)
    if sum(4 * place.shape[0] * place.shape[1] for place in places) > limits.reply_bytes:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    return _decode_places(headers, places, failed, request.min_side_px)


def _decode_places(
    headers: list[ImageHeader], places: list[Place], failed: list[Reason], min_side_px: int
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
                done[place] = to_frame(array, header, place.frame, min_side_px)
        except NotAnalysed as error:
            failed.append(error.reason)
    frames = [done[place] for place in places if place in done]
    if not frames:
        raise NotAnalysed(failed[0] if failed else Reason.NO_PIXELS)
    return frames


def main(argv: list[str]) -> None:
    """Answers requests until the parent closes its end."""
    # A cut file makes pydicom warn on each read; `image_header` checks what is missing.
    warnings.simplefilter("ignore")
    channel, memory = socket.socket(fileno=int(argv[0])), int(argv[1])
    limits = Limits(**json.loads(argv[2]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.reply_bytes, limits.reply_bytes))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    send(channel, {"ready": True})
    while (message := receive(channel)) is not None:
        _limit_cpu(limits.cpu_s)
        request = Request(**message | {"paths": tuple(message["paths"])})
        send(channel, _answer(request, limits, memory))


def _limit_cpu(seconds: float) -> None:
    """From now on this process may use `seconds` of processor time: SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _answer(request: Request, limits: Limits, memory: int) -> dict[str, Any]:
    """Decodes, writes the pixels one after the other to `memory`, and says how they lie there."""
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


if __name__ == "__main__":
    main(sys.argv[1:])
