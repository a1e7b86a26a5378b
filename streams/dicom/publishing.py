"""When a series is published, and again until the broker has confirmed it (promise 1)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import ValidationError

from streams import metrics
from streams.dicom.headers import Facts, merge
from streams.errors import Unavailable
from streams.events import SeriesReceived, Version, encode
from streams.kafka import topics
from streams.store import Store
from streams.studykey import digest, topic_key

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


@dataclass
class _Series:
    facts: Facts
    waiting: dict[str, float] = field(default_factory=dict)  # name → stored at, Unix seconds
    seen: set[str] = field(default_factory=set)
    expected: int | None = None
    due: float = 0.0  # monotonic
    held_since: float = 0.0  # monotonic, of the oldest waiting instance
    failures: int = 0


def event_of(
    facts: Facts, reference: str, names: list[str], gateway: str, expected: int | None
) -> SeriesReceived:
    """The event that says: this gateway holds these instances of this series. The same set gives
    the same id.
    """
    whole = digest(gateway.encode(), reference.encode(), *(name.encode() for name in names))
    return SeriesReceived(
        event_id=whole,
        sender=facts.sender,
        received_at=facts.first_received,
        version=Version(time=facts.last_received, digest=whole),
        patient=facts.patient,
        identity=facts.identity,
        accessions=facts.accessions,
        study_uids=(facts.study_uid,),
        site=facts.site,
        study_uid=facts.study_uid,
        series_uid=facts.series_uid,
        gateway=gateway,
        reference=reference,
        instances=tuple(names),
        sop_class=facts.sop_class,
        modality=facts.modality,
        body_part=facts.body_part,
        description=facts.description,
        series_description=facts.series_description,
        view=facts.view,
        age_years=facts.age_years,
        acquired_at=facts.acquired_at,
        complete=expected is not None and len(names) >= expected,
        readable=facts.readable,
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
        self._announced: OrderedDict[str, int] = OrderedDict()
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
        """An instance is durable in the store with its marker; the reference of its series."""
        reference = reference or self._store.folder(facts.study_uid, facts.series_uid)
        now = self._clock()
        with self._wake:
            series = self._series.get(reference)
            if series is None:
                series = self._series[reference] = _Series(
                    facts, expected=self._announced.pop(reference, None)
                )
                series.seen.update(self._store.instances(reference))
                self._forget_old()
                self._wake.notify()
            else:
                series.facts = merge(series.facts, facts)
            self._series.move_to_end(reference)
            if not series.waiting:
                series.held_since = now
            series.waiting[name] = since if since is not None else time.time()
            if not series.failures:  # else the wait for the broker goes on
                series.due = min(
                    now + self._quiet_s, series.held_since + _LONGEST_HOLD * self._quiet_s
                )
            series.seen.add(name)
            if (expected := series.expected or series.facts.announced) and len(
                series.seen
            ) >= expected:
                self._due_now(series)
        return reference

    def expected(self, study_uid: str, series_uid: str, count: int) -> None:
        """MPPS says that the series is over and has `count` instances."""
        reference = self._store.folder(study_uid, series_uid)
        with self._wake:
            if series := self._series.get(reference):
                series.expected = count
                self._due_now(series)
            else:  # it came before the images
                self._announced[reference] = count
                if len(self._announced) > _REMEMBERED:
                    self._announced.popitem(last=False)

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
            facts, expected, names = series.facts, series.expected, set(series.waiting)
        try:
            held = self._store.instances(reference)
            if held:
                event = event_of(facts, reference, held, self._gateway, expected or facts.announced)
                key = topic_key(
                    self._pseudonym,
                    accessions=facts.accessions,
                    study_uids=(facts.study_uid,),
                    patient=facts.patient,
                )
                self._publisher.publish_sync(topics.SERIES.name, key, encode(event))
            for name in names:
                self._store.clear_marker(reference, name)
        except (Unavailable, OSError):
            with self._wake:
                series.due = self._clock() + _BACKOFF_S[min(series.failures, len(_BACKOFF_S) - 1)]
                series.failures += 1
            return False
        with self._wake:
            series.failures = 0
            for name in names:
                series.waiting.pop(name, None)
            if series.waiting:
                series.held_since = self._clock()
        return True

    def _measure(self) -> None:
        with self._wake:
            times = [since for series in self._series.values() for since in series.waiting.values()]
        if self._unreadable is not None:
            times.append(self._unreadable)
        metrics.oldest_unpublished_seconds.set(max(0.0, time.time() - min(times)) if times else 0.0)
