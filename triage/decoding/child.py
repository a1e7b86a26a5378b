"""The decoder process: reads stored files and decodes what it is asked for, under limits.

Started by `pool` as ``python -m triage.inputs.jailed SOCKET MEMORY LIMITS``. Requests and answers
are those of `protocol`; pixels go back through one shared anonymous file. It imports no torch,
opens no network, and gets no secrets.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.image_header import why_unread
from triage.decoding.limits import Limits
from triage.decoding.protocol import FOREVER, MARK, MARKED, Request, receive, send
from triage.decoding.series import read_series
from triage.errors import NotAnalysed
from triage.sandbox import close_off

_NICENESS = 10  # below that of the batch thread: everything waits for it

#: Frames, and the package's input as its JSON, to what the network reads: float32 [n, …].
Prepare = Callable[[Sequence[Frame], dict[str, Any]], NDArray[np.float32]]


def serve(argv: Sequence[str], prepare: Prepare) -> None:
    """Answers requests until the parent closes its end."""
    # A cut file makes pydicom warn on each read; `image_header` checks what is missing.
    warnings.simplefilter("ignore")
    channel, memory = socket.socket(fileno=int(argv[0])), int(argv[1])
    limits = Limits(**json.loads(argv[2]))
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.reply_bytes, limits.reply_bytes))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    close_off(alone=True)
    send(channel, {"ready": True}, FOREVER)
    while (message := receive(channel, FOREVER)) is not None:
        request = Request.of(message)
        send(channel, _answer(request, limits, memory, prepare), FOREVER)


class _Watch:
    """Binds the processor time of a request, and of each header and frame in it: SIGXCPU ends the
    process, and the mark in the shared memory says where.
    """

    def __init__(self, limits: Limits, memory: int) -> None:
        self._frame_cpu_s, self._memory = limits.frame_cpu_s, memory
        self._end_s = _used_s() + limits.cpu_s
        _limit_cpu(self._end_s)

    def begin(self, file: int, frame: int) -> None:
        """From now on it is at `frame` of `file`."""
        os.pwrite(self._memory, MARK.pack(MARKED, file, frame), 0)
        _limit_cpu(min(self._end_s, _used_s() + self._frame_cpu_s))

    def over(self) -> None:
        """Nothing more is of one file."""
        os.ftruncate(self._memory, 0)
        _limit_cpu(self._end_s)


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _limit_cpu(until_s: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(until_s) + 1, resource.RLIM_INFINITY))


def _answer(request: Request, limits: Limits, memory: int, prepare: Prepare) -> dict[str, Any]:
    """Decodes, writes the arrays one after the other to `memory`, and says how they lie there."""
    watch = _Watch(limits, memory)
    try:
        try:
            decoded = read_series(request, limits, watch.begin)
        finally:
            watch.over()
        images = prepare(decoded.frames, request.wanted.input) if request.wanted.input else None
        arrays = [frame.pixels for frame in decoded.frames] if images is None else [images]
        if sum(array.nbytes for array in arrays) > limits.reply_bytes:
            raise NotAnalysed(Reason.DECODE_LIMIT)
        os.lseek(memory, 0, os.SEEK_SET)
        for array in arrays:
            _write(memory, array)
    except NotAnalysed as error:
        return {"reason": error.reason.value}
    except MemoryError:
        return {"reason": Reason.DECODE_LIMIT.value}
    except OSError as error:
        return {"reason": why_unread(error).value}
    return {
        "arrays": [array.shape for array in arrays],
        "frames": [_told(frame) for frame in decoded.frames],
        "read": asdict(decoded.read),
    }


def _write(memory: int, array: NDArray[np.float32]) -> None:
    left = np.ascontiguousarray(array, dtype=np.float32).data.cast("B")
    while left:
        left = left[os.write(memory, left) :]


def _told(frame: Frame) -> dict[str, Any]:
    """All of a frame but its pixels."""
    return {one.name: getattr(frame, one.name) for one in fields(frame) if one.name != "pixels"}
