"""`settle`, where an outcome becomes ack, retry, park or stop: no exception leaves it."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest

from streams.errors import Park, Reason, Refuse, Retry, Stop, Unavailable, VigieError
from streams.events import Parked, decode
from streams.identity.seal import KeyRing
from streams.kafka.consume import Fate, Origin, Settler

ORIGIN = Origin("orders", 2, 17, b"\x00key", b"MARTIN^Anne")
RING = KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32)
NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


class Bench:
    """A settler with what it published and how long it paused."""

    def __init__(
        self,
        *,
        parking: VigieError | None = None,
        attempts: int = 5,
        park_limit: int = 100,
        chance: float = 1.0,
    ) -> None:
        self.parked: list[tuple[str, str, Parked]] = []
        self.pauses: list[float] = []
        self._parking = parking
        self.settler = Settler(
            "test",
            RING,
            self._publish,
            lambda: NOW,
            self._sleep,
            lambda: chance,
            attempts,
            park_limit,
        )

    async def _publish(self, topic: str, key: str, value: bytes) -> None:
        if self._parking:
            raise self._parking
        event = decode(value)
        assert isinstance(event, Parked)
        self.parked.append((topic, key, event))

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def settle(self, *outcomes: Exception | None, may_park: bool = True) -> Fate:
        return await self.settler.settle(after(outcomes), ORIGIN, may_park=may_park)


def after(outcomes: Iterable[Exception | None]) -> Callable[[], Awaitable[None]]:
    left = iter(outcomes)

    async def work() -> None:
        if (error := next(left, None)) is not None:
            raise error

    return work


async def test_done_is_acknowledged() -> None:
    bench = Bench()
    assert await bench.settle(None) is Fate.ACK
    assert (bench.parked, bench.pauses) == ([], [])


async def test_a_transient_failure_is_tried_again_in_place_with_growing_pauses() -> None:
    bench = Bench()
    assert await bench.settle(*[Retry(Reason.DATABASE_DOWN)] * 4, None) is Fate.ACK
    assert bench.pauses == sorted(bench.pauses)
    assert bench.pauses == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert bench.parked == []


async def test_a_transient_failure_that_does_not_pass_is_parked_with_its_attempts() -> None:
    bench = Bench(attempts=3)
    assert await bench.settle(*[Retry(Reason.STORE_MISSING)] * 9) is Fate.PARK
    ((_, _, event),) = bench.parked
    assert (event.reason, event.attempts) == (Reason.STORE_MISSING, 3)


async def test_a_dependency_that_is_down_is_waited_for_and_pauses_stay_short() -> None:
    bench = Bench()
    assert await bench.settle(*[Unavailable(Reason.DATABASE_DOWN)] * 300, None) is Fate.ACK
    assert len(bench.pauses) == 300
    assert max(bench.pauses) == 5.0
    assert bench.parked == []


async def test_pauses_are_jittered_between_half_and_whole() -> None:
    short, long = Bench(chance=0.0), Bench(chance=1.0)
    for bench in (short, long):
        await bench.settle(Unavailable(Reason.BROKER_DOWN))
    assert short.pauses[0] * 2 == pytest.approx(long.pauses[0])


async def test_what_can_never_succeed_is_parked_whole_and_sealed() -> None:
    bench = Bench()
    assert await bench.settle(Park(Reason.BAD_EVENT)) is Fate.PARK
    ((topic, key, event),) = bench.parked
    assert topic == "parked"
    assert base64.b64decode(event.key) == ORIGIN.key
    assert base64.b64decode(key) == ORIGIN.key
    assert (event.topic, event.partition, event.offset, event.stage, event.parked_at) == (
        "orders",
        2,
        17,
        "test",
        NOW,
    )
    assert RING.open(event.original) == ORIGIN.value


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("MARTIN"),
        KeyError("MARTIN"),
        ExceptionGroup("x", [ValueError("MARTIN")]),
        Refuse(Reason.BAD_FIELD),
        RecursionError(),
        MemoryError(),
        AssertionError("MARTIN"),
    ],
)
async def test_promise_8_what_nobody_foresaw_is_parked_and_its_words_are_told_nowhere(
    error: Exception,
) -> None:
    bench = Bench()
    with structlog.testing.capture_logs() as logs:
        assert await bench.settle(error) is Fate.PARK
    assert bench.parked[0][2].reason is Reason.UNEXPECTED
    assert "MARTIN" not in str(logs)
    assert "MARTIN" not in bench.parked[0][2].model_dump_json()
    assert b"MARTIN" not in generate_latest(REGISTRY)
    assert any(
        line.get("file", "").endswith("test_consume.py") for line in logs
    )  # where it rose is told


async def test_stop_ends_the_process_and_parks_nothing() -> None:
    bench = Bench()
    assert await bench.settle(Stop(Reason.UNEXPECTED)) is Fate.STOP
    assert bench.parked == []


@pytest.mark.parametrize("parking", [Unavailable(Reason.BROKER_DOWN), Park(Reason.TOO_LARGE)])
async def test_when_parking_fails_it_stops(parking: VigieError) -> None:
    assert await Bench(parking=parking).settle(Park(Reason.BAD_EVENT)) is Fate.STOP


@pytest.mark.parametrize("ours", [Park(Reason.BAD_SEAL), ValueError("x"), Retry(Reason.OVERLOADED)])
async def test_too_many_faults_of_ours_in_a_row_stop_and_one_success_starts_the_count_anew(
    ours: Exception,
) -> None:
    bench = Bench(park_limit=3, attempts=1)
    for outcome in (ours, ours, ours, None, ours, ours, ours):
        assert await bench.settle(outcome) is not Fate.STOP
    assert await bench.settle(ours) is Fate.STOP
    assert len(bench.parked) == 6


async def test_one_senders_bad_messages_in_a_row_are_parked_and_stop_nobody() -> None:
    bench = Bench(park_limit=3)
    for _ in range(20):
        assert await bench.settle(Park(Reason.BAD_EVENT)) is Fate.PARK
        assert await bench.settle(Park(Reason.NO_STUDY_KEY)) is Fate.PARK
    assert len(bench.parked) == 40
    # They start no count anew either: they say nothing of us.
    outcomes = (*[Park(Reason.CONSTRAINT)] * 3, Park(Reason.BAD_EVENT), Park(Reason.CONSTRAINT))
    assert [await bench.settle(outcome) for outcome in outcomes][-1] is Fate.STOP


async def test_a_batch_is_never_parked_whole() -> None:
    bench = Bench(park_limit=0)
    assert await bench.settle(Park(Reason.BAD_EVENT), may_park=False) is Fate.PARK
    assert await bench.settle(RuntimeError(), may_park=False) is Fate.PARK
    assert bench.parked == []
    assert await bench.settle(RuntimeError()) is Fate.STOP


OUTCOMES = st.sampled_from(
    [
        None,
        Park(Reason.BAD_EVENT),
        Retry(Reason.OVERLOADED),
        Unavailable(Reason.BROKER_DOWN),
        Stop(Reason.UNEXPECTED),
        ValueError("x"),
    ]
)


@settings(max_examples=3 * settings.default.max_examples // 5)
@given(
    outcomes=st.lists(OUTCOMES, max_size=12),
    parking=st.sampled_from([None, Unavailable(Reason.BROKER_DOWN)]),
)
async def test_promise_1_whatever_happens_an_event_is_done_or_parked_or_not_acknowledged(
    outcomes: list[Exception | None], parking: VigieError | None
) -> None:
    bench = Bench(parking=parking)
    done = False
    play = after(outcomes)

    async def work() -> None:
        nonlocal done
        await play()
        done = True

    fate = await bench.settler.settle(work, ORIGIN)
    assert (fate is Fate.ACK) == done
    assert (fate is Fate.PARK) == (len(bench.parked) == 1)
