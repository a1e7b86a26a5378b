"""Events taken out of order and acknowledged in order, the contiguous prefix of each partition.

Faust commits the highest acknowledged offset even past one that is still in flight, and
acknowledges events of a lost generation. So nothing is acknowledged here before all that came
before it, and nothing of a lost generation is worked on or acknowledged. A pure data structure: no
clock, no Kafka. It holds what is not yet acknowledged and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
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
        late: its time is over: it is taken only when nothing else waits.
    """

    topic: str
    partition: int
    offset: int
    generation: int
    urgency: int
    value: Value
    arrival: int
    keys: tuple[str, ...] = ()
    late: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)


_Line = OrderedDict[int, Entry[Value]]  # by arrival, in the order in which they came to it


class Backlog(Generic[Value]):
    """At most `size` events, read ahead and not yet acknowledged."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._generation = 0
        self._partitions: dict[tuple[str, int], deque[Entry[Value]]] = {}
        self._by_urgency: dict[int, _Line[Value]] = {}  # what waits and is not late
        self._oldest: _Line[Value] = OrderedDict()  # the same, as they arrived
        self._late: _Line[Value] = OrderedDict()
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

    @property
    def waiting(self) -> Iterator[Entry[Value]]:
        """What waits and is not late, the oldest first."""
        return iter(self._oldest.values())

    def start_generation(self, generation: int) -> None:
        """From now on only events of `generation` count.

        All others are forgotten: somebody else reads them again.
        """
        if generation == self._generation:
            return
        self._generation = generation
        for places in (self._partitions, self._by_urgency, self._oldest, self._late, self._by_key):
            places.clear()
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
        self._by_urgency.setdefault(urgency, OrderedDict())[entry.arrival] = entry
        self._oldest[entry.arrival] = entry
        self._count += 1
        return entry

    def take(self, max_urgency: int | None = None) -> Entry[Value] | None:
        """The next event to work on: the most urgent one, each fourth time the oldest.

        So what `k` others came before is taken after at most 4 (k + 1) takes. What is late comes
        when nothing else waits, its urgent ones first. None when there is none; with
        `max_urgency`, also when nothing so urgent waits.
        """
        most = min((level for level, line in self._by_urgency.items() if line), default=None)
        if most is None:
            return self._take_late() if max_urgency is None else None
        if max_urgency is not None and most > max_urgency:
            return None
        self._takes += 1
        line = self._oldest if self._takes % _OLDEST_EVERY == 0 else self._by_urgency[most]
        return self._leave(next(iter(line.values())))

    def _take_late(self) -> Entry[Value] | None:
        found = min(self._late.values(), key=lambda entry: entry.urgency, default=None)
        return None if found is None else self._leave(found)

    def _leave(self, entry: Entry[Value]) -> Entry[Value]:
        """`entry` waits no more."""
        self._late.pop(entry.arrival, None)
        if entry.arrival in self._oldest:
            del self._oldest[entry.arrival], self._by_urgency[entry.urgency][entry.arrival]
        return entry

    def postpone(self, entry: Entry[Value]) -> None:
        """`entry`, which waits or is under way, is late from now on, and waits for room."""
        if self.current(entry) and not entry.done:
            self._leave(entry)
            entry.late = True
            self._late[entry.arrival] = entry

    def raise_urgency(self, keys: Iterable[str], urgency: int) -> int:
        """Events of one of `keys` that are less urgent move up to `urgency`, those under way too.

        They come behind those that were so urgent before. Returns how many.
        """
        moved = [entry for entry in self.named(keys) if entry.urgency > urgency]
        for entry in sorted(moved, key=lambda entry: entry.arrival):
            if entry.arrival in self._oldest:
                del self._by_urgency[entry.urgency][entry.arrival]
                self._by_urgency.setdefault(urgency, OrderedDict())[entry.arrival] = entry
            entry.urgency = urgency
        return len(moved)

    def named(self, keys: Iterable[str]) -> set[Entry[Value]]:
        """Events of one of `keys` that are not done."""
        found = {entry for key in keys for entry in self._by_key.get(key, ())}
        return {entry for entry in found if not entry.done}

    def waits(self, entry: Entry[Value]) -> bool:
        """Whether nobody works on `entry` yet."""
        return entry.arrival in self._oldest or entry.arrival in self._late

    def current(self, entry: Entry[Value]) -> bool:
        """Whether `entry` still is ours to work on."""
        return entry.generation == self._generation

    def oldest_late(self) -> Entry[Value] | None:
        """Of those that are late and wait for room, the one that became so first."""
        return next(iter(self._late.values()), None)

    def finish(self, entry: Entry[Value]) -> list[Entry[Value]]:
        """`entry` is done: what may now be acknowledged leaves the backlog, and is returned."""
        if not self.current(entry):
            return []
        self._leave(entry)
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
