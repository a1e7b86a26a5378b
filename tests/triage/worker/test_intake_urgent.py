"""An urgent study behind 5,000 routine ones, while no more go in.

Its images are in the next batch but one at the latest.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.events import Number, encode
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import Harness, order, series
from triage.decoding.frames import Decoded, Frame, Read
from triage.decoding.protocol import Request
from triage.inference.batch import BUCKETS
from triage.inference.queue import BatchQueue
from triage.worker.urgency import URGENT

pytestmark = pytest.mark.slow

ROUTINE = 5000


class FullIntake(Harness):
    """An intake whose network is slow: the first batch runs until `open` is set.

    Each study's pixels are its number.
    """

    def __init__(self, ring: KeyRing, images: int) -> None:
        super().__init__(ring)
        self.images = images
        self.decoded: list[int] = []
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.analyst.queue = self.queue = BatchQueue({"p": self.network}, urgent=URGENT)
        self.analyst.decode = self.decode

    def decode(self, request: Request) -> Decoded:
        number = int(request.paths[0].split("/")[1], 16)
        self.decoded.append(number)
        return Decoded(
            [Frame(np.full((4, 4), number, dtype=np.float32), "hu")] * self.images,
            Read(self.images, self.images),
        )

    def network(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append([int(value) for value in images[:, 0, 0, 0]])
        assert self.open.wait(120)
        return np.zeros(len(images), dtype=np.float32)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not reached():
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Nothing more goes in."""
        seen = -1
        while seen != len(self.decoded):
            seen = len(self.decoded)
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Works behind `ROUTINE` studies, one batch under way, until no routine study goes in."""
        for number in range(ROUTINE):
            await self.put(number, numbered(number))
        running = self.start()
        try:
            # Where the first batch took many, the series in flight are what is full.
            await self.until(
                lambda: (
                    self.queue.waiting >= BUCKETS[-1] or len(self.decoded) == self.intake.in_flight
                )
            )
            await self.settled()
            yield
        finally:
            self.open.set()
            for task in running:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self.intake.drain(0)
            self.threads.shutdown()


@cache
def numbered(number: int) -> bytes:
    return encode(series(f"2.{number}").model_copy(update={"reference": f"{number:x}"}))


@pytest.fixture(params=[1, 24], ids=["films", "stacks"])
def harness(request: pytest.FixtureRequest, ring: KeyRing) -> FullIntake:
    return FullIntake(ring, request.param)


async def test_what_is_under_way_is_bounded(harness: FullIntake) -> None:
    async with harness.full():
        running = len(harness.batches[0])
        assert len(harness.batches) == 1
        # One batch runs, one waits; each that was being decoded when it became full has come out.
        decoding = harness.images * harness.intake.concurrent_decodes
        assert harness.queue.waiting < BUCKETS[-1] + decoding
        assert len(harness.decoded) <= harness.intake.in_flight
        assert len(harness.decoded) * harness.images == running + harness.queue.waiting


@pytest.mark.parametrize("hint", ["before", "after"])
async def test_an_urgent_study_is_in_the_second_batch(harness: FullIntake, hint: str) -> None:
    async with harness.full():
        urgent = encode(order(f"2.{ROUTINE}", "stat"))
        if hint == "before":
            harness.intake.on_order(urgent)
        await harness.put(ROUTINE, numbered(ROUTINE))
        if hint == "after":
            await asyncio.sleep(0.02)
            assert ROUTINE not in harness.decoded
            harness.intake.on_order(urgent)
        await harness.until(
            lambda: ROUTINE in harness.decoded
        )  # past all that wait, though no others go in
        await asyncio.sleep(0.05)
        harness.open.set()
        await harness.until(lambda: len(harness.batches) >= 2)
        assert harness.batches[1].count(ROUTINE) == harness.images


async def test_a_hint_moves_images_that_wait_for_a_batch_already(harness: FullIntake) -> None:
    async with harness.full():
        last = harness.decoded[-1]
        assert last not in harness.batches[0]
        harness.intake.on_order(encode(order(f"2.{last}", "stat")))
        harness.open.set()
        await harness.until(lambda: len(harness.batches) >= 2)
        assert harness.batches[1].count(last) == harness.images


async def test_urgent_ones_go_in_within_a_bound_and_do_not_starve_the_oldest(
    harness: FullIntake,
) -> None:
    async with harness.full():
        before = list(harness.decoded)
        urgent = range(ROUTINE, ROUTINE + 200)
        harness.intake.on_order(
            encode(
                order("", "stat").model_copy(
                    update={
                        "numbers": tuple(
                            Number(kind="accession", value=f"A2.{number}") for number in urgent
                        )
                    }
                )
            )
        )
        for number in urgent:
            await harness.put(number, numbered(number))
        await harness.settled()
        entered = harness.decoded[len(before) :]
        assert len(harness.decoded) <= harness.intake.in_flight + harness.intake.in_flight // 4
        decoding = harness.images * harness.intake.concurrent_decodes
        assert harness.queue.waiting < 4 * BUCKETS[-1] + decoding
        routine = [number for number in entered if number < ROUTINE]
        assert len(entered) // 4 - 1 <= len(routine) <= len(entered) // 4 + 1
        assert routine == sorted(set(range(ROUTINE)) - set(before))[: len(routine)]
