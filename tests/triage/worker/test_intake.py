"""The intake without Kafka: order of work, late series, lost generations, publishing that fails."""

from __future__ import annotations

import asyncio

import pytest

from streams.errors import Park, Reason
from streams.events import decode, encode
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import Harness, broken, order, series
from triage.decoding.frames import Decoded, Read
from triage.decoding.protocol import Request
from triage.errors import NotAnalysed
from triage.inference.queue import BatchQueue
from triage.worker import series as worker_series


async def test_a_series_becomes_one_finding_for_each_package(ring: KeyRing) -> None:
    harness = Harness(ring, value=1.0)
    await harness.put(0, series("1.1"))
    await harness.put(1, series("1.2", "MR"))
    await harness.work(2, also=2)
    found = {event.study_uid: event for event in harness.findings()}
    assert (found["1.1"].outcome, found["1.1"].package, found["1.1"].package_version) == (
        "flagged",
        "p",
        "1",
    )
    assert (found["1.2"].outcome, found["1.2"].reason) == ("not_analysed", Reason.OUTSIDE_MODALITY)
    assert harness.acknowledged == [0, 1]


async def test_the_same_series_again_gives_the_same_event_id(ring: KeyRing) -> None:
    harness = Harness(ring)
    again = Harness(ring)
    for one in (harness, again):
        await one.put(0, series("1.1"))
        await one.work(1)
    assert harness.findings()[0].event_id == again.findings()[0].event_id


async def test_poison_is_parked_and_the_next_one_is_done(ring: KeyRing) -> None:
    harness = Harness(ring)
    await harness.put(0, b"noise")
    await harness.put(1, series("1.1"))
    await harness.work(2, also=2)
    assert sorted(topic for topic, _ in harness.published) == ["findings", "parked"]
    assert harness.acknowledged == [0, 1]


@pytest.mark.slow
async def test_an_urgent_study_behind_5000_routine_ones_is_screened_within_two(
    ring: KeyRing,
) -> None:
    harness = Harness(ring)
    for offset in range(5000):
        await harness.put(offset, series(f"2.{offset}"))
    await harness.put(5000, series("1.1"))
    harness.intake.on_order(encode(order("1.1", "stat")))
    await harness.work(4)
    assert "1.1" in [event.study_uid for event in harness.findings()][:2]


async def test_a_lost_generation_is_neither_worked_on_nor_acknowledged(ring: KeyRing) -> None:
    harness = Harness(ring)
    for offset in range(3):
        await harness.put(offset, series(f"1.{offset}"))
    harness.gate.clear()

    async def rebalance() -> None:
        await asyncio.sleep(0.1)
        harness.epoch = 2
        await harness.put(
            3, series("1.3"), generation=1
        )  # still in Faust's buffer: of the old generation
        await harness.put(1, series("1.1"), generation=2)
        harness.gate.set()

    turning = asyncio.create_task(rebalance())
    await harness.work(2, also=1)
    await turning
    assert harness.acknowledged == [1]
    assert "1.3" not in {event.study_uid for event in harness.findings()}


async def test_nothing_is_acknowledged_before_the_broker_confirmed(ring: KeyRing) -> None:
    harness = Harness(ring)
    harness.down = 7  # more than a retry's attempts: a broker that is down is waited for
    await harness.put(0, series("1.1"))
    await harness.work(1, also=1)
    assert harness.down == 0
    assert len(harness.findings()) == 1
    assert harness.acknowledged == [0]


@pytest.mark.parametrize("wrong", ["nan", "raises"])
async def test_a_network_that_fails_is_a_reason(ring: KeyRing, wrong: str) -> None:
    harness = Harness(ring, value=float("nan") if wrong == "nan" else 0.0)
    if wrong == "raises":
        harness.analyst.queue = harness.queue = BatchQueue({"p": broken})
    await harness.put(0, series("1.1"))
    await harness.work(1)
    (event,) = harness.findings()
    assert event.reason is Reason.MODEL_FAILED


async def test_decoder_reasons_reach_the_finding(ring: KeyRing) -> None:
    harness = Harness(ring)

    def no_decoder(_request: Request) -> Decoded:
        raise NotAnalysed(Reason.NO_DECODER)

    harness.analyst.decode = no_decoder
    await harness.put(0, series("1.1"))
    await harness.work(1)
    assert harness.findings()[0].reason is Reason.NO_DECODER


def test_orders_that_cannot_be_read_are_left_to_the_worklist(ring: KeyRing) -> None:
    with pytest.raises(Park):
        decode(b"noise")
    Harness(ring).intake.on_order(b"noise")


async def test_a_store_that_comes_back_costs_a_moment_not_the_series(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_series, "_STORE_PAUSES_S", (0.0, 0.0, 0.0))
    harness = Harness(ring, value=1.0)
    asked: list[bool] = []

    def away_twice(request: Request) -> Decoded:
        asked.append(request.all_there)
        if len(asked) < 3:
            raise NotAnalysed(Reason.STORE_MISSING)
        return Decoded([harness.frame], Read(1, 1))

    harness.analyst.decode = away_twice
    await harness.put(0, series("1.1"))
    await harness.work(1)
    assert harness.findings()[0].outcome == "flagged"
    assert asked == [True, True, True]


async def test_what_the_store_does_not_give_at_last_is_left_out(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_series, "_STORE_PAUSES_S", (0.0, 0.0))
    harness = Harness(ring, value=1.0)

    def some(request: Request) -> Decoded:
        if request.all_there:
            raise NotAnalysed(Reason.STORE_MISSING)
        return Decoded([harness.frame], Read(1, 1))

    harness.analyst.decode = some
    await harness.put(0, series("1.1"))
    await harness.work(1)
    assert harness.findings()[0].outcome == "flagged"
