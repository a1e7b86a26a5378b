"""Events taken out of order and acknowledged in order, the contiguous prefix of each partition.

Faust commits the highest acknowledged offset even past one that is still in flight, and
acknowledges events of a lost generation. So nothing is acknowledged here before all that came
before it, and nothing of a lost generation is worked on or acknowledged. A pure data structure: no
clock, no Kafka.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")
_OLDEST_EVERY = (
    4  # one of so many takes goes to the oldest: the bound for those that are less urgent
)


@dataclass(eq=False)
class Entry(Generic[Value]):
    """One event of the backlog.

    Attributes:
        urgency: smaller is more urgent.
        keys: by what an order may name it.
    """

    topic: str
    partition: int
    offset: int
    generation: int
    urgency: int
    value: Value
    arrival: int
    keys: tuple[str, ...] = ()
    taken: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)


class Backlog(Generic[Value]):
    """At most `size` events, read ahead and not yet acknowledged."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._generation = 0
        self._partitions: dict[tuple[str, int], deque[Entry[Value]]] = {}
        self._urgent: list[tuple[int, int, Entry[Value]]] = []
        self._oldest: deque[Entry[Value]] = deque()
        self._by_key: dict[str, set[Entry[Value]]] = {}
        self._count = 0
        self._arrivals = 0
        self._takes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether the reader has to wait."""
        return self._count >= self._size

    def start_generation(self, generation: int) -> None:
        """From now on only events of `generation` count.

        All others are forgotten: somebody else reads them again.
        """
        if generation == self._generation:
            return
        self._generation = generation
        self._partitions.clear()
        self._urgent.clear()
        self._oldest.clear()
        self._by_key.clear()
        self._count = 0

    def add(
        self,
        topic: str,
        partition: int,
        offset: int,
        generation: int,
        urgency: int,
        value: Value,
        keys: tuple[str, ...] = (),
    ) -> Entry[Value] | None:
        """Takes in one event; None when its generation is lost. Offsets of one partition ascend.

        Raises:
            OverflowError: it is full.
        """
        if generation != self._generation:
            return None
        if self.full:
            raise OverflowError(f"{self._size} events are under way")
        self._arrivals += 1
        entry = Entry(topic, partition, offset, generation, urgency, value, self._arrivals, keys)
        for key in keys:
            self._by_key.setdefault(key, set()).add(entry)
        self._partitions.setdefault((topic, partition), deque()).append(entry)
        heapq.heappush(self._urgent, (urgency, entry.arrival, entry))
        self._oldest.append(entry)
        self._count += 1
        return entry

    def take(self, max_urgency: int | None = None) -> Entry[Value] | None:
        """The next event to work on: the most urgent one, each fourth time the oldest.

        None when there is none; with `max_urgency`, also when nothing so urgent waits.
        """
        if max_urgency is not None and self._most_urgent() > max_urgency:
            return None
        self._takes += 1
        entry = self._take_oldest() if self._takes % _OLDEST_EVERY == 0 else self._take_urgent()
        if entry is not None:
            entry.taken = True
        return entry

    def _most_urgent(self) -> float:
        """The most urgent class that waits; infinite when nothing does."""
        while self._urgent and self._urgent[0][2].taken:
            heapq.heappop(self._urgent)
        return self._urgent[0][0] if self._urgent else float("inf")

    def _take_urgent(self) -> Entry[Value] | None:
        return None if self._most_urgent() == float("inf") else heapq.heappop(self._urgent)[2]

    def _take_oldest(self) -> Entry[Value] | None:
        while self._oldest:
            entry = self._oldest.popleft()
            if not entry.taken:
                return entry
        return None

    def raise_urgency(self, keys: Iterable[str], urgency: int) -> int:
        """Events of one of `keys` that are less urgent move up to `urgency`, those under way too.

        Returns how many.
        """
        named = {entry for key in keys for entry in self._by_key.get(key, ())}
        moved = [entry for entry in named if not entry.done and entry.urgency > urgency]
        for entry in moved:
            entry.urgency = urgency
            if not entry.taken:
                # Its old place is skipped once it is taken.
                heapq.heappush(self._urgent, (urgency, entry.arrival, entry))
        return len(moved)

    def current(self, entry: Entry[Value]) -> bool:
        """Whether `entry` still is ours to work on."""
        return entry.generation == self._generation

    def finish(self, entry: Entry[Value]) -> list[Entry[Value]]:
        """`entry` is done: what may now be acknowledged leaves the backlog, and is returned."""
        if not self.current(entry):
            return []
        entry.done = True
        waiting = self._partitions[entry.topic, entry.partition]
        ready = []
        while waiting and waiting[0].done:
            ready.append(waiting.popleft())
        for key in {key for done in ready for key in done.keys}:
            self._by_key[key].difference_update(ready)
            if not self._by_key[key]:
                del self._by_key[key]
        self._count -= len(ready)
        return ready
