"""Decoder processes with limits: one that dies, loops, lies or eats memory is replaced."""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, create_model

from streams.errors import Reason, Unavailable
from triage import metrics
from triage.decoding.frames import Decoded, Frame, Read
from triage.decoding.limits import Limits
from triage.decoding.protocol import HEADER, MARK, MARKED, Ended, Request, receive, send
from triage.errors import NotAnalysed

_START_S = 60.0  # a process imports numpy and pydicom first, on a machine that may be busy
_DIES_S = 1.0  # one that waits for a network's disk cannot be killed: it is left to itself
_PROGRAM = "triage.inputs.jailed"
_MOST_SIDES = 6
_MOST_ENDED = 3  # decoders that one series may cost before it is given up
_NO_PIXELS = np.empty((0, 0), dtype=np.float32)
_TOLD: dict[str, Any] = {
    name: (kind, ...) for name, kind in get_type_hints(Frame).items() if name != "pixels"
}
#: What a decoder says of a frame, and of what it read.
_FRAME = create_model("_FRAME", __config__=ConfigDict(extra="forbid", strict=True), **_TOLD)
_READ = TypeAdapter(Read)


class _WaitedTooLong(NotAnalysed):
    """The time of a request was over before its processor time was."""


class _EndedAt(NotAnalysed):
    """The decoder died over one header or frame."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.reason)
        self.ended = ended


class DecoderProcess:
    """One process, the socket pair to it and the memory shared with it.

    Used by one thread at a time. Raises OSError where it cannot be started.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._memory = os.memfd_create("vigie-pixels", os.MFD_CLOEXEC)
            try:
                self._process = _start(limits, theirs.fileno(), self._memory)
            except OSError:
                self._channel.close()
                os.close(self._memory)
                raise
        self._started = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, request: Request) -> Decoded:
        """The frames of `request`.

        Raises:
            NotAnalysed: the decoder's reason; `decode_limit` when time or memory ran out,
                `undecodable_pixels` when it died or its answer is none. After these it is of no
                use: see `alive`.
            Unavailable: it did not start.
        """
        self._wait_started()
        try:
            until = time.monotonic() + self._limits.wall_s
            send(self._channel, asdict(request), until)
            reply = receive(self._channel, until)
            if reply is not None and "reason" not in reply:
                return self._decoded(reply, len(request.paths))
            reason = None if reply is None else Reason(reply["reason"])
        except TimeoutError:
            self.kill()
            raise _WaitedTooLong(Reason.DECODE_LIMIT) from None
        except OSError:
            reason = None
        except (ValueError, TypeError, KeyError):  # it says what no decoder of ours says
            self.kill()
            raise NotAnalysed(Reason.UNDECODABLE_PIXELS) from None
        raise NotAnalysed(reason) if reason else self._death(len(request.paths))

    def _wait_started(self) -> None:
        with suppress(TimeoutError, OSError):
            self._started = (
                self._started or receive(self._channel, time.monotonic() + _START_S) is not None
            )
        if not self._started:
            self.kill()
            raise Unavailable(Reason.OVERLOADED, "decoder")

    def _death(self, files: int) -> NotAnalysed:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        signal_number = -(self._process.returncode or 0)
        mark = b""
        with suppress(OSError):  # the pool was closed meanwhile
            mark = os.pread(self._memory, MARK.size, 0)
        self.kill()
        reason = (
            Reason.DECODE_LIMIT
            if signal_number in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL)
            else Reason.UNDECODABLE_PIXELS
        )
        marked, file, frame = MARK.unpack(mark) if len(mark) == MARK.size else (b"", 0, 0)
        if marked == MARKED and 0 <= file < files and frame >= HEADER:
            return _EndedAt(Ended(file, frame, reason))
        return NotAnalysed(reason)

    def _decoded(self, reply: dict[str, Any], files: int) -> Decoded:
        """Raises ValueError, TypeError or KeyError for an answer that no decoder of ours gives."""
        told = [_FRAME.model_validate(one).model_dump() for one in reply["frames"]]
        read = _READ.validate_python(reply["read"])
        if any(not 0 <= one["file"] < files or one["stack"] < 0 for one in told):
            raise ValueError("a frame of no file")
        arrays = self._arrays(reply["arrays"])
        if len(arrays) == len(told) and all(array.ndim == 2 for array in arrays):
            return Decoded(_frames(arrays, told), read)
        (images,) = arrays
        return Decoded(_frames([_NO_PIXELS] * len(told), told), read, images)

    def _arrays(self, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Copied out of the shared memory: whoever shares it may change it, or make it shorter."""
        arrays, at = list[NDArray[np.float32]](), 0
        for shape in shapes:
            if len(shape) > _MOST_SIDES or not all(
                isinstance(side, int) and side > 0 for side in shape
            ):
                raise ValueError("no shape")
            size = 4 * math.prod(shape)
            if at + size > self._limits.reply_bytes:
                raise ValueError("more than may be answered")
            array = np.empty(shape, dtype=np.float32)
            if os.preadv(self._memory, [array.data.cast("B")], at) != size:
                raise ValueError("less than was told")
            arrays.append(array)
            at += size
        os.ftruncate(self._memory, 0)  # or the largest answer so far would stay in memory
        return arrays

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None and self._channel.fileno() >= 0

    def kill(self) -> None:
        """Ends it, and frees socket and memory."""
        if self._channel.fileno() < 0:
            return
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DIES_S)
        self._channel.close()
        os.close(self._memory)


def _start(limits: Limits, channel: int, memory: int) -> subprocess.Popen[bytes]:
    # No secrets inside: neither our settings (VIGIE_…) nor those of others.
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH")
        if name in os.environ
    }
    # One thread: each further arena eats address space.
    kept |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    # Freed memory stays, up to 64 MB, or each series has the kernel clear all of its pages anew.
    kept |= {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
    # Nothing is imported from the folder in which somebody happened to start us (-P), or from home.
    program = [sys.executable, "-P", "-s", "-m", _PROGRAM]
    return subprocess.Popen(  # noqa: S603 — our own interpreter and module
        [*program, str(channel), str(memory), json.dumps(asdict(limits))],
        env=kept,
        cwd="/",
        pass_fds=(channel, memory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _frames(pixels: Sequence[NDArray[np.float32]], told: Sequence[dict[str, Any]]) -> list[Frame]:
    return [Frame(array, **known) for array, known in zip(pixels, told, strict=True)]


class DecoderPool:
    """Several decoder processes. `decode` blocks its thread until one is free.

    Args:
        size: processes, 1 or more.
        limits: of each request.

    Raises OSError where they cannot be started.
    """

    def __init__(self, size: int, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        #: One for each slot, always: a dead one where no other could be started.
        self._idle: queue.SimpleQueue[DecoderProcess] = queue.SimpleQueue()
        self._processes: set[DecoderProcess] = set()
        self._lock = threading.Lock()
        self._closed = False
        for _ in range(size):
            self._idle.put(self._started())

    def _started(self) -> DecoderProcess:
        process = DecoderProcess(self._limits)
        with self._lock:
            if not self._closed:
                self._processes.add(process)
                return process
        process.kill()
        raise OSError("the pool is closed")

    def decode(self, request: Request) -> Decoded:
        """The frames that a model reads of one series, stack by stack, and what they are of it.

        A header or frame over which a decoder dies is left out, and counted; a few of them.

        Raises:
            NotAnalysed: `no_pixels`, `no_decoder`, `undecodable_pixels`, `decode_limit`,
                `unsupported_photometric`, `bad_geometry`, `store_missing` or
                `outside_intended_use_view`.
            Unavailable: no process can be started now.
        """
        slot = self._idle.get()
        begun, waited = time.monotonic(), False
        try:
            while True:
                slot = self._alive(slot)
                try:
                    return slot.ask(request)
                except _WaitedTooLong:
                    # The machine was busy, or a disk away: that is no word about the series.
                    if waited:
                        raise
                    waited = True
                except _EndedAt as died:
                    spent_s = time.monotonic() - begun
                    if len(request.ended) >= _MOST_ENDED or spent_s > self._limits.wall_s:
                        raise
                    request = replace(request, ended=(*request.ended, died.ended))
        finally:
            metrics.decode_seconds.observe(time.monotonic() - begun)
            with suppress(Unavailable):  # the slot stays, and the next request tries again
                slot = self._alive(slot)
            self._idle.put(slot)

    def _alive(self, slot: DecoderProcess) -> DecoderProcess:
        """`slot`, or what replaces it. Raises Unavailable."""
        if slot.alive:
            return slot
        slot.kill()
        with self._lock:
            self._processes.discard(slot)
        try:
            made = self._started()
        except OSError:
            raise Unavailable(Reason.OVERLOADED, "decoder") from None
        metrics.decoders_replaced.inc()
        return made

    def pids(self) -> list[int]:
        """Their process ids."""
        with self._lock:
            return [process.pid for process in self._processes]

    def close(self) -> None:
        """Ends all of them; a request under way is answered with a reason."""
        with self._lock:
            self._closed = True
            processes, self._processes = list(self._processes), set()
        for process in processes:
            process.kill()
