"""When the fragments of a series are published, until the broker confirmed them (promise 1)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog
from pydantic import ValidationError

from streams import metrics
from streams.dicom.headers import Facts, merge
from streams.errors import Reason, Unavailable
from streams.events import Number, SeriesReceived, Version, encode
from streams.identity.studykey import digest, topic_key
from streams.instances import MOST_INSTANCES, how_many, pack
from streams.kafka import topics
from streams.storage.store import Store

log = structlog.get_logger()
#: Modalities whose series are made of many single-frame images: one image per association says
#: nothing about the end.
SLICED = frozenset({"CT", "MR", "PT", "NM"})
_LONGEST_HOLD = 10  # quiet times: a sender that never pauses is published at least so often
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
_TICK_S = 1.0
#: Markers of another gateway that are older than this are taken over; a doubled event changes
#: nothing.
_ORPHAN_S, _SWEEP_S = 120.0, 60.0
_REMEMBERED = 4096  # series without a waiting instance whose facts are kept for a late image


class PublisherLike(Protocol):
    """What confirms events: `streams.kafka.produce.Publisher`."""

    def publish_sync(self, topic: str, key: str, value: bytes) -> None:
        """Returns once confirmed; raises Unavailable."""


@dataclass(frozen=True)
class _Waiting:
    """One instance that no confirmed event names yet."""

    since: float  # stored at, Unix seconds
    received_at: datetime
    acquired_at: datetime | None


@dataclass
class _Series:
    """A part of a series: what it has of one patient."""

    facts: Facts
    waiting: dict[str, _Waiting] = field(default_factory=dict)  # by name
    seen: set[str] = field(default_factory=set)
    expected: int | None = None
    due: float = 0.0  # monotonic
    held_since: float = 0.0  # monotonic, of the oldest waiting instance
    failures: int = 0


def event_of(
    facts: Facts, reference: str, names: Sequence[str], gateway: str, announced: int | None
) -> SeriesReceived:
    """The event that says: this gateway holds these instances of this part of a series. The same
    set gives the same id.
    """
    whole = digest(
        gateway.encode(), reference.encode(), facts.statement.encode(), *map(str.encode, names)
    )
    return SeriesReceived(
        event_id=whole,
        sender=facts.sender,
        received_at=facts.first_received,
        version=Version(time=facts.last_received, message_time=facts.last_received, digest=whole),
        patient=facts.patient,
        identity=facts.identity,
        numbers=facts.numbers,
        site=facts.site,
        study_uid=facts.study_uid,
        series_uid=facts.series_uid,
        gateway=gateway,
        reference=reference,
        instances=pack(names),
        sop_class=facts.sop_class,
        modality=facts.modality,
        body_part=facts.body_part,
        description=facts.description,
        series_description=facts.series_description,
        view=facts.view,
        age_years=facts.age_years,
        acquired_at=facts.acquired_at,
        announced=announced,
        readable=facts.readable,
        primary=facts.primary,
        localizer=facts.localizer,
        other_bytes=facts.other_bytes,
        damaged=facts.damaged,
        kind=facts.kind,
    )


class SeriesPublisher:
    """Collects what the door stored, and publishes each series from one thread of its own.

    Args:
        pseudonym: the key of topic keys.
        gateway: name of this gateway in its events.
        quiet_s: silence after which a series is published though nothing says that it ended.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        publisher: PublisherLike,
        *,
        pseudonym: bytes,
        gateway: str,
        quiet_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._publisher = store, publisher
        self._pseudonym, self._gateway, self._quiet_s = pseudonym, gateway, quiet_s
        self._clock = clock
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._announced: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._wake = threading.Condition()
        self._closing = False
        self._swept = 0.0
        # when the oldest marker was stored that cannot be read
        self._unreadable: float | None = None
        self._thread = threading.Thread(target=self._run, name="series-publisher", daemon=True)

    def start(self) -> None:
        """Takes up what a killed gateway left, and begins."""
        self.resume(older_than_s=0.0)
        self._thread.start()

    def stop(self) -> None:
        """Tries once to publish what waits; what fails keeps its marker and is taken up at the next
        start.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs: part of readiness."""
        return self._thread.is_alive()

    def resume(self, *, older_than_s: float) -> None:
        """Takes over markers older than `older_than_s` seconds that nobody here waits for."""
        self._unreadable = None
        for marker in self._store.unpublished():
            if time.time() - marker.since < older_than_s:
                continue
            with self._wake:
                known = self._series.get(marker.reference)
                if known is not None and marker.name in known.waiting:
                    continue
            try:
                facts = Facts.model_validate_json(marker.body)
            except ValidationError:
                # Left where it is: the gauge of the oldest unpublished instance rises until a
                # person looks.
                self._unreadable = min(self._unreadable or marker.since, marker.since)
                continue
            self.added(facts, marker.name, reference=marker.reference, since=marker.since)
            self.finished(marker.reference)
        self._swept = self._clock()

    def added(
        self, facts: Facts, name: str, *, reference: str | None = None, since: float | None = None
    ) -> str:
        """An instance is durable in the store with its marker; the reference of its part of the
        series.
        """
        if reference is None:
            reference = self.reference(facts)
        now = self._clock()
        with self._wake:
            series = self._series.get(reference)
            if series is None:
                expected = self._announced.get((facts.study_uid, facts.series_uid))
                series = self._series[reference] = _Series(facts, expected=expected)
                series.seen.update(self._store.instances(reference))
                self._forget_old()
                self._wake.notify()
            else:
                series.facts = merge(series.facts, facts)
            self._series.move_to_end(reference)
            if not series.waiting:
                series.held_since = now
            series.waiting.setdefault(
                name,
                _Waiting(
                    since if since is not None else time.time(),
                    facts.first_received,
                    facts.acquired_at,
                ),
            )
            if not series.failures:  # else the wait for the broker goes on
                series.due = min(
                    now + self._quiet_s, series.held_since + _LONGEST_HOLD * self._quiet_s
                )
            series.seen.add(name)
            expected = series.expected or series.facts.announced
            if expected and how_many(series.seen) >= expected:
                self._due_now(series)
        return reference

    def reference(self, facts: Facts) -> str:
        """Where the store keeps what has such facts."""
        return self._store.folder(facts.study_uid, facts.series_uid, facts.statement)

    def expected(self, study_uid: str, series_uid: str, count: int) -> None:
        """MPPS says that the series is over and has `count` instances."""
        with self._wake:
            # For what comes after it, of this patient or of another.
            self._announced[(study_uid, series_uid)] = count
            if len(self._announced) > _REMEMBERED:
                self._announced.popitem(last=False)
            for series in self._series.values():
                if (series.facts.study_uid, series.facts.series_uid) == (study_uid, series_uid):
                    series.expected = count
                    self._due_now(series)

    def finished(self, reference: str) -> None:
        """The association that brought the series is over."""
        with self._wake:
            if series := self._series.get(reference):
                self._due_now(series)

    def association_over(self, brought: dict[str, int]) -> None:
        """An association that brought so many instances of each series is over.

        One slice alone may be a sender that opens an association per image: its series waits for
        the quiet time, or 500 slices would be 500 events. One film alone is whole.
        """
        with self._wake:
            for reference, count in brought.items():
                series = self._series.get(reference)
                if series and (
                    count > 1 or series.facts.modality not in SLICED or series.facts.frames > 1
                ):
                    self._due_now(series)

    def _due_now(self, series: _Series) -> None:
        if not series.failures:
            series.due = self._clock()
        self._wake.notify()

    def _forget_old(self) -> None:
        if len(self._series) > _REMEMBERED:
            for reference in [key for key, series in self._series.items() if not series.waiting][
                : _REMEMBERED // 4
            ]:
                del self._series[reference]

    def _run(self) -> None:
        while True:
            with self._wake:
                waiting = [series.due for series in self._series.values() if series.waiting]
                pause = min([_TICK_S, *(due - self._clock() for due in waiting)])
                if pause > 0 and not self._closing:
                    self._wake.wait(pause)
                closing = self._closing
            self._pass(everything=closing)
            self._measure()
            if closing:
                return
            if self._clock() - self._swept > _SWEEP_S:
                with suppress(OSError):  # the disk is away: at the next tick
                    self.resume(older_than_s=_ORPHAN_S)

    def _pass(self, *, everything: bool) -> None:
        """Publishes what is due, oldest first, until one fails: then the broker or the disk is
        down.
        """
        now = self._clock()
        with self._wake:
            due = sorted(
                (series.due, reference)
                for reference, series in self._series.items()
                if series.waiting and (everything or series.due <= now)
            )
        for _, reference in due:
            if not self._publish(reference):
                return

    def _publish(self, reference: str) -> bool:
        with self._wake:
            series = self._series[reference]
            facts, expected, waiting = series.facts, series.expected, dict(series.waiting)
        try:
            held = self._store.instances(reference)
            for event in self._fragments(facts, reference, held, expected, waiting):
                numbers = (*event.numbers, Number(kind="study", value=event.study_uid))
                key = topic_key(self._pseudonym, numbers, event.patient)
                self._publisher.publish_sync(topics.SERIES.name, key, encode(event))
            for name in waiting:
                self._store.clear_marker(reference, name)
        except ValidationError:  # no event can hold it: it holds up no other series
            self._give_up(reference, waiting)
            return True
        except (Unavailable, OSError):
            with self._wake:
                series.due = self._clock() + _BACKOFF_S[min(series.failures, len(_BACKOFF_S) - 1)]
                series.failures += 1
            return False
        with self._wake:
            series.failures = 0
            for name in waiting:
                series.waiting.pop(name, None)
            if series.waiting:
                series.held_since = self._clock()
        return True

    def _give_up(self, reference: str, waiting: dict[str, _Waiting]) -> None:
        """As with a marker that cannot be read: it stays, and the gauge of the oldest unpublished
        instance rises until a person looks.
        """
        metrics.refused.labels("dicom", Reason.BAD_EVENT.value).inc()
        log.error("series_not_published", reason=Reason.BAD_EVENT.value, reference=reference)
        since = min(new.since for new in waiting.values())
        self._unreadable = min(self._unreadable or since, since)
        with self._wake:
            del self._series[reference]

    def _fragments(
        self,
        facts: Facts,
        reference: str,
        held: Sequence[str],
        expected: int | None,
        waiting: dict[str, _Waiting],
    ) -> Iterator[SeriesReceived]:
        """All that is held, for whoever screens needs the whole. What an earlier fragment named has
        its times by that one: the times of these are those of what is new.
        """
        acquired = [new.acquired_at for new in waiting.values() if new.acquired_at]
        times = {
            "first_received": min(new.received_at for new in waiting.values()),
            "acquired_at": min(acquired, default=None),
        }
        facts = facts.model_copy(update=times)
        announced = expected or facts.announced
        for at in range(0, len(held), MOST_INSTANCES):
            names = held[at : at + MOST_INSTANCES]
            yield event_of(facts, reference, names, self._gateway, announced)

    def _measure(self) -> None:
        with self._wake:
            times = [
                new.since for series in self._series.values() for new in series.waiting.values()
            ]
        if self._unreadable is not None:
            times.append(self._unreadable)
        metrics.oldest_unpublished_seconds.set(max(0.0, time.time() - min(times)) if times else 0.0)
