"""Events taken out of order, acknowledged in order: a bounded pool and the contiguous prefix of
each partition.

Faust commits the highest acknowledged offset even past one that is still in flight, and
acknowledges events of a lost
generation: so nothing is acknowledged here before all that came before it, and nothing of a lost
    generation is worked on or acknowledged. A pure data structure: no clock, no Kafka.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
READ_AHEAD = 8192
_EVERY = 4  # one of so many takes goes to the oldest: the bound for those that are less urgent


@dataclass(eq=False)
class Entry(Generic[T]):
    """One event in the pool. `urgency`: smaller is more urgent; `keys`: by what an order may name
    it.
    """

    topic: str
    partition: int
    offset: int
    generation: int
    urgency: int
    value: T
    arrival: int
    keys: tuple[str, ...] = ()
    taken: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)


class Pool(Generic[T]):
    """At most `size` events, read ahead and not yet acknowledged."""

    def __init__(self, size: int = READ_AHEAD) -> None:
        self._size = size
        self._generation = 0
        self._lanes: dict[tuple[str, int], deque[Entry[T]]] = {}
        self._urgent: list[tuple[int, int, Entry[T]]] = []
        self._oldest: deque[Entry[T]] = deque()
        self._named: dict[str, set[Entry[T]]] = {}
        self._count = 0
        self._arrivals = 0
        self._takes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether the reader has to wait."""
        return self._count >= self._size

    def turn(self, generation: int) -> None:
        """From now on only events of `generation` count; all others are forgotten (somebody else
        reads them again).
        """
        if generation == self._generation:
            return
        self._generation = generation
        self._lanes.clear()
        self._urgent.clear()
        self._oldest.clear()
        self._named.clear()
        self._count = 0

    def add(
        self,
        topic: str,
        partition: int,
        offset: int,
        generation: int,
        urgency: int,
        value: T,
        keys: tuple[str, ...] = (),
    ) -> Entry[T] | None:
        """Takes in one event; None when its generation is lost. Offsets of one partition come
        ascending.

        Raises:
            OverflowError: the pool is full.
        """
        if generation != self._generation:
            return None
        if self.full:
            raise OverflowError(f"{self._size} events are under way")
        self._arrivals += 1
        entry = Entry(topic, partition, offset, generation, urgency, value, self._arrivals, keys)
        for key in keys:
            self._named.setdefault(key, set()).add(entry)
        self._lanes.setdefault((topic, partition), deque()).append(entry)
        heapq.heappush(self._urgent, (urgency, entry.arrival, entry))
        self._oldest.append(entry)
        self._count += 1
        return entry

    def take(self, at_most: int | None = None) -> Entry[T] | None:
        """The next event to work on: the most urgent one, each fourth time the oldest; None when
        there is none.

        With `at_most`, None also when nothing so urgent waits.
        """
        if at_most is not None and self._head() > at_most:
            return None
        self._takes += 1
        entry = self._take_oldest() if self._takes % _EVERY == 0 else self._take_urgent()
        if entry is not None:
            entry.taken = True
        return entry

    def _head(self) -> float:
        """The most urgent class that waits; infinite when nothing does."""
        while self._urgent and self._urgent[0][2].taken:
            heapq.heappop(self._urgent)
        return self._urgent[0][0] if self._urgent else float("inf")

    def _take_urgent(self) -> Entry[T] | None:
        return None if self._head() == float("inf") else heapq.heappop(self._urgent)[2]

    def _take_oldest(self) -> Entry[T] | None:
        while self._oldest:
            entry = self._oldest.popleft()
            if not entry.taken:
                return entry
        return None

    def raise_urgency(self, keys: Iterable[str], urgency: int) -> int:
        """Events of one of `keys` that are less urgent move up to `urgency`, those under way too;
        returns how many.
        """
        named = {entry for key in keys for entry in self._named.get(key, ())}
        moved = [entry for entry in named if not entry.done and entry.urgency > urgency]
        for entry in moved:
            entry.urgency = urgency
            if not entry.taken:
                heapq.heappush(
                    self._urgent, (urgency, entry.arrival, entry)
                )  # its old place is skipped once it is taken
        return len(moved)

    def current(self, entry: Entry[T]) -> bool:
        """Whether `entry` still is ours to work on."""
        return entry.generation == self._generation

    def finish(self, entry: Entry[T]) -> list[Entry[T]]:
        """`entry` is done: returns what may now be acknowledged, ascending, which leaves the pool."""
        if not self.current(entry):
            return []
        entry.done = True
        lane = self._lanes[entry.topic, entry.partition]
        ready = []
        while lane and lane[0].done:
            ready.append(lane.popleft())
        for key in {key for one in ready for key in one.keys}:
            self._named[key].difference_update(ready)
            if not self._named[key]:
                del self._named[key]
        self._count -= len(ready)
        return ready
