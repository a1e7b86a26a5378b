"""How urgent a study is, as far as its orders were seen. It orders work here, never the list."""

from __future__ import annotations

from collections import OrderedDict

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
UNKNOWN = 2
URGENT = 1  # at most this does not wait for a batch


def urgency_of(order: OrderChanged) -> int:
    """0 (emergent) to 3 (routine).

    A patient in the emergency room or in intensive care is urgent at least.
    """
    return min(
        _CLASSES.get(order.priority.lower(), UNKNOWN),
        _LOCATIONS.get(order.location.lower(), UNKNOWN + 1),
    )


class UrgencyHints:
    """The urgency of the studies whose orders were seen last, at most `max_keys` keys."""

    def __init__(self, max_keys: int = 200_000) -> None:
        self._max_keys = max_keys
        self._by_key: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def remember(self, order: OrderChanged) -> int:
        """Remembers `order` under each accession number and study UID; returns its urgency."""
        urgency = urgency_of(order)
        for key in (*order.accessions, *order.study_uids):
            self._by_key[key] = urgency
            self._by_key.move_to_end(key)
        while len(self._by_key) > self._max_keys:
            self._by_key.popitem(last=False)
        return urgency

    def of(self, series: SeriesReceived) -> int:
        """The most urgent class that any key of `series` has, `UNKNOWN` where none was seen."""
        keys = (*series.accessions, *series.study_uids, series.study_uid)
        return min((self._by_key[key] for key in keys if key in self._by_key), default=UNKNOWN)
