"""Ten times what the intake can hold at once: the reader waits, and memory is flat.

Backlog, series in flight and batch queue stay within their bounds.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from streams.events import encode
from streams.identity.seal import KeyRing
from streams.instances import pack
from tests.triage.worker.harness import Harness, series
from triage.decoding.frames import Decoded, Frame, Read
from triage.decoding.protocol import Request
from triage.inference.batch import BUCKETS
from triage.inference.queue import BatchQueue

BACKLOG, BURST, IMAGES = 25, 250, 8
#: An event of 3,700 instances is 40 kB and a study's prepared images 128 kB: unbounded, the burst
#: would be 42 MB more.
MARGIN = 15 * 1024**2


class Watched(Harness):
    """An intake with a small backlog, watched.

    Noted is the most that was ever in each of its places, and how often the reader had to wait.
    """

    def __init__(self, ring: KeyRing) -> None:
        super().__init__(ring)
        self.held = threading.Event()
        self.queue = self.analyst.queue = BatchQueue({"p": self.slow})
        self.intake = replace(self.intake, read_ahead=BACKLOG, stopped=asyncio.Event())
        self.backlog = self.flying = self.waiting = self.waits = 0
        self.memory: list[int] = []

    def slow(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """A batch goes through only while the reader is held back, or has read all."""
        self.held.wait()
        return images[:, 0, 0, 0]

    def decode(self, _request: Request) -> Decoded:
        return Decoded(
            [Frame(np.zeros((64, 64), dtype=np.float32), "hu")] * IMAGES, Read(IMAGES, IMAGES)
        )

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        self.look()
        await super().publish(topic, key, value)

    def look(self) -> None:
        self.backlog = max(self.backlog, len(self.intake))
        self.flying = max(self.flying, self.intake.under_way)
        self.waiting = max(self.waiting, self.queue.waiting)

    async def read(self) -> None:
        """As Faust's agent does: the next event only once there is room for this one."""
        one = series("1.1").model_copy(
            update={"instances": pack(f"{number:016x}" for number in range(3700))}
        )
        for offset in range(BURST):
            own = {
                "study_uid": f"1.{offset}",
                "series_uid": f"1.{offset}.1",
            }
            value = encode(one.model_copy(update=own))  # none supersedes another
            taking = asyncio.create_task(self.put(offset, value))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not taking.done():
                self.waits += 1
                self.held.set()
                await taking
                self.held.clear()
            self.look()
            if offset % 25 == 0:
                self.memory.append(psutil.Process().memory_info().rss)
        self.held.set()


@pytest.mark.slow
async def test_a_burst_waits_in_kafka(ring: KeyRing) -> None:
    harness = Watched(ring)
    reading = asyncio.create_task(harness.read())
    running = harness.start()
    async with asyncio.timeout(300):
        await reading
        while len(harness.acknowledged) < BURST:
            await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    harness.threads.shutdown()
    assert harness.acknowledged == list(range(BURST))
    let_in = BUCKETS[-1] // IMAGES  # by one batch
    assert harness.waits >= (BURST - BACKLOG) // let_in - 2
    assert harness.backlog == BACKLOG
    assert harness.flying <= harness.intake.in_flight
    assert harness.waiting < BUCKETS[-1] + IMAGES * harness.intake.concurrent_decodes
    warm, *rest = harness.memory[len(harness.memory) // 4 :]
    assert max(rest) - warm < MARGIN
