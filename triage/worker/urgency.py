"""How urgent a study is, as far as its orders were seen. It orders work here, never the list."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

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
URGENT = 1  # at most this does not wait for a batch


def urgency_of(priority: str, location: str) -> int:
    """0 (emergent) to 3 (routine).

    A patient in the emergency room or in intensive care is urgent at least.
    """
    return min(
        _CLASSES.get(priority.lower(), UNKNOWN),
        _LOCATIONS.get(location.lower(), UNKNOWN + 1),
    )


class UrgencyHints:
    """The urgency of the studies whose orders were seen last, at most `max_keys` keys."""

    def __init__(self, max_keys: int = 200_000) -> None:
        self._max_keys = max_keys
        self._said: OrderedDict[str, tuple[str, str]] = OrderedDict()  # priority, location

    def __len__(self) -> int:
        return len(self._said)

    def remember(self, order: OrderChanged) -> int:
        """Remembers `order` under each of its numbers; returns the urgency of what it names.

        What it does not mention stays as it was; what it emptied is not known.
        """
        keys = keys_of(order)
        known = [self._said[key] for key in keys if key in self._said]
        old = min(known, key=lambda said: urgency_of(*said), default=("", ""))
        said = (
            _newer("priority", old[0], order.priority, order.emptied),
            _newer("location", old[1], order.location, order.emptied),
        )
        for key in keys:
            self._said[key] = said
            self._said.move_to_end(key)
        while len(self._said) > self._max_keys:
            self._said.popitem(last=False)
        return urgency_of(*said)

    def of(self, series: SeriesReceived) -> int:
        """The most urgent class that any key of `series` has, `UNKNOWN` where none was seen."""
        return min(
            (urgency_of(*self._said[key]) for key in keys_of(series) if key in self._said),
            default=UNKNOWN,
        )


def _newer(field: str, old: str, said: str | None, emptied: Collection[str]) -> str:
    return "" if field in emptied else old if said is None else said


def keys_of(event: OrderChanged | SeriesReceived) -> tuple[str, ...]:
    """By what an order may name a series: their numbers, whoever gave them out."""
    keys = {f"{number.kind} {number.value}" for number in event.numbers if number.kind in _NAMES}
    if isinstance(event, SeriesReceived):
        keys.add(f"study {event.study_uid}")
    return tuple(keys)
