"""Ten times what the flow can hold at once: pool, house and batch queue stay within their bounds,
the reader waits, memory is flat.
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
from streams.seal import KeyRing
from tests.triage.worker.test_intake import House, series
from triage.decoding.child import Request
from triage.decoding.frames import Frame
from triage.inference.batch import BUCKETS
from triage.inference.queue import Forward

POOL, BURST, IMAGES = 50, 500, 8
#: An event of 1,200 instances is 40 kB and a study's prepared images 128 kB: unbounded, the burst
#: would be 85 MB more.
MARGIN = 25 * 1024**2


class Watched(House):
    """A flow with a small pool; the most that was ever in each of its places, and how often the
    reader had to wait.
    """

    def __init__(self, ring: KeyRing) -> None:
        super().__init__(ring)
        self.held = threading.Event()
        self.forward = self.analyst.forward = Forward({"p": self.slow})
        self.flow = replace(self.flow, read_ahead=POOL, stopped=asyncio.Event())
        self.pool = self.flying = self.waiting = self.waits = 0
        self.memory: list[int] = []

    def slow(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The bottleneck: a batch goes through only while the reader is held back, or has read all."""
        self.held.wait()
        return images[:, 0, 0, 0]

    def decode(self, _request: Request) -> list[Frame]:
        return [Frame(np.zeros((64, 64), dtype=np.float32), "hu")] * IMAGES

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        self.look()
        await super().publish(topic, key, value)

    def look(self) -> None:
        self.pool = max(self.pool, len(self.flow))
        self.flying = max(self.flying, len(self.flow._tasks))
        self.waiting = max(self.waiting, self.forward.waiting)

    async def read(self) -> None:
        """As Faust's agent does: the next event only once there is room for this one."""
        one = series("1.1").model_copy(
            update={"instances": tuple(f"{number:032x}" for number in range(1200))}
        )
        for offset in range(BURST):
            value = encode(one)  # each message is its own bytes
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
    house = Watched(ring)
    reading = asyncio.create_task(house.read())
    running = [asyncio.create_task(house.flow.run()), asyncio.create_task(house.forward.run())]
    async with asyncio.timeout(300):
        await reading
        while len(house.acknowledged) < BURST:
            await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    house.threads.shutdown()
    assert house.acknowledged == list(range(BURST))
    assert house.waits >= (BURST - POOL) // (BUCKETS[-1] // IMAGES) - 2  # one batch lets so many in
    assert house.pool == POOL
    assert house.flying <= house.flow.in_flight
    assert house.waiting < BUCKETS[-1] + IMAGES * house.flow.decoding
    warm, *rest = house.memory[len(house.memory) // 4 :]
    assert max(rest) - warm < MARGIN
