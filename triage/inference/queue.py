"""From studies to batches and back: images of many series wait together, one thread runs the
networks.
"""

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

Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass
class _Ticket:
    """One series that waits for its scores."""

    images: NDArray[np.float32]
    scores: NDArray[np.float32]
    missing: int
    done: asyncio.Future[NDArray[np.float32]]


class Forward:
    """Batches for several networks; `run` has to be running for `scores` to return.

    Args:
        networks: by package, what scores a batch: float32 [n, c, h, w] to float32 [n]. It runs in a
            thread of its own.
        urgent: an image of at most this urgency does not wait for others.
        at_once: batches under way; 1, or 2 where a device copies one while it computes another.

    Attributes:
        taken: called whenever a batch was made, so that fewer images wait.
    """

    def __init__(self, networks: dict[str, Scores], *, urgent: int = 0, at_once: int = 1) -> None:
        self._networks = networks
        self._batchers: dict[str, Batcher[tuple[_Ticket, int]]] = {
            name: Batcher(urgent=urgent) for name in networks
        }
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="forward")
        self._rooms: dict[str, list[NDArray[np.float32]]] = {name: [] for name in networks}
        self._free = asyncio.Semaphore(at_once)
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._wake = asyncio.Event()
        self._order = itertools.count()
        self.taken: Callable[[], None] = self._wake.set

    @property
    def waiting(self) -> int:
        """Images that wait for a batch, of all packages: one thread runs their networks."""
        return sum(map(len, self._batchers.values()))

    async def scores(
        self, package: str, images: NDArray[np.float32], urgency: SupportsInt
    ) -> NDArray[np.float32]:
        """The scores [n] of `images` [n, c, h, w], n ≥ 1, once their batches went through."""
        loop = asyncio.get_running_loop()
        ticket = _Ticket(
            images, np.empty(len(images), dtype=np.float32), len(images), loop.create_future()
        )
        order = next(self._order)
        for index in range(len(images)):
            self._batchers[package].add((ticket, index), urgency, order, loop.time())
        self._wake.set()
        return await ticket.done

    async def run(self) -> None:
        """Runs batches as they fall due, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                if self._failed is not None:
                    raise self._failed
                self._wake.clear()
                metrics.batch_queue.set(self.waiting)
                due = {
                    name: wait
                    for name, b in self._batchers.items()
                    if (wait := b.due(loop.time())) is not None
                }
                ready = [name for name, wait in due.items() if wait <= 0]
                for name in ready:
                    await (
                        self._free.acquire()
                    )  # before the batch is made: who comes meanwhile may be more urgent
                    self._start(name)
                if not ready:
                    try:
                        async with asyncio.timeout(min(due.values(), default=None)):
                            await self._wake.wait()
                    except TimeoutError:
                        continue
        finally:
            for task in self._under_way:
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, package: str) -> None:
        # Those who gave up (late) are not computed for.
        batch = [
            (ticket, index)
            for ticket, index in self._batchers[package].take()
            if not ticket.done.done()
        ]
        self.taken()
        if not batch:
            self._free.release()
            return
        metrics.batch_images.observe(len(batch))
        rows = [ticket.images[index] for ticket, index in batch]
        # At once, not in the task: whoever looks at the scores of the last batch would go first.
        scores = asyncio.get_running_loop().run_in_executor(
            self._threads, self._score, package, rows
        )
        task = asyncio.create_task(self._hand_out(batch, scores))
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if (
            not task.cancelled() and task.exception() is not None
        ):  # then `run` must not go on as if nothing were
            self._failed = task.exception()
            self._wake.set()

    async def _hand_out(
        self, batch: list[tuple[_Ticket, int]], scores: asyncio.Future[NDArray[np.float32]]
    ) -> None:
        try:
            out = await scores
        finally:
            self._free.release()
        for (ticket, index), score in zip(batch, out, strict=True):
            ticket.scores[index] = score
            ticket.missing -= 1
            if ticket.missing == 0 and not ticket.done.done():
                ticket.done.set_result(ticket.scores)

    def _score(self, package: str, rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """In a forward thread. Its buffer goes back for the next batch: a fresh one costs its page
        faults.
        """
        rooms = self._rooms[package]
        room = rooms.pop() if rooms else np.empty((BUCKETS[-1], *rows[0].shape), dtype=np.float32)
        for at, row in enumerate(rows):
            room[at] = row
        out = _survive(self._networks[package], room[: len(rows)])
        rooms.append(room)
        return out


def _survive(network: Scores, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network that fails gives no number: its series end as `model_failed`, and the next batch
    goes on.
    """
    try:
        return network(images)
    except (RuntimeError, ValueError):  # what torch raises
        return np.full(len(images), np.nan, dtype=np.float32)
