"""An event's way inside the worker, without Faust: read ahead, most urgent first, acknowledged."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from streams.errors import Park, Reason
from streams.events import FindingsMade, OrderChanged, SeriesReceived, decode, encode
from streams.kafka.consume import Fate, Origin, Settler
from streams.kafka.topics import FINDINGS
from triage import metrics
from triage.inference.batch import BUCKETS
from triage.worker.backlog import Backlog, Entry
from triage.worker.series import Analyst
from triage.worker.urgency import UNKNOWN, URGENT, UrgencyHints, keys_of

_BATCH = BUCKETS[-1]
_URGENT_BATCHES = 4  # prepared images take memory: more urgent ones than this wait as events
_TOLD_AT_ONCE = 64  # late series, as the broker confirms them


@dataclass(frozen=True)
class Taken:
    """One event of `series` as it came.

    Attributes:
        acknowledge: tells Kafka that it is done.
        since: when it was read, monotonic seconds.
        series: None where the event cannot be read.
        due: when it is late, monotonic seconds.
    """

    origin: Origin
    acknowledge: Callable[[], None]
    since: float
    series: SeriesReceived | None
    due: float


@dataclass
class Intake:
    """Everything between a topic and its answer.

    Attributes:
        generation: of the consumer, now.
        deadline_s: seconds after its last image from which a series is late: that is told then,
            and it is screened when nothing else waits.
        concurrent_decodes: series that are decoded at once.
        in_flight: series between decoding and the broker's confirmation at once, those that are
            decoded included; a quarter more while an urgent one waits.
        read_ahead: events that are read and not yet acknowledged, at most.
        clock: monotonic seconds.
        stopped: set when going on would lose something.
    """

    analyst: Analyst
    settler: Settler
    publish: Callable[[str, str, bytes], Awaitable[None]]
    generation: Callable[[], int]
    deadline_s: float
    concurrent_decodes: int = 3
    in_flight: int = 96
    read_ahead: int = 8192
    clock: Callable[[], float] = time.monotonic
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._backlog: Backlog[Taken] = Backlog(self.read_ahead)
        self._hints = UrgencyHints()
        self._room = asyncio.Condition()
        self._work = asyncio.Event()
        self._slots = asyncio.Semaphore(self.concurrent_decodes)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._backlog)

    @property
    def under_way(self) -> int:
        """Series that are worked on now."""
        return len(self._tasks)

    def on_order(self, value: bytes) -> None:
        """An event of `orders`: no more than a hint, so the worklist parks what cannot be read."""
        try:
            event = decode(value)
        except Park:
            return
        if isinstance(event, OrderChanged):
            urgency = self._hints.remember(event)
            self._backlog.raise_urgency(keys_of(event), urgency)
            if urgency <= URGENT:
                self.look_for_work()

    async def on_series(
        self, origin: Origin, generation: int, acknowledge: Callable[[], None]
    ) -> None:
        """One event of `series`; returns once there is room for it."""
        series = _series(origin.value)
        taken = Taken(origin, acknowledge, self.clock(), series, self._due(series))
        urgency = UNKNOWN if series is None else self._hints.of(series)
        async with self._room:
            self._backlog.start_generation(self.generation())
            self._make_room()
            await self._room.wait_for(
                lambda: not self._backlog.full or generation != self.generation()
            )
            self._backlog.start_generation(self.generation())
            entry = self._backlog.add(
                origin.topic,
                origin.partition,
                origin.offset,
                generation,
                urgency,
                taken,
                () if series is None else (*keys_of(series), _part(series)),
            )
            if entry is not None and series is not None:
                self._drop_superseded(entry, series)
        metrics.backlog_events.set(len(self._backlog))
        self.look_for_work()

    def _due(self, series: SeriesReceived | None) -> float:
        """Its deadline counts from its last image, wherever the event lay meanwhile."""
        waited_s = 0.0
        if series is not None:
            waited_s = (self.analyst.now() - series.version.time).total_seconds()
        return self.clock() + self.deadline_s - max(0.0, waited_s)

    def _drop_superseded(self, new: Entry[Taken], series: SeriesReceived) -> None:
        """What waits and names no instance that another event of its part does not is dropped."""
        for old in sorted(self._backlog.named([_part(series)]), key=lambda entry: entry.arrival):
            if old is new or old.value.series is None or not self._backlog.waits(old):
                continue
            if covers(series, old.value.series):
                self._drop(old)
            elif covers(old.value.series, series):
                self._drop(new)
                return

    def _make_room(self) -> None:
        """What is late, and was told so, is not screened where the backlog is full."""
        while self._backlog.full and (entry := self._backlog.oldest_late()) is not None:
            metrics.late_dropped.inc()
            self._drop(entry)

    def _drop(self, entry: Entry[Taken]) -> None:
        for ready in self._backlog.finish(entry):
            ready.value.acknowledge()

    def look_for_work(self) -> None:
        """Something changed that may let another series in; called at each batch, too."""
        self._work.set()

    async def run(self) -> None:
        """Works until cancelled, or until an outcome says stop (`stopped` is set)."""
        while not self.stopped.is_set():
            await self._slots.acquire()
            entry = await self._next()
            task = asyncio.create_task(self._process(entry, CallOnce(self._slots.release)))
            self._tasks.add(task)
            task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.look_for_work()

    async def _next(self) -> Entry[Taken]:
        while True:
            self._work.clear()
            self._backlog.start_generation(self.generation())
            if (entry := self._take()) is not None:
                return entry
            await self._work.wait()

    def _take(self) -> Entry[Taken] | None:
        """The backlog's next one.

        Only urgent ones still go in where `in_flight` is reached or a whole batch waits already.
        """
        waiting = self.analyst.queue.waiting
        if self.under_way < self.in_flight and waiting < _BATCH:
            return self._backlog.take()
        most = self.in_flight + self.in_flight // 4
        if self.under_way < most and waiting < _URGENT_BATCHES * _BATCH:
            return self._backlog.take(URGENT)
        return None

    async def _process(self, entry: Entry[Taken], decoded: CallOnce) -> None:
        taken, made = entry.value, list[FindingsMade]()
        try:
            work = partial(self._answer, entry, made, decoded)
            fate = await self.settler.settle(work, taken.origin)
            late = fate is Fate.ACK and any(one.reason is Reason.LATE for one in made)
            if fate is Fate.PARK and taken.series is not None:
                # Parked, and nobody will look at it: the row must not wait for that.
                told = made or self.analyst.given_up(taken.series)
                say = partial(self._publish, entry, told)
                fate = await self.settler.settle(say, taken.origin, may_park=False)
            if fate is Fate.STOP:
                self.stopped.set()
                return
            if late and not entry.late:
                self._backlog.postpone(entry)
                return
            await self._finish(entry)
            metrics.screen_seconds.observe(self.clock() - taken.since)
        finally:
            decoded()

    async def _answer(
        self, entry: Entry[Taken], made: list[FindingsMade], decoded: CallOnce
    ) -> None:
        """Screens the series and publishes what was found; `made` keeps it for a retry."""
        if not self._ours(entry):
            return
        taken = entry.value
        event = taken.series or decode(taken.origin.value)  # a poison event is parked in its turn
        if not isinstance(event, SeriesReceived) or not event.readable:
            return
        if not made:
            left_s = taken.due - self.clock()
            if left_s <= 0:  # told so, or taken before that was due to be told
                left_s = math.inf if entry.late else self.deadline_s
            made.extend(await self.analyst.analyse(event, _Urgency(entry), left_s, decoded))
        await self._publish(entry, made)

    async def _publish(self, entry: Entry[Taken], made: Sequence[FindingsMade]) -> None:
        key = entry.value.origin.key.decode("ascii", "replace")
        for finding in made:
            await self.publish(FINDINGS.name, key, encode(finding))

    async def tell_late(self) -> None:
        """Says of each series that waited too long that it is late; to be called each second."""
        now = self.clock()
        late = [entry for entry in self._backlog.waiting if entry.value.due <= now]
        for at in range(0, len(late), _TOLD_AT_ONCE):
            await asyncio.gather(*map(self._tell_late, late[at : at + _TOLD_AT_ONCE]))
        async with self._room:
            self._make_room()
            self._room.notify_all()

    async def _tell_late(self, entry: Entry[Taken]) -> None:
        taken = entry.value
        if taken.series is None or not taken.series.readable or not self._ours(entry):
            return
        work = partial(self._publish, entry, self.analyst.late(taken.series))
        fate = await self.settler.settle(work, taken.origin)
        if fate is Fate.STOP:
            self.stopped.set()
        elif self._ours(entry) and self._backlog.waits(entry):
            self._backlog.postpone(entry)

    def _ours(self, entry: Entry[Taken]) -> bool:
        self._backlog.start_generation(self.generation())
        return self._backlog.current(entry)

    async def _finish(self, entry: Entry[Taken]) -> None:
        async with self._room:
            if self._ours(entry):
                for ready in self._backlog.finish(entry):
                    ready.value.acknowledge()
            self._room.notify_all()
        metrics.backlog_events.set(len(self._backlog))

    async def wake_readers(self) -> None:
        """After a rebalance: a reader that waits for room holds an event of a lost generation.

        Work is looked for again, too.
        """
        async with self._room:
            self._room.notify_all()
        self.look_for_work()

    async def drain(self, within_s: float) -> None:
        """Waits for what is under way, at most `within_s` seconds.

        The rest is read again by the next worker.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in list(self._tasks):
            task.cancel()


@dataclass(frozen=True)
class _Urgency:
    """As its entry has it when it is asked.

    An order that comes late still moves images that wait for a batch.
    """

    entry: Entry[Taken]

    def __int__(self) -> int:
        return self.entry.urgency


class CallOnce:
    """Calls `function` the first time only."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def _part(series: SeriesReceived) -> str:
    """The part of a series whose events name the same instances and more, again and again."""
    return f"part {series.gateway} {series.reference} {series.series_uid}"


def covers(new: SeriesReceived, old: SeriesReceived) -> bool:
    """Whether `new` says of the same part of a series all that `old` says, or more."""
    if (new.study_uid, new.series_uid, new.patient) != (old.study_uid, old.series_uid, old.patient):
        return False
    return set(old.names()) <= set(new.names())


def _series(value: bytes) -> SeriesReceived | None:
    try:
        event = decode(value)
    except Park:
        return None
    return event if isinstance(event, SeriesReceived) else None
