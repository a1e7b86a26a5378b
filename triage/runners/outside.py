"""A network from elsewhere, served: batches go to its process, and what dies is started anew."""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import asdict
from typing import Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from triage import metrics
from triage.decoding.protocol import receive, send
from triage.packages.load import Package, PackageError
from triage.packages.manifest import MOST_FROM_HALF, Output
from triage.runners.child import Order
from triage.sandbox import RunnerLimits

log = structlog.get_logger()
Array = NDArray[np.float32]
_LAST_WORDS = 2000  # bytes of stderr
_EPSILON = 1e-7  # a probability is kept so far from 0 and 1 before its logit is taken


class RunnerProcess:
    """One process, the socket pair to it and the memory shared with it. For one thread at a time.

    Raises PackageError where it does not come up.
    """

    def __init__(self, package: str, content: bytes, order: Order) -> None:
        self._order = order
        memory = _memory("vigie-images", order.memory_bytes)
        self._words = _memory("vigie-words", 0)
        model = _memory("vigie-model", 0)
        with os.fdopen(model, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(model, 0, os.SEEK_SET)
        self._shared = mmap.mmap(memory, order.memory_bytes)
        self._channel, theirs = socket.socketpair()
        fds = theirs.fileno(), memory, model
        self._process = subprocess.Popen(  # noqa: S603 — our own interpreter and module
            [
                *(sys.executable, "-m", "triage.runners.child"),
                *map(str, fds),
                json.dumps(asdict(order)),
            ],
            env=_environment(order.limits.threads),
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._words,
        )
        theirs.close()
        for ours in (memory, model):
            os.close(ours)
        #: Ends it, and frees socket and memory; so does forgetting it.
        self.kill = weakref.finalize(self, _end, self._process, self._channel, self._words)
        self.closed = self._started(package)

    def _started(self, package: str) -> bool:
        try:
            reply = receive(self._channel, time.monotonic() + self._order.limits.start_s)
        except (OSError, ValueError):  # too late, or no answer of our child's
            reply = None
        if reply is None:
            why = self.last_words()
            self.kill()
            raise PackageError(f"{package}: its network does not run: {why}")
        return reply.get("closed") is True

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def scores(self, images: Array) -> Array | None:
        """[n, classes] of images [n, *shape], n at most a batch; None where it died or was too
        slow. It is of no use then.
        """
        order = self._order
        given = np.frombuffer(self._shared, np.float32, images.size)
        given[:] = images.ravel()
        until = time.monotonic() + order.limits.wall_s
        try:
            send(self._channel, {"images": len(images)}, until)
            if receive(self._channel, until) is None:
                return None
        except (OSError, ValueError):  # too late, or no answer of our child's
            return None
        size, at = len(images) * order.classes, order.image_bytes
        made = np.frombuffer(self._shared, np.float32, size, at)
        return made.reshape(len(images), order.classes).copy()

    def last_words(self) -> str:
        """What it wrote to stderr last, all lines of an error; else how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        size = os.fstat(self._words).st_size
        said = os.pread(self._words, _LAST_WORDS, max(0, size - _LAST_WORDS))
        lines = said.decode(errors="replace").rstrip().splitlines()
        # Two spaces in front: a line of the way to the error.
        way = max((at for at, line in enumerate(lines) if line.startswith("  ")), default=-1)
        words = " ".join(" ".join(lines[way + 1 :]).split())
        ended = self._process.returncode
        return words or ("it took too long" if ended is None else f"it ended: {ended}")


def _memory(name: str, size: int) -> int:
    made = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(made, size)
    return made


def _end(process: subprocess.Popen[bytes], channel: socket.socket, words: int) -> None:
    process.kill()
    process.wait()
    channel.close()
    os.close(words)


def _environment(threads: int) -> dict[str, str]:
    """No secrets inside: neither our settings (VIGIE_…) nor those of others."""
    kept = ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH")
    own = {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    return {name: os.environ[name] for name in kept if name in os.environ} | own


class OutsideNetwork:
    """A package's network from elsewhere, as `inference.network.Screener` serves one of ours.

    It runs on the CPU. Any number of threads may call; they take turns.

    Raises PackageError where the network does not come up.

    Attributes:
        mode: how it runs, for the log and the metrics.
    """

    concurrent_batches = 1

    def __init__(self, package: Package, limits: RunnerLimits) -> None:
        runner = package.manifest.runner
        self.shape = package.input.shape
        self._package, self._outputs = package, package.manifest.outputs
        kind: Literal["pt2", "onnx"] = "onnx" if runner.kind == "onnx" else "pt2"
        self._order = Order(kind, self.shape, runner.classes, runner.batch, limits)
        self._lock = threading.Lock()
        self._process: RunnerProcess | None = self._start()
        network = "no network" if self._process.closed else "network open"
        self.mode = f"cpu, {runner.kind}, own process, {network}"
        metrics.model_info.labels(package.name, package.version, self.mode).set(1)

    @property
    def pid(self) -> int | None:
        """Of its process, if there is one."""
        return None if self._process is None else self._process.pid

    def _start(self) -> RunnerProcess:
        package = self._package
        return RunnerProcess(package.name, package.read(package.manifest.network_file), self._order)

    def scores(self, images: Array) -> Array:
        """The logits of the outputs, [n, outputs], or [n] of one; not finite where it failed."""
        if images.shape[1:] != self.shape:
            raise ValueError(f"images are {images.shape[1:]}, the network takes {self.shape}")
        begun, batch = time.monotonic(), self._order.batch
        with self._lock:
            parts = [self._part(images[at : at + batch]) for at in range(0, len(images), batch)]
        metrics.forward_seconds.labels(self._package.name).observe(time.monotonic() - begun)
        return logits(np.concatenate(parts), self._outputs)

    def _part(self, images: Array) -> Array:
        nothing = np.full((len(images), self._order.classes), np.nan, np.float32)
        try:
            self._process = self._process or self._start()
        except PackageError as error:
            log.error("runner_not_started", package=self._package.name, why=str(error))
            return nothing
        made = self._process.scores(images)
        if made is None:
            log.error("runner_ended", package=self._package.name, why=self._process.last_words())
            metrics.runners_replaced.labels(self._package.name).inc()
            self._process.kill()
            self._process = None  # the next batch starts another
        return nothing if made is None else made


def logits(given: Array, outputs: tuple[Output, ...]) -> Array:
    """Of what a network gives, [n, classes], the outputs as logits: [n, outputs], or [n] of one."""
    columns = [_logit(given.astype(np.float64), output) for output in outputs]
    made = columns[0] if len(columns) == 1 else np.stack(columns, 1)
    return made.astype(np.float32)


def _logit(given: NDArray[np.float64], output: Output) -> NDArray[np.float64]:
    column = given[:, output.index]
    match output.gives:
        case "logit":
            return column
        case "probability":
            column = np.where(np.abs(column - 0.5) > MOST_FROM_HALF, np.nan, column)
            column = np.clip(column, _EPSILON, 1 - _EPSILON)
            return np.asarray(np.log(column / (1 - column)), np.float64)
        case "softmax":
            others: NDArray[np.float64] = np.delete(given, output.index, axis=1)
            return column - np.asarray(np.logaddexp.reduce(others, axis=1), np.float64)
