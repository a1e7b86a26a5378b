"""What theory says of mean waits, exactly: the oracles that the event loop is held against.

Minutes and studies a minute. Classes come in the order in which they are read. A wait is time in
the system less the study's own reading time, so time spent interrupted counts. Each function names
its source and raises `NoSteadyState` when more work arrives than is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from worklist.simulate.engine import Floats


class NoSteadyState(ValueError):
    """More work arrives than the readers can read: waits grow for ever and have no mean."""

    def __init__(self, load: float) -> None:
        super().__init__(
            f"the load is {load:.3f} (work that arrives over work that can be read): at 1 or more "
            "the list grows for ever; add a reader, shorten reads or lower the arrivals"
        )


@dataclass(frozen=True)
class Stream:
    """A Poisson stream: studies a minute, and mean and mean square of their reading time."""

    rate: float
    mean: float
    square: float

    @classmethod
    def exponential(cls, rate: float, mean: float) -> Stream:
        """Reading times are exponential."""
        return cls(rate, mean, 2 * mean * mean)


def non_preemptive(classes: Sequence[Sequence[Stream]]) -> list[float]:
    """Mean wait of each class, one reader, any reading times.

    Source: A. Cobham, Priority assignment in waiting line problems, Operations Research 2 (1954)
    70.
    """
    residual = sum(s.rate * s.square for streams in classes for s in streams) / 2
    return [residual / ((1 - before) * (1 - load)) for before, load in _loads(classes)]


def preemptive_resume(classes: Sequence[Sequence[Stream]]) -> list[list[float]]:
    """Mean wait of each stream of each class, one reader, any reading times: a longer read is
    interrupted more often.

    Source: R. W. Conway, W. L. Maxwell, L. W. Miller, Theory of Scheduling (1967), section 8-6.
    """
    residual, waits = 0.0, []
    for streams, (before, load) in zip(classes, _loads(classes), strict=True):
        residual += sum(s.rate * s.square for s in streams) / 2
        delay = residual / ((1 - before) * (1 - load))
        waits.append([delay + s.mean * before / (1 - before) for s in streams])
    return waits


def waiting_probability(readers: int, offered: float) -> float:
    """That a study of an M/M/c finds all readers busy (`offered` = rate x mean).

    Source: A. K. Erlang (1917), the C formula, here through the recursion of the B formula.
    """
    if offered >= readers:
        raise NoSteadyState(offered / readers)
    blocked = 1.0
    for count in range(1, readers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - offered / readers * (1 - blocked))


def non_preemptive_readers(rates: Sequence[float], mean: float, readers: int) -> list[float]:
    """Mean wait of each class, several readers, one exponential reading time for all.

    Source: A. Cobham (1954), the case of several channels.
    """
    offered = sum(rates) * mean
    busy = waiting_probability(readers, offered) * mean / readers
    loads = [0.0, *(total * mean / readers for total in accumulate(rates))]
    return [busy / ((1 - before) * (1 - load)) for before, load in pairwise(loads)]


def preemptive_resume_readers(rates: Sequence[float], mean: float, readers: int) -> list[float]:
    """Mean wait of each class, several readers, one exponential reading time for all.

    The first k classes do not see the others and, memoryless and alike, are one M/M/c together;
    what a class adds to the number in the system is its own (Little).
    Source: J. P. Buzen, A. B. Bondi, The response times of priority classes under preemptive resume
    in M/M/m queues, Operations Research 31 (1983) 456.
    """
    waiting = [0.0]
    for total in accumulate(rates):
        offered = total * mean
        waiting.append(
            waiting_probability(readers, offered) * offered / (readers - offered) if total else 0.0
        )
    return [
        (after - before) / rate if rate else 0.0
        for rate, before, after in zip(rates, waiting, waiting[1:], strict=False)
    ]


def phases(high: Stream, readers: int) -> int:
    """How many studies of the high class `interrupted_class` reckons with at once."""
    share = high.rate * high.mean / readers
    return readers + (math.ceil(math.log(1e-14) / math.log(share)) if share else 0)


def interrupted_class(high: Stream, low: Stream, readers: int) -> float:
    """Mean wait of a class that another one interrupts; both exponential with means of their own,
    several readers: an exact chain.

    Levels are studies of the low class in the system, phases those of the high class, cut where
    less than 1e-14 of the time lies. Solved by the matrix-geometric method.
    Source: G. Latouche, V. Ramaswami, A logarithmic reduction algorithm for quasi-birth-death
    processes, J. Appl. Prob. 30 (1993) 650.
    """
    load = (high.rate * high.mean + low.rate * low.mean) / readers
    if load >= 1:
        raise NoSteadyState(load)
    if not low.rate:
        return 0.0
    cut = phases(high, readers)
    present = np.arange(cut + 1)
    step = np.diag(np.full(cut, high.rate), 1)
    step += np.diag(np.minimum(present, readers)[1:] / high.mean, -1)
    free = np.maximum(readers - present, 0)

    def down(level: int) -> Floats:
        return np.diag(np.minimum(level, free) / low.mean)

    def within(level: int) -> Floats:
        leaving = step.sum(axis=1) + low.rate + np.diagonal(down(level))
        return step - np.diag(leaving)

    up = low.rate * np.eye(cut + 1)
    ratio = _rate_matrix(up, within(readers), down(readers))
    ratios = [ratio]  # of level k to level k - 1, for k = readers, readers - 1, … 1
    for level in range(readers - 1, 0, -1):
        ratios.insert(0, up @ np.linalg.inv(-(within(level) + ratios[0] @ down(level + 1))))
    empty = _stationary(within(0) + ratios[0] @ down(1))
    return _mean_level(empty, ratios) / low.rate - low.mean


def _loads(classes: Sequence[Sequence[Stream]]) -> list[tuple[float, float]]:
    """Per class: the load of those before it, and that with its own."""
    totals = [0.0, *accumulate(sum(s.rate * s.mean for s in streams) for streams in classes)]
    if totals[-1] >= 1:
        raise NoSteadyState(totals[-1])
    return list(pairwise(totals))


def _rate_matrix(up: Floats, within: Floats, down: Floats) -> Floats:
    """R, the least solution of up + R within + R² down = 0."""
    inverse = np.linalg.inv(-within)
    rise, fall = inverse @ up, inverse @ down
    first, climb = fall, rise
    while np.max(climb.sum(axis=1)) > 1e-15:
        both = rise @ fall + fall @ rise
        inverse = np.linalg.inv(np.eye(len(up)) - both)
        rise, fall = inverse @ rise @ rise, inverse @ fall @ fall
        more = climb @ fall
        first = first + more
        climb = climb @ rise
        if np.max(np.abs(more)) < 1e-16:
            break
    result: Floats = up @ np.linalg.inv(-(within + up @ first))
    return result


def _stationary(generator: Floats) -> Floats:
    """The left null vector, not yet normalised."""
    equations = generator.T.copy()
    equations[-1] = 1.0
    right = np.zeros(len(generator))
    right[-1] = 1.0
    result: Floats = np.linalg.solve(equations, right).astype(np.float64)
    return result


def _mean_level(empty: Floats, ratios: Sequence[Floats]) -> float:
    """Mean of the level; level 0 is `empty` up to a factor, and the last ratio goes on for ever."""
    total, first_moment, level = float(empty.sum()), 0.0, empty
    for number, ratio in enumerate(ratios[:-1], start=1):
        level = level @ ratio
        total += float(level.sum())
        first_moment += number * float(level.sum())
    tail = np.linalg.inv(np.eye(len(empty)) - ratios[-1])
    beyond = level @ ratios[-1] @ tail  # all levels from `readers` on
    total += float(beyond.sum())
    first_moment += (len(ratios) - 1) * float(beyond.sum()) + float((beyond @ tail).sum())
    return first_moment / total
