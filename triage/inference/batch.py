"""Images of many studies share one forward pass: fixed buckets, a short wait, the urgent first, a
share for the oldest.

Pure: time is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, SupportsInt, TypeVar

T = TypeVar("T")
BUCKETS = (1, 2, 4, 8, 16, 32, 64)
MAX_WAIT_S = 0.005


@dataclass(frozen=True)
class Waiting(Generic[T]):
    """One image that waits: `urgency` smaller is more urgent, `order` is its place among all that
    came.
    """

    value: T
    urgency: SupportsInt
    order: int
    since: float


class Batcher(Generic[T]):
    """What waits for the next batch of one network.

    Args:
        urgent: an image whose urgency is at most this does not wait.
        most: images in one batch, one of `BUCKETS`.
    """

    def __init__(
        self, *, urgent: int = 0, most: int = BUCKETS[-1], max_wait_s: float = MAX_WAIT_S
    ) -> None:
        self._urgent = urgent
        self._most = most
        self._max_wait_s = max_wait_s
        self._waiting: list[Waiting[T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, value: T, urgency: SupportsInt, order: int, now: float) -> None:
        """`value` waits from `now` on. Its urgency is asked for whenever a batch is made: it may
        change meanwhile.
        """
        self._waiting.append(Waiting(value, urgency, order, now))

    def due(self, now: float) -> float | None:
        """Seconds until a batch should go: 0 when it should go now, None when nothing waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._most or any(
            int(item.urgency) <= self._urgent for item in self._waiting
        ):
            return 0.0
        return max(0.0, min(item.since for item in self._waiting) + self._max_wait_s - now)

    def take(self) -> list[T]:
        """The next batch, at most `most`: three quarters to the most urgent, a quarter to those
        that came first.
        """
        if len(self._waiting) <= self._most:
            batch, self._waiting = self._waiting, []
            return [item.value for item in sorted(batch, key=_urgency)]
        by_age = sorted(self._waiting, key=lambda item: item.order)
        oldest, rest = by_age[: self._most // 4], by_age[self._most // 4 :]
        by_urgency = sorted(rest, key=_urgency)
        urgent = by_urgency[: self._most - len(oldest)]
        self._waiting = by_urgency[self._most - len(oldest) :]
        return [item.value for item in sorted(oldest + urgent, key=_urgency)]


def _urgency(item: Waiting[T]) -> tuple[int, int]:
    return int(item.urgency), item.order
