"""The way of an event inside triage, without Faust: read ahead, most urgent first, settle,
acknowledge the prefix.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from streams.errors import Park
from streams.events import FindingsMade, OrderChanged, SeriesReceived, decode, encode
from streams.kafka.consume import Fate, Origin, Settler
from streams.kafka.topics import FINDINGS
from triage import metrics
from triage.inference.batch import BUCKETS
from triage.worker.backlog import Entry, Pool
from triage.worker.series import Analyst
from triage.worker.urgency import UNKNOWN, URGENT, Hints

log = structlog.get_logger()
_BATCH = BUCKETS[-1]
_URGENT_BATCHES = 4  # prepared images take memory: more urgent ones than this wait as events


@dataclass(frozen=True)
class Taken:
    """One event of `series` as it came. `acknowledge` is Kafka's; `since` is when it was read,
    monotonic seconds.
    """

    origin: Origin
    acknowledge: Callable[[], None]
    since: float
    series: SeriesReceived | None


@dataclass
class Flow:
    """Everything between a topic and its answer.

    Attributes:
        generation: of the consumer, now.
        decoding: series in the jail at once.
        in_flight: series between the jail and the broker's confirmation at once, those in the jail
            included; a quarter more while an urgent one waits.
    """

    analyst: Analyst
    settler: Settler
    publish: Callable[[str, str, bytes], Awaitable[None]]
    generation: Callable[[], int]
    deadline_s: float
    decoding: int = 3
    in_flight: int = 96
    read_ahead: int = 8192
    clock: Callable[[], float] = time.monotonic
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._pool: Pool[Taken] = Pool(self.read_ahead)
        self._hints = Hints()
        self._room = asyncio.Condition()
        self._work = asyncio.Event()
        self._slots = asyncio.Semaphore(self.decoding)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._pool)

    def learn(self, value: bytes) -> None:
        """An event of `orders`: a hint, so what cannot be read is left to the worklist, which parks
        it.
        """
        try:
            event = decode(value)
        except Park:
            return
        if isinstance(event, OrderChanged):
            urgency = self._hints.learn(event)
            if urgency <= URGENT:
                self._pool.raise_urgency((*event.accessions, *event.study_uids), urgency)
                self._work.set()

    async def take_in(
        self, origin: Origin, generation: int, acknowledge: Callable[[], None]
    ) -> None:
        """One event of `series`; returns once there is room for it."""
        series = _series(origin.value)
        taken = Taken(origin, acknowledge, self.clock(), series)
        urgency = UNKNOWN if series is None else self._hints.of(series)
        async with self._room:
            self._pool.turn(self.generation())
            await self._room.wait_for(
                lambda: not self._pool.full or generation != self.generation()
            )
            self._pool.turn(self.generation())
            self._pool.add(
                origin.topic,
                origin.partition,
                origin.offset,
                generation,
                urgency,
                taken,
                _keys(series),
            )
        metrics.pool_events.set(len(self._pool))
        self._work.set()

    async def run(self) -> None:
        """Works until cancelled, or until an outcome says stop (`stopped` is set)."""
        self.analyst.forward.taken = self._work.set
        while not self.stopped.is_set():
            await self._slots.acquire()
            entry = await self._next()
            task = asyncio.create_task(self._one(entry, _Once(self._slots.release)))
            self._tasks.add(task)
            task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._work.set()

    async def _next(self) -> Entry[Taken]:
        while True:
            self._work.clear()
            self._pool.turn(self.generation())
            if (entry := self._take()) is not None:
                return entry
            await self._work.wait()

    def _take(self) -> Entry[Taken] | None:
        """The pool's next one. Behind a whole batch that waits already, or a full house, only
        urgent ones still go in.
        """
        flying, waiting = len(self._tasks), self.analyst.forward.waiting
        if flying < self.in_flight and waiting < _BATCH:
            return self._pool.take()
        if flying < self.in_flight + self.in_flight // 4 and waiting < _URGENT_BATCHES * _BATCH:
            return self._pool.take(URGENT)
        return None

    async def _one(self, entry: Entry[Taken], decoded: _Once) -> None:
        try:
            taken, made = entry.value, list[FindingsMade]()

            async def work() -> None:
                if not self._ours(entry):
                    return
                event = taken.series or decode(
                    taken.origin.value
                )  # a poison event is parked here, in its turn
                if not isinstance(event, SeriesReceived) or not event.readable:
                    return
                if not made:  # a retry publishes again; it does not screen again
                    left = self.deadline_s - (self.clock() - taken.since)
                    made.extend(await self.analyst.analyse(event, _Urgency(entry), left, decoded))
                key = taken.origin.key.decode("ascii", "replace")
                for finding in made:
                    await self.publish(FINDINGS.name, key, encode(finding))

            if await self.settler.settle(work, taken.origin) is Fate.STOP:
                self.stopped.set()
                return
            await self._finish(entry)
            metrics.screen_seconds.observe(self.clock() - taken.since)
        finally:
            decoded()

    def _ours(self, entry: Entry[Taken]) -> bool:
        self._pool.turn(self.generation())
        return self._pool.current(entry)

    async def _finish(self, entry: Entry[Taken]) -> None:
        async with self._room:
            if self._ours(entry):
                for ready in self._pool.finish(entry):
                    ready.value.acknowledge()
            self._room.notify_all()
        metrics.pool_events.set(len(self._pool))

    async def wake_readers(self) -> None:
        """After a rebalance: a reader that waits for room holds an event of a lost generation. Work
        is looked for again too.
        """
        async with self._room:
            self._room.notify_all()
        self._work.set()

    async def drain(self, within_s: float) -> None:
        """Waits for what is under way, at most `within_s` seconds; the rest is read again by the
        next worker.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in list(self._tasks):
            task.cancel()


@dataclass(frozen=True)
class _Urgency:
    """As its entry has it when it is asked: an order that comes late still moves images that wait
    for a batch.
    """

    entry: Entry[Taken]

    def __int__(self) -> int:
        return self.entry.urgency


class _Once:
    """Calls `what` the first time."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    def __call__(self) -> None:
        what, self._what = self._what, None
        if what is not None:
            what()


def _series(value: bytes) -> SeriesReceived | None:
    try:
        event = decode(value)
    except Park:
        return None
    return event if isinstance(event, SeriesReceived) else None


def _keys(series: SeriesReceived | None) -> tuple[str, ...]:
    """By what an order may name the series."""
    return (
        () if series is None else tuple({*series.accessions, *series.study_uids, series.study_uid})
    )
