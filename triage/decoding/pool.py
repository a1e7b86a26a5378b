"""Decoder processes with limits: one that dies, loops or eats memory is replaced."""

from __future__ import annotations

import json
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from streams.errors import Reason
from triage import metrics
from triage.decoding.frames import Frame
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request, receive, send
from triage.errors import NotAnalysed

_START_S = 60.0  # a process imports numpy and pydicom first, on a machine that may be busy


class DecoderProcess:
    """One process, the socket pair to it and the memory shared with it.

    Used by one thread at a time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._memory = os.memfd_create("vigie-pixels", os.MFD_CLOEXEC)
        self._channel, theirs = socket.socketpair()
        # No secrets inside: neither our settings (VIGIE_…) nor those of others.
        kept = {
            name: os.environ[name]
            for name in ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        # One thread: each further arena eats address space.
        kept |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self._process = subprocess.Popen(  # noqa: S603 — our own interpreter and module
            [
                sys.executable,
                "-m",
                "triage.decoding.child",
                str(theirs.fileno()),
                str(self._memory),
                json.dumps(asdict(limits)),
            ],
            env=kept,
            pass_fds=(theirs.fileno(), self._memory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self._started = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, request: Request) -> list[Frame]:
        """The frames of `request`.

        Raises:
            NotAnalysed: the decoder's reason; `decode_limit` when time or memory ran out,
                `undecodable_pixels` when it died. After these two it is of no use: see `alive`.
        """
        try:
            self._wait_started()
            self._channel.settimeout(self._limits.wall_s)
            send(self._channel, asdict(request))
            reply = receive(self._channel)
        except TimeoutError:
            self.kill()
            raise NotAnalysed(Reason.DECODE_LIMIT) from None
        except OSError:
            reply = None
        if reply is None:
            raise NotAnalysed(self._cause_of_death())
        if "reason" in reply:
            raise NotAnalysed(Reason(reply["reason"]))
        return self._frames(reply)

    def _wait_started(self) -> None:
        if not self._started:
            self._channel.settimeout(_START_S)
            self._started = receive(self._channel) is not None

    def _cause_of_death(self) -> Reason:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        signal_number = -(self._process.returncode or 0)
        self.kill()
        return (
            Reason.DECODE_LIMIT
            if signal_number in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL)
            else Reason.UNDECODABLE_PIXELS
        )

    def _frames(self, reply: dict[str, Any]) -> list[Frame]:
        frames, at = [], 0
        with mmap.mmap(self._memory, reply["bytes"], prot=mmap.PROT_READ) as shared:
            for told in reply["frames"]:
                count = told["rows"] * told["columns"]
                pixels = (
                    np.frombuffer(shared, np.float32, count, at)
                    .reshape(told["rows"], told["columns"])
                    .copy()
                )
                frames.append(Frame(pixels, told["unit"], told["position_mm"]))
                at += 4 * count
        return frames

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None and self._channel.fileno() >= 0

    def kill(self) -> None:
        """Ends it, and frees socket and memory."""
        if self._channel.fileno() < 0:
            return
        self._process.kill()
        self._process.wait()
        self._channel.close()
        os.close(self._memory)


class DecoderPool:
    """Several decoder processes. `decode` blocks its thread until one is free.

    Args:
        size: processes, 1 or more.
        limits: of each request.
    """

    def __init__(self, size: int, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._idle: queue.SimpleQueue[DecoderProcess] = queue.SimpleQueue()
        self._processes: set[DecoderProcess] = set()
        self._lock = threading.Lock()
        self._closed = False
        for _ in range(size):
            self._idle.put(self._start())

    def _start(self) -> DecoderProcess:
        process = DecoderProcess(self._limits)
        with self._lock:
            self._processes.add(process)
        return process

    def decode(self, request: Request) -> list[Frame]:
        """The frames that a model reads of one series, in order along the stack.

        Raises:
            NotAnalysed: `no_pixels`, `no_decoder`, `undecodable_pixels`, `decode_limit`,
                `unsupported_photometric`, `bad_geometry`, `store_missing` or
                `outside_intended_use_view`.
        """
        process = self._idle.get()
        begun = time.monotonic()
        try:
            return process.ask(request)
        finally:
            metrics.decode_seconds.observe(time.monotonic() - begun)
            self._idle.put(process if process.alive else self._replace(process))

    def _replace(self, dead: DecoderProcess) -> DecoderProcess:
        dead.kill()
        with self._lock:
            self._processes.discard(dead)
            if self._closed:
                return dead
        metrics.decoders_replaced.inc()
        return self._start()

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
