"""Images of many studies share a batch: a short wait, the urgent first, a share for the oldest.

Pure: time is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, SupportsInt, TypeVar

Image = TypeVar("Image")
BUCKETS = (1, 2, 4, 8, 16, 32, 64)
MAX_WAIT_S = 0.005


@dataclass(frozen=True)
class Waiting(Generic[Image]):
    """One image that waits.

    Attributes:
        urgency: smaller is more urgent.
        order: its place among all that came.
    """

    value: Image
    urgency: SupportsInt
    order: int
    since: float


class Batcher(Generic[Image]):
    """What waits for the next batch of one network.

    Args:
        urgent: an image whose urgency is at most this does not wait.
        max_images: images in one batch, one of `BUCKETS`.
    """

    def __init__(
        self, *, urgent: int = 0, max_images: int = BUCKETS[-1], max_wait_s: float = MAX_WAIT_S
    ) -> None:
        self._urgent = urgent
        self._max_images = max_images
        self._max_wait_s = max_wait_s
        self._waiting: list[Waiting[Image]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, value: Image, urgency: SupportsInt, order: int, now: float) -> None:
        """`value` waits from `now` on.

        Its urgency is asked for whenever a batch is made: it may change meanwhile.
        """
        self._waiting.append(Waiting(value, urgency, order, now))

    def due_in_s(self, now: float) -> float | None:
        """Seconds until a batch should go: 0 when it should go now, None when nothing waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._max_images or any(
            int(item.urgency) <= self._urgent for item in self._waiting
        ):
            return 0.0
        return max(0.0, min(item.since for item in self._waiting) + self._max_wait_s - now)

    def take(self) -> list[Image]:
        """The next batch, at most `max_images`.

        Three quarters go to the most urgent, a quarter to those that came first.
        """
        if len(self._waiting) <= self._max_images:
            batch, self._waiting = self._waiting, []
            return [item.value for item in sorted(batch, key=_urgency)]
        by_age = sorted(self._waiting, key=lambda item: item.order)
        oldest, rest = by_age[: self._max_images // 4], by_age[self._max_images // 4 :]
        by_urgency = sorted(rest, key=_urgency)
        urgent = by_urgency[: self._max_images - len(oldest)]
        self._waiting = by_urgency[self._max_images - len(oldest) :]
        return [item.value for item in sorted(oldest + urgent, key=_urgency)]


def _urgency(item: Waiting[Image]) -> tuple[int, int]:
    return int(item.urgency), item.order
