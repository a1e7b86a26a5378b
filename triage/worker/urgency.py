"""How urgent a study is, as far as its orders were seen. It orders work here, never the list."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from streams.events import OrderChanged, SeriesReceived

#: Smaller is sooner. Codes that are not here count as unknown: before routine, behind urgent.
_CLASSES = {
    "emergent": 0,
    "stat": 0,
    "critical": 0,
    "urgent": 1,
    "asap": 1,
    "unknown": 2,
    "preop": 2,
    "timed": 2,
    "routine": 3,
}
_LOCATIONS = {"emergency": 1, "icu": 1}
_NAMES = frozenset({"accession", "study"})
UNKNOWN = 2
PRIOR = 4  # what looks historic to the list: behind everything, but not unscreened
URGENT = 1  # at most this does not wait for a batch
_NOT_NEW = timedelta(days=2)


def urgency_of(priority: str, location: str) -> int:
    """0 (emergent) to 3 (routine).

    A patient in the emergency room or in intensive care is urgent at least.
    """
    return min(
        _CLASSES.get(priority.lower(), UNKNOWN),
        _LOCATIONS.get(location.lower(), UNKNOWN + 1),
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What one source said last of one field, and the version that said it."""

    value: str = ""
    version: tuple[object, ...] = ()


_Source = tuple[_Said, _Said]  # of priority and location
_NOTHING: _Source = (_Said(), _Said())


class UrgencyHints:
    """The urgency of the studies whose orders were seen last, at most `max_keys` keys.

    Of one source the newest version of a field counts, whatever order they come in; between
    sources the more urgent.
    """

    def __init__(self, max_keys: int = 200_000) -> None:
        self._max_keys = max_keys
        self._said: OrderedDict[str, dict[str, _Source]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._said)

    def remember(self, order: OrderChanged) -> int:
        """Remembers `order` under each of its numbers; returns the urgency of what it names.

        What it does not mention stays as it was; what it emptied is not known.
        """
        keys = keys_of(order)
        known = [self._said.get(key, {}).get(order.sender, _NOTHING) for key in keys]
        mentioned = [
            "" if name in order.emptied else said
            for name, said in (("priority", order.priority), ("location", order.location))
        ]
        priority, location = (
            _newest([one[place] for one in known], said, order.version_key())
            for place, said in enumerate(mentioned)
        )
        for key in keys:
            self._said.setdefault(key, {})[order.sender] = (priority, location)
            self._said.move_to_end(key)
        while len(self._said) > self._max_keys:
            self._said.popitem(last=False)
        return self._of(keys)

    def of(self, series: SeriesReceived) -> int:
        """The most urgent class that any key of `series` has; where none was seen `UNKNOWN`, or
        `PRIOR`.
        """
        keys = keys_of(series)
        if not any(key in self._said for key in keys) and _looks_historic(series):
            return PRIOR
        return self._of(keys)

    def _of(self, keys: Iterable[str]) -> int:
        return min(
            (
                urgency_of(priority.value, location.value)
                for key in keys
                for priority, location in self._said.get(key, {}).values()
            ),
            default=UNKNOWN,
        )


def _newest(known: Iterable[_Said], said: str | None, version: tuple[object, ...]) -> _Said:
    last = max(known, key=lambda one: one.version, default=_Said())
    return last if said is None or version < last.version else _Said(said, version)


def _looks_historic(series: SeriesReceived) -> bool:
    """Old images that a modality did not send: a prefetched prior, an imported disc.

    The list alone decides what is historic, by its policy and by orders that may yet come.
    """
    made_at = series.acquired_at
    return (
        series.kind != "modality"
        and made_at is not None
        and series.received_at - made_at > _NOT_NEW
    )


def keys_of(event: OrderChanged | SeriesReceived) -> tuple[str, ...]:
    """By what an order may name a series: their numbers, whoever gave them out."""
    keys = {f"{number.kind} {number.value}" for number in event.numbers if number.kind in _NAMES}
    if isinstance(event, SeriesReceived):
        keys.add(f"study {event.study_uid}")
    return tuple(keys)
