"""Promise 1 inside triage: acknowledged is only the contiguous prefix of the generation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from triage.worker.backlog import Backlog, Entry


class BacklogMachine(RuleBasedStateMachine):
    """Reads, works, finishes and rebalances in any order.

    Beside it a model that is a plain list for each partition.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backlog: Backlog[str] = Backlog(8)
        self.generation = 0
        self.next_offset = {0: 0, 1: 0}
        self.committed = {0: 0, 1: 0}  # what the broker would give again after a rebalance
        self.finished: set[tuple[int, int]] = set()
        self.working: list[Entry[str]] = []

    @rule(
        partition=st.sampled_from([0, 1]),
        urgency=st.integers(0, 3),
        keys=st.sets(st.sampled_from("abc")),
    )
    def read(self, partition: int, urgency: int, keys: set[str]) -> None:
        if self.backlog.full:
            with pytest.raises(OverflowError):
                self.backlog.add("series", partition, 0, self.generation, urgency, "x")
            return
        offset = self.next_offset[partition]
        assert (
            self.backlog.add(
                "series",
                partition,
                offset,
                self.generation,
                urgency,
                f"{partition}/{offset}",
                tuple(keys),
            )
            is not None
        )
        self.next_offset[partition] += 1

    @rule()
    def late_read_of_a_lost_generation(self) -> None:
        assert self.backlog.add("series", 0, 999, self.generation - 1, 0, "lost") is None

    @rule(key=st.sampled_from("abc"), urgency=st.integers(0, 3))
    def an_order_names_it(self, key: str, urgency: int) -> None:
        self.backlog.raise_urgency([key], urgency)
        assert all(
            entry.urgency <= urgency
            for entry in self.working
            if key in entry.keys and self.backlog.current(entry)
        )

    @rule()
    def take(self) -> None:
        entry = self.backlog.take()
        if entry is not None:
            assert entry.generation == self.generation
            assert entry not in self.working
            self.working.append(entry)

    @rule(data=st.data())
    def one_is_late(self, data: st.DataObject) -> None:
        waiting = list(self.backlog.waiting)
        if waiting:
            self.backlog.postpone(data.draw(st.sampled_from(waiting)))

    @rule(data=st.data())
    def one_under_way_is_late(self, data: st.DataObject) -> None:
        if self.working:
            entry = self.working.pop(data.draw(st.integers(0, len(self.working) - 1)))
            self.backlog.postpone(entry)
            assert self.backlog.waits(entry) == (entry.generation == self.generation)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if not self.working:
            return
        entry = self.working.pop(data.draw(st.integers(0, len(self.working) - 1)))
        ready = self.backlog.finish(entry)
        if entry.generation != self.generation:
            assert ready == []
            return
        self.finished.add((entry.partition, entry.offset))
        for acknowledged in ready:
            assert acknowledged.offset == self.committed[acknowledged.partition]
            assert (acknowledged.partition, acknowledged.offset) in self.finished
            self.committed[acknowledged.partition] += 1

    @rule()
    def rebalance(self) -> None:
        self.generation += 1
        self.backlog.start_generation(self.generation)
        self.next_offset = dict(self.committed)
        assert len(self.backlog) == 0
        assert self.backlog.take() is None

    @invariant()
    def bounded(self) -> None:
        assert len(self.backlog) <= 8
        assert len(self.backlog) == sum(self.next_offset[p] - self.committed[p] for p in (0, 1))

    @invariant()
    def late_ones_are_not_among_those_in_time(self) -> None:
        assert not any(entry.late for entry in self.backlog.waiting)


TestBacklog = BacklogMachine.TestCase


def test_an_urgent_one_behind_5000_is_taken_next_but_one_and_the_oldest_are_not_forgotten() -> None:
    backlog: Backlog[int] = Backlog(8192)
    for offset in range(5000):
        backlog.add("series", 0, offset, 0, 3, offset)
    backlog.add("series", 1, 0, 0, 0, -1)
    assert -1 in [entry.value for entry in (backlog.take(), backlog.take()) if entry]

    backlog = Backlog(8192)
    backlog.add("series", 0, 0, 0, 3, -1)
    for offset in range(5000):
        backlog.add("series", 1, offset, 0, 0, offset)
    assert -1 in [entry.value for entry in (backlog.take() for _ in range(4)) if entry]


def test_urgent_ones_alone_do_not_starve_the_oldest() -> None:
    backlog: Backlog[int] = Backlog(8192)
    for offset in range(10):
        backlog.add("series", 0, offset, 0, 3, offset)
    assert backlog.take(1) is None
    for offset in range(10):
        backlog.add("series", 1, offset, 0, 1, 100 + offset)
    taken = []
    while (entry := backlog.take(1)) is not None:
        taken.append(entry.value)
    assert [value for value in taken if value >= 100] == list(range(100, 110))
    assert [value for value in taken if value < 100] == [0, 1, 2]
    assert taken.index(0) <= 3


def test_a_late_hint_moves_what_waits() -> None:
    backlog: Backlog[str] = Backlog(8192)
    for offset, value in enumerate("abcd"):
        backlog.add("series", 0, offset, 0, 2, value, ("study of " + value, "accession"))
    assert backlog.raise_urgency(["study of c", "of another study"], 0) == 1
    assert [entry.value for entry in (backlog.take() for _ in range(5)) if entry] == [
        "c",
        "a",
        "b",
        "d",
    ]


def held(backlog: Backlog[int]) -> int:
    """Places that its lines take, whatever lies there."""
    lines = [backlog._oldest, backlog._late, backlog._by_key, *backlog._by_urgency.values()]
    return sum(map(len, lines))


def test_a_lasting_urgent_load_leaves_nothing_behind() -> None:
    backlog: Backlog[int] = Backlog(64)
    for offset in range(32):
        backlog.add("series", 0, offset, 0, 3, offset, (f"study {offset}",))
    most = 0
    for offset in range(100_000):
        backlog.add("series", 1, offset, 0, 0, offset, (f"urgent {offset}",))
        entry = backlog.take()
        assert entry is not None
        backlog.finish(entry)
        if len(backlog) == 64:  # the routine ones went by; what waits is finished
            while (entry := backlog.take()) is not None:
                backlog.finish(entry)
        most = max(most, held(backlog))
    assert most <= 4 * 64


@given(urgencies=st.lists(st.integers(0, 3), min_size=1, max_size=60), data=st.data())
def test_nobody_waits_longer_than_four_takes_for_each_that_came_before(
    urgencies: list[int], data: st.DataObject
) -> None:
    backlog: Backlog[int] = Backlog(5000)
    for offset, urgency in enumerate(urgencies):
        backlog.add("series", 0, offset, 0, urgency, offset, (str(offset),))
    watched = data.draw(st.integers(0, len(urgencies) - 1))
    urgent = 0
    for _take in range(4 * (watched + 1)):
        for _ in range(data.draw(st.integers(0, 2))):  # urgent ones go on to come
            backlog.add("series", 1, urgent, 0, 0, -1)
            urgent += 1
        entry = backlog.take()
        assert entry is not None
        if entry.value == watched:
            return
    pytest.fail("it waited longer")


def test_what_is_late_comes_when_nothing_else_waits_its_urgent_ones_first() -> None:
    backlog: Backlog[int] = Backlog(16)
    entries = [backlog.add("series", 0, offset, 0, 2, 0, (str(offset),)) for offset in range(3)]
    for entry in entries:
        assert entry is not None
        backlog.postpone(entry)
    backlog.raise_urgency(["1"], 0)
    backlog.add("series", 0, 3, 0, 3, 3)
    assert backlog.take(1) is None
    assert [entry.offset for entry in iter(backlog.take, None) if entry] == [3, 1, 0, 2]
