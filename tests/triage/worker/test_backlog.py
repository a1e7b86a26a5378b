"""Promise 1 inside triage: acknowledged is only the contiguous prefix of the generation."""

from __future__ import annotations

import pytest
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
