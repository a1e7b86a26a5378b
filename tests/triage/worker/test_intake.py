"""The flow without Kafka: order of work, late series, lost generations, publishing that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from streams.errors import Park, Reason, Unavailable
from streams.events import FindingsMade, OrderChanged, SeriesReceived, Version, decode, encode
from streams.kafka.consume import Origin, Settler
from streams.seal import KeyRing
from triage.decoding.child import Request
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.inference.queue import Forward
from triage.worker.constancy import Constancy, Reference
from triage.worker.intake import Flow
from triage.worker.series import Analyst, Resident, Verdict

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


def series(study: str, modality: str = "CT") -> SeriesReceived:
    return SeriesReceived(
        event_id="ab" * 16,
        sender="ct",
        received_at=NOW,
        version=Version(time=NOW, digest="cd" * 8),
        study_uid=study,
        accessions=(f"A{study}",),
        series_uid=f"{study}.1",
        gateway="g",
        reference="ab/cd",
        instances=("ab" * 16,),
        sop_class="1.2",
        modality=modality,
    )


def order(study: str, priority: str) -> OrderChanged:
    return OrderChanged(
        event_id="ab" * 16,
        sender="ris",
        received_at=NOW,
        version=Version(time=NOW, digest="cd" * 8),
        accessions=(f"A{study}",),
        priority=priority,
    )


def prepare(frames: Sequence[Frame]) -> NDArray[np.float32]:
    return np.stack([frame.pixels[None] for frame in frames])


def network(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images[:, 0, 0, 0]


def judge(scores: NDArray[np.float32], _images: NDArray[np.float32]) -> Verdict:
    return Verdict("flagged" if scores.max() > 0.5 else "not_flagged")


def broken(_images: NDArray[np.float32]) -> NDArray[np.float32]:
    raise RuntimeError("CUDA error")


def refuse(_frames: Sequence[Frame]) -> NDArray[np.float32]:
    raise NotAnalysed(Reason.BAD_GEOMETRY)


def only_ct(event: SeriesReceived) -> Reason | None:
    return None if event.modality == "CT" else Reason.OUTSIDE_MODALITY


class House:
    """One flow with its parts; what it published, acknowledged and decoded."""

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
        self.forward = Forward({"p": network})
        resident = Resident("p", "1", only_ct, 24, True, prepare, network, judge)
        self.analyst = Analyst(
            [resident],
            self.decode,
            self.forward,
            lambda r, n: Path("/", r, n),
            self.threads,
            lambda: NOW,
        )
        settler = Settler("triage", ring, self.publish, lambda: NOW, sleep=self.sleep)
        self.flow = Flow(
            self.analyst,
            settler,
            self.publish,
            lambda: self.epoch,
            deadline_s,
            decoding=1,
            read_ahead=6000,
            clock=lambda: self.now,
        )

    def decode(self, _request: Request) -> list[Frame]:
        return [self.frame]

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
        await self.flow.take_in(origin, generation, lambda: self.acknowledged.append(offset))

    def findings(self) -> list[FindingsMade]:
        return [
            event for _, value in self.published if isinstance(event := decode(value), FindingsMade)
        ]

    async def work(self, until: int, also: int = 0) -> None:
        running = [asyncio.create_task(self.flow.run()), asyncio.create_task(self.forward.run())]
        for _ in range(20000):
            await asyncio.sleep(0.001)
            if len(self.published) >= until and len(self.acknowledged) >= also:
                break
        await self.flow.drain(1)
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.threads.shutdown()


async def test_a_series_becomes_one_finding_for_each_package(ring: KeyRing) -> None:
    house = House(ring, value=1.0)
    await house.put(0, series("1.1"))
    await house.put(1, series("1.2", "MR"))
    await house.work(2, also=2)
    found = {event.study_uid: event for event in house.findings()}
    assert (found["1.1"].outcome, found["1.1"].package, found["1.1"].package_version) == (
        "flagged",
        "p",
        "1",
    )
    assert (found["1.2"].outcome, found["1.2"].reason) == ("not_analysed", Reason.OUTSIDE_MODALITY)
    assert house.acknowledged == [0, 1]


async def test_the_same_series_again_gives_the_same_event_id(ring: KeyRing) -> None:
    house = House(ring)
    await house.put(0, series("1.1"))
    await house.put(1, series("1.1"))
    await house.work(2)
    first, second = house.findings()
    assert first.event_id == second.event_id


async def test_poison_is_parked_and_the_next_one_is_done(ring: KeyRing) -> None:
    house = House(ring)
    await house.put(0, b"noise")
    await house.put(1, series("1.1"))
    await house.work(2, also=2)
    assert sorted(topic for topic, _ in house.published) == ["findings", "parked"]
    assert house.acknowledged == [0, 1]


async def test_an_urgent_study_behind_5000_routine_ones_is_screened_within_two(
    ring: KeyRing,
) -> None:
    house = House(ring)
    for offset in range(5000):
        await house.put(offset, series(f"2.{offset}"))
    await house.put(5000, series("1.1"))
    house.flow.learn(encode(order("1.1", "stat")))
    await house.work(4)
    assert "1.1" in [event.study_uid for event in house.findings()][:2]


async def test_late_is_said_not_hidden(ring: KeyRing) -> None:
    house = House(ring, value=1.0, deadline_s=60)
    await house.put(0, series("1.1"))
    house.now = 61
    await house.work(1, also=1)
    (event,) = house.findings()
    assert (event.outcome, event.reason) == ("not_analysed", Reason.LATE)


async def test_a_lost_generation_is_neither_worked_on_nor_acknowledged(ring: KeyRing) -> None:
    house = House(ring)
    for offset in range(3):
        await house.put(offset, series(f"1.{offset}"))
    house.gate.clear()

    async def rebalance() -> None:
        await asyncio.sleep(0.1)
        house.epoch = 2
        await house.put(
            3, series("1.3"), generation=1
        )  # still in Faust's buffer: of the old generation
        await house.put(1, series("1.1"), generation=2)
        house.gate.set()

    turning = asyncio.create_task(rebalance())
    await house.work(2, also=1)
    await turning
    assert house.acknowledged == [1]
    assert "1.3" not in {event.study_uid for event in house.findings()}


async def test_nothing_is_acknowledged_before_the_broker_confirmed(ring: KeyRing) -> None:
    house = House(ring)
    house.down = 7  # more than a retry's attempts: a broker that is down is waited for
    await house.put(0, series("1.1"))
    await house.work(1, also=1)
    assert house.down == 0
    assert len(house.findings()) == 1
    assert house.acknowledged == [0]


@pytest.mark.parametrize("wrong", ["nan", "raises"])
async def test_a_network_that_fails_is_a_reason(ring: KeyRing, wrong: str) -> None:
    house = House(ring, value=float("nan") if wrong == "nan" else 0.0)
    if wrong == "raises":
        house.analyst.forward = house.forward = Forward({"p": broken})
    await house.put(0, series("1.1"))
    await house.work(1)
    (event,) = house.findings()
    assert event.reason is Reason.MODEL_FAILED


async def test_promise_3_a_package_that_drifted_goes_on_scoring_and_says_so_until_it_passes(
    ring: KeyRing,
) -> None:
    house = House(ring, value=0.75)
    running = asyncio.create_task(house.forward.run())
    made = []
    for expected in (0.75, 0.5, 0.75):
        await Constancy(house.analyst, [Reference("p", (house.frame,), expected, 0.01)]).once()
        assert REGISTRY.get_sample_value("vigie_triage_constancy_ok", {"package": "p"}) == (
            expected == 0.75
        )
        made += await house.analyst.analyse(series("1.1"), 0, 60)
    assert [(event.outcome, event.constancy) for event in made] == [
        ("flagged", True),
        ("flagged", False),
        ("flagged", True),
    ]
    assert made[0].event_id == made[2].event_id != made[1].event_id
    running.cancel()


async def test_what_was_scored_while_the_check_failed_is_doubted_though_it_passed_meanwhile(
    ring: KeyRing,
) -> None:
    house = House(ring, value=0.75)
    running = asyncio.create_task(house.forward.run())
    house.analyst.drifted.add("p")
    (event,) = await house.analyst.analyse(series("1.1"), 0, 60, house.analyst.drifted.clear)
    assert (event.outcome, event.constancy) == ("flagged", False)
    running.cancel()


@pytest.mark.parametrize("wrong", ["nan", "raises", "unprepared"])
async def test_a_package_that_gives_its_references_no_score_screens_nothing_until_it_does(
    ring: KeyRing, wrong: str
) -> None:
    house = House(ring, value=0.25)
    networks: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "nan": lambda images: np.full(len(images), np.nan)
    }
    good, references = house.forward, [Reference("p", (house.frame,), 0.25, 0.01)]
    if wrong == "unprepared":
        resident = house.analyst.residents[0]
        house.analyst.residents = [replace(resident, prepare=refuse)]
    else:
        house.analyst.forward = Forward({"p": networks.get(wrong, broken)})
    running = [asyncio.create_task(forward.run()) for forward in (house.analyst.forward, good)]
    await Constancy(house.analyst, references).once()
    assert (house.analyst.failed, house.analyst.drifted) == ({"p"}, set())
    (event,) = await house.analyst.analyse(series("1.1"), 0, 60)
    assert event.reason is Reason.MODEL_FAILED
    house.analyst.forward, house.analyst.residents = (
        good,
        [replace(house.analyst.residents[0], prepare=prepare)],
    )
    await Constancy(house.analyst, references).once()
    assert house.analyst.failed == set()
    for task in running:
        task.cancel()


async def test_decoder_reasons_reach_the_finding(ring: KeyRing) -> None:
    house = House(ring)

    def no_decoder(_request: Request) -> list[Frame]:
        raise NotAnalysed(Reason.NO_DECODER)

    house.analyst.decode = no_decoder
    await house.put(0, series("1.1"))
    await house.work(1)
    assert house.findings()[0].reason is Reason.NO_DECODER


def test_orders_that_cannot_be_read_are_left_to_the_worklist(ring: KeyRing) -> None:
    with pytest.raises(Park):
        decode(b"noise")
    House(ring).flow.learn(b"noise")
