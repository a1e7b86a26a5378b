"""From studies to batches and back: images of many series wait together for each network."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import SupportsInt

import numpy as np
from numpy.typing import NDArray

from triage import metrics
from triage.inference.batch import BUCKETS, Batcher

#: A network: float32 [n, …] to float32 [n], or [n, outputs].
Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass
class _Ticket:
    """One series that waits for its scores."""

    images: NDArray[np.float32]
    scores: list[NDArray[np.float32]]
    missing: int
    done: asyncio.Future[NDArray[np.float32]]


_NO_SCORE = np.full((), np.nan, np.float32)
_Batch = list[tuple[_Ticket, int]]


def _nothing() -> None:
    """For those who do not ask when a batch was made."""


class BatchQueue:
    """Batches for several networks; `run` has to be running for `scores` to return.

    Args:
        networks: by package, what scores a batch. It runs in a thread of its own.
        urgent: an image of at most this urgency does not wait for others.
        concurrent_batches: batches under way; 1, or 2 where a device copies one while it computes
            another.
    """

    def __init__(
        self, networks: dict[str, Scores], *, urgent: int = 0, concurrent_batches: int = 1
    ) -> None:
        self._networks = networks
        self._batchers: dict[str, Batcher[tuple[_Ticket, int]]] = {
            name: Batcher(urgent=urgent) for name in networks
        }
        self._threads = ThreadPoolExecutor(concurrent_batches, thread_name_prefix="forward")
        self._buffers: dict[str, list[NDArray[np.float32]]] = {name: [] for name in networks}
        self._free = asyncio.Semaphore(concurrent_batches)
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._wake = asyncio.Event()
        self._order = itertools.count()

    @property
    def waiting(self) -> int:
        """Images that wait for a batch, of all packages: one thread runs their networks."""
        return sum(map(len, self._batchers.values()))

    async def scores(
        self, package: str, images: NDArray[np.float32], urgency: SupportsInt
    ) -> NDArray[np.float32]:
        """What the network gives of `images` [n, …], n ≥ 1, once their batches went through: [n],
        or [n, outputs].
        """
        loop = asyncio.get_running_loop()
        ticket = _Ticket(images, [_NO_SCORE] * len(images), len(images), loop.create_future())
        order = next(self._order)
        for index in range(len(images)):
            self._batchers[package].add((ticket, index), urgency, order, loop.time())
        self._wake.set()
        return await ticket.done

    async def run(self, on_batch: Callable[[], None] = _nothing) -> None:
        """Runs batches as they fall due, until cancelled; `on_batch`: now fewer images wait."""
        try:
            while True:
                if self._failed is not None:
                    raise self._failed
                self._wake.clear()
                metrics.batch_queue.set(self.waiting)
                due_in_s = self._due_in_s()
                ready = [name for name, wait_s in due_in_s.items() if wait_s <= 0]
                for name in ready:
                    # Before the batch is made: who comes meanwhile may be more urgent.
                    await self._free.acquire()
                    batch = self._take(name)
                    on_batch()
                    self._start(name, batch)
                if not ready:
                    await self._wait(min(due_in_s.values(), default=None))
        finally:
            for task in self._under_way:
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _due_in_s(self) -> dict[str, float]:
        now = asyncio.get_running_loop().time()
        due = ((name, batcher.due_in_s(now)) for name, batcher in self._batchers.items())
        return {name: wait_s for name, wait_s in due if wait_s is not None}

    async def _wait(self, within_s: float | None) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _take(self, package: str) -> _Batch:
        """The next batch, without those who gave up (late)."""
        return [
            (ticket, index)
            for ticket, index in self._batchers[package].take()
            if not ticket.done.done()
        ]

    def _start(self, package: str, batch: _Batch) -> None:
        if not batch:
            self._free.release()
            return
        metrics.batch_images.observe(len(batch))
        rows = [ticket.images[index] for ticket, index in batch]
        # Here, not in the task: whoever looks at the scores of the last batch would go first.
        scores = asyncio.get_running_loop().run_in_executor(
            self._threads, self._score, package, rows
        )
        task = asyncio.create_task(self._hand_out(batch, scores))
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed = task.exception()  # `run` raises it, and does not go on
            self._wake.set()

    async def _hand_out(self, batch: _Batch, scores: asyncio.Future[NDArray[np.float32]]) -> None:
        try:
            out = await scores
        finally:
            self._free.release()
        for (ticket, index), score in zip(batch, out, strict=True):
            ticket.scores[index] = score
            ticket.missing -= 1
            if ticket.missing == 0 and not ticket.done.done():
                # A network that failed gave one number for all its outputs.
                ticket.done.set_result(np.stack(np.broadcast_arrays(*ticket.scores)))

    def _score(self, package: str, rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """In a thread. The buffer goes back for the next batch: a fresh one costs page faults."""
        buffers = self._buffers[package]
        shape = (BUCKETS[-1], *rows[0].shape)
        buffer = buffers.pop() if buffers else np.empty(shape, dtype=np.float32)
        for at, row in enumerate(rows):
            buffer[at] = row
        out = _survive(self._networks[package], buffer[: len(rows)])
        buffers.append(buffer)
        return out


def _survive(network: Scores, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores; none that is a number where the network fails: its series are `model_failed`."""
    try:
        return network(images)
    except (RuntimeError, ValueError):  # what torch raises
        return np.full(len(images), np.nan, dtype=np.float32)
