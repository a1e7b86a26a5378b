"""What images of a row exist, which of them were read, and when waiting began."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.events import ExamProgressed, SeriesReceived
from streams.instances import how_many
from worklist.record.facts import Fact
from worklist.record.rows import Related

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
        alike: the different ones among them: those of the same fragments are the same.
        elsewhere: an archive says that it has images.
        doubtful: an acquisition time outside the window was not believed.
        announced: how many images were announced, where somebody said.
        only_localizer: nothing but localizers is here.
        other_bytes: an image came again with other bytes.
    """

    by_name: dict[tuple[str, str], Instance]
    alike: tuple[Instance, ...]
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
    def here(self) -> int:
        """How many images are here: what came again with other bytes is one of them."""
        series: dict[str, list[str]] = defaultdict(list)
        for uid, name in self.by_name:
            series[uid].append(name)
        return sum(map(how_many, series.values()))

    @property
    def last(self) -> datetime | None:
        """When the set last grew."""
        return max((image.received for image in self.alike), default=None)

    def clock(self) -> datetime | None:
        """The earliest of all images."""
        return min((image.clock for image in self.alike), default=None)

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
    fragments: dict[str, list[SeriesReceived]] = defaultdict(list)
    for event in series:
        fragments[event.series_uid].append(event)
    alike: list[tuple[Instance, bool]] = []
    found: dict[tuple[str, str], Instance] = {}
    for uid, events in fragments.items():
        for together, names in _of_the_same(events):
            clock, doubtful = _clock(together)
            primary = any(event.primary for event in together)
            image = Instance(together[0].received_at, clock, primary)
            alike.append((image, doubtful))
            found |= dict.fromkeys([(uid, name) for name in names], image)
    return Images(
        found,
        tuple(image for image, _ in alike),
        elsewhere=any(
            isinstance(f.event, ExamProgressed) and f.event.status == "available" for f in row.steps
        ),
        doubtful=any(doubtful for _, doubtful in alike),
        announced=_announced(row, series),
        only_localizer=bool(series) and all(s.localizer for s in series),
        other_bytes=any(s.other_bytes for s in series),
    )


def _of_the_same(
    events: Sequence[SeriesReceived],
) -> list[tuple[Sequence[SeriesReceived], Sequence[str]]]:
    """Which fragments of a series hold an image, and the names of all that just these hold."""
    if len(events) == 1:
        return [(events, events[0].names())] if events[0].instances else []
    holding: dict[str, list[int]] = defaultdict(list)
    for place, event in enumerate(events):
        for name in event.names():
            holding[name].append(place)
    named: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, places in holding.items():
        named[tuple(places)].append(name)
    return [([events[place] for place in places], names) for places, names in named.items()]


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


def clock_is_off(event: SeriesReceived, historic_days: float) -> bool:
    """Whether a fragment speaks for a wrong clock at its sender: it states a time later than its
    receipt, or more than a day earlier.

    Old images are no news of a clock where an archive sends them, nor from a sender that may be one
    where they are old enough to be historic.
    """
    if not event.readable or event.acquired_at is None:
        return False
    age = event.received_at - event.acquired_at
    kept = event.kind == "mixed" and historic_days > 0 and age > timedelta(days=historic_days)
    old = age > CLOCK_WINDOW and event.kind != "archive" and not kept
    return age < timedelta() or old


def _announced(row: Related, series: Sequence[SeriesReceived]) -> int | None:
    """How many images were announced: by all steps together, by an archive, or by the series
    themselves; the most of these. A step does not say of which of its studies a series is: one
    that came under another study is that one's.
    """
    made: dict[str, int] = defaultdict(int)  # series UID → images
    steps: dict[str, int] = defaultdict(int)  # step UID → images, where it names no series
    for event in (f.event for f in row.steps):
        assert isinstance(event, ExamProgressed)
        for uid, count in event.series.items():
            if uid not in row.elsewhere:
                made[uid] = max(made[uid], count)
        if not event.series and event.announced_instances is not None:
            step = next((n.value for n in event.numbers if n.kind == "step"), "")
            steps[step] = max(steps[step], event.announced_instances)
    notice = steps.pop("", 0)  # an archive counts all that it has of a study
    per_series: dict[str, int] = defaultdict(int)
    for each in series:
        per_series[each.series_uid] = max(per_series[each.series_uid], each.announced or 0)
    return max(sum(made.values()) + sum(steps.values()), notice, sum(per_series.values())) or None


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
