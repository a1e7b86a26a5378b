"""What images of a row exist, which of them were read, and when waiting began."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.events import ExamProgressed, SeriesReceived
from worklist.record.facts import Fact
from worklist.record.relate import Related

#: An acquisition may lie so long before the first receipt; more is a clock that cannot be trusted.
CLOCK_WINDOW = timedelta(hours=24)


@dataclass(frozen=True)
class Instance:
    """One image: when it was first received, and when its waiting began."""

    received: datetime
    clock: datetime
    primary: bool


@dataclass(frozen=True)
class Images:
    """The readable images of a row.

    Attributes:
        by_name: (series, name) → the image.
        elsewhere: an archive says that it has images.
        doubtful: an acquisition time outside the window was not believed.
        announced: how many images were announced, where somebody said.
        only_localizer: nothing but localizers is here.
        other_bytes: an image came again with other bytes.
    """

    by_name: dict[tuple[str, str], Instance]
    elsewhere: bool
    doubtful: bool
    announced: int | None
    only_localizer: bool
    other_bytes: bool

    @property
    def exist(self) -> bool:
        """Whether there is something to read, here or elsewhere."""
        return bool(self.by_name) or self.elsewhere

    @property
    def last(self) -> datetime | None:
        """When the set last grew."""
        return max((i.received for i in self.by_name.values()), default=None)

    def clock(self) -> datetime | None:
        """The earliest of all images."""
        return min((i.clock for i in self.by_name.values()), default=None)

    def uncovered(self, names: Iterable[tuple[str, str]], until: datetime | None) -> list[Instance]:
        """The primary images that no finish covers (`names`) and no report (received `until`)."""
        covered = set(names)
        return [
            image
            for name, image in self.by_name.items()
            if image.primary and name not in covered and (until is None or image.received >= until)
        ]


def images_of(row: Related) -> Images:
    """The images of `row`. The same image in two fragments counts once: as first received."""
    series = [f.event for f in row.series if isinstance(f.event, SeriesReceived)]
    series = sorted((s for s in series if s.readable), key=lambda s: (s.received_at, s.event_id))
    holding: dict[tuple[str, str], list[SeriesReceived]] = defaultdict(list)
    for event in series:
        for name in event.names():
            holding[(event.series_uid, name)].append(event)
    alike: dict[tuple[str, ...], tuple[Instance, bool]] = {}
    found: dict[tuple[str, str], Instance] = {}
    for key, events in holding.items():
        # Images of the same fragments have the same times: reckoned once.
        ids = tuple(event.event_id for event in events)
        if ids not in alike:
            clock, doubtful = _clock(events)
            primary = any(event.primary for event in events)
            alike[ids] = Instance(events[0].received_at, clock, primary), doubtful
        found[key] = alike[ids][0]
    return Images(
        found,
        elsewhere=any(
            isinstance(f.event, ExamProgressed) and f.event.status == "available" for f in row.steps
        ),
        doubtful=any(doubtful for _, doubtful in alike.values()),
        announced=_announced(row, series),
        only_localizer=bool(series) and all(s.localizer for s in series),
        other_bytes=any(s.other_bytes for s in series),
    )


def _clock(events: Sequence[SeriesReceived]) -> tuple[datetime, bool]:
    """When the waiting of an image began that is in these fragments, and whether a time was not
    believed. The earliest received comes first.
    """
    received = events[0].received_at
    stated = [(event.acquired_at, event.received_at) for event in events if event.acquired_at]
    believed = [when for when, _ in stated if received - CLOCK_WINDOW <= when <= received]
    # A later fragment states the time of what is new in it: that is judged by its own receipt.
    doubted = any(not at - CLOCK_WINDOW <= when <= at for when, at in stated)
    return min(believed, default=received), doubted


def _announced(row: Related, series: Sequence[SeriesReceived]) -> int | None:
    """How many images were announced: by the steps, else by the series themselves."""
    steps = [
        f.event.announced_instances
        for f in row.steps
        if isinstance(f.event, ExamProgressed) and f.event.announced_instances is not None
    ]
    per_series: dict[str, int] = {}
    for event in series:
        if event.announced is not None:
            per_series[event.series_uid] = max(per_series.get(event.series_uid, 0), event.announced)
    stated = [n for n in (max(steps, default=None), sum(per_series.values()) or None) if n]
    return max(stated, default=None)


def names_of(facts: Iterable[Fact]) -> set[tuple[str, str]]:
    """(series, name) of all images of these fragments."""
    return {
        (f.event.series_uid, name)
        for f in facts
        if isinstance(f.event, SeriesReceived)
        for name in f.event.names()
    }


def historic(row: Related, days: float, ordered: bool) -> bool:
    """Whether all images are old at their first receipt, no order or step ever named them, and no
    modality sent them.
    """
    series = [f for f in row.series if isinstance(f.event, SeriesReceived) and f.event.readable]
    if not days or ordered or not series:
        return False
    window = timedelta(days=days)
    return all(
        isinstance(f.event, SeriesReceived)
        and f.event.kind != "modality"
        and f.event.acquired_at is not None
        and f.received - f.event.acquired_at > window
        for f in series
    )
