"""An intake with its parts and no Kafka: what it published, acknowledged and decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason, Unavailable
from streams.events import (
    FindingsMade,
    Number,
    OrderChanged,
    SeriesReceived,
    Version,
    decode,
    encode,
)
from streams.identity.seal import KeyRing
from streams.instances import pack
from streams.kafka.consume import Origin, Settler
from triage.decoding.frames import Decoded, Frame, Read
from triage.decoding.protocol import Request, Wanted
from triage.inference.queue import BatchQueue
from triage.judging.bodies import Unlike
from triage.worker.intake import Intake
from triage.worker.loaded_model import LoadedModel, Verdict
from triage.worker.series import Analyst

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


def series(study: str, modality: str = "CT") -> SeriesReceived:
    return SeriesReceived(
        event_id="ab" * 16,
        sender="ct",
        received_at=NOW,
        version=Version(time=NOW, message_time=NOW, digest="cd" * 8),
        study_uid=study,
        numbers=(Number(kind="accession", value=f"A{study}"),),
        series_uid=f"{study}.1",
        gateway="g",
        reference="ab/cd",
        instances=pack(["ab" * 8]),
        sop_class="1.2",
        modality=modality,
    )


def order(study: str, priority: str) -> OrderChanged:
    return OrderChanged(
        event_id="ab" * 16,
        sender="ris",
        received_at=NOW,
        version=Version(time=NOW, message_time=NOW, digest="cd" * 8),
        numbers=(Number(kind="accession", value=f"A{study}"),),
        priority=priority,
    )


def prepare(frames: Sequence[Frame]) -> NDArray[np.float32]:
    return np.stack([frame.pixels[None] for frame in frames])


def network(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images[:, 0, 0, 0]


def judge(scores: NDArray[np.float32], _unlike: Unlike | None) -> Verdict:
    return Verdict("flagged" if scores.max() > 0.5 else "not_flagged")


def only_ct(event: SeriesReceived) -> Reason | None:
    return None if event.modality == "CT" else Reason.OUTSIDE_MODALITY


def broken(_images: NDArray[np.float32]) -> NDArray[np.float32]:
    raise RuntimeError("CUDA error")


class Harness:
    """One intake with its parts; what it published, acknowledged and decoded."""

    def __init__(self, ring: KeyRing, *, value: float = 0.0, deadline_s: float = 60.0) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.acknowledged: list[int] = []
        self.down = 0
        self.now = 0.0
        self.epoch = 1
        self.frame = Frame(np.full((4, 4), value, dtype=np.float32), "hu", 0.0)
        self.gate = asyncio.Event()
        self.gate.set()
        self.threads = ThreadPoolExecutor(1)
        self.queue = BatchQueue({"p": network})
        model = LoadedModel("p", "1", only_ct, Wanted(axial=True), prepare, network, judge)
        self.analyst = Analyst(
            [model],
            self.decode,
            self.queue,
            lambda r, n: Path("/", r, n),
            self.threads,
            lambda: NOW,
        )
        settler = Settler("triage", ring, self.publish, lambda: NOW, sleep=self.sleep)
        self.intake = Intake(
            self.analyst,
            settler,
            self.publish,
            lambda: self.epoch,
            deadline_s,
            concurrent_decodes=1,
            read_ahead=6000,
            clock=lambda: self.now,
        )

    def decode(self, _request: Request) -> Decoded:
        return Decoded([self.frame], Read(1, 1))

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)

    async def publish(self, topic: str, _key: str, value: bytes) -> None:
        await self.gate.wait()
        if self.down:
            self.down -= 1
            raise Unavailable(Reason.BROKER_DOWN)
        self.published.append((topic, value))

    async def put(self, offset: int, event: SeriesReceived | bytes, generation: int = 1) -> None:
        value = event if isinstance(event, bytes) else encode(event)
        origin = Origin("series", 0, offset, b"key", value)
        await self.intake.on_series(origin, generation, lambda: self.acknowledged.append(offset))

    def findings(self) -> list[FindingsMade]:
        return [
            event for _, value in self.published if isinstance(event := decode(value), FindingsMade)
        ]

    def start(self) -> list[asyncio.Task[None]]:
        """Intake and batches, until cancelled."""
        return [
            asyncio.create_task(self.intake.run()),
            asyncio.create_task(self.queue.run(self.intake.look_for_work)),
        ]

    async def work(self, until: int, also: int = 0) -> None:
        running = self.start()
        for _ in range(20000):
            await asyncio.sleep(0.001)
            if len(self.published) >= until and len(self.acknowledged) >= also:
                break
        await self.intake.drain(1)
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.threads.shutdown()
