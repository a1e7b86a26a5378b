"""The event loop: who reads what when, decided by the list's key alone.

A study's place is (lane, due, number), smaller is read sooner; studies are numbered as the list
breaks ties, by (received, study). Everything that happens in one instant happens before anybody
picks. Times are minutes; due dates are whole microseconds, as the list's own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_NOWHERE = np.iinfo(np.int64).max  # the lane of what has not arrived
_Function = TypeVar("_Function", bound=Callable[..., Any])

try:
    _numba: Any = importlib.import_module("numba")
except ImportError:  # the extra `simulate` is not installed: the same loop, some 100 times slower
    _numba = None
#: Whether the loop runs as machine code.
COMPILED = _numba is not None


def compiled(function: _Function) -> _Function:
    """`function` as machine code where numba is there, else as it is."""
    if not COMPILED:
        return function
    # Arrays are made outside, so nothing inside needs counting of references (_nrt).
    how = {"nogil": True, "forceinline": True, "error_model": "numpy", "_nrt": False}
    try:
        made: _Function = _numba.njit(cache=True, **how)(function)
    except RuntimeError:  # nowhere to keep what was compiled: compile it each time
        made = _numba.njit(**how)(function)
    return made


@dataclass(frozen=True)
class Places:
    """Which place a study takes from when on, in order of time: its arrival first, then each raise
    (an AI's answer, a wait that became too long). A place that is no better changes nothing.
    """

    at: Floats
    study: Ints
    lane: Ints
    due: Ints


@dataclass(frozen=True)
class Staff:
    """Who reads: per reader a bit for each pool, and shifts in order of their start.

    A reader ends what is open when the shift ends. A shift of no length is one read: whatever is
    first at that moment.
    """

    pools: Ints
    start: Floats
    end: Floats
    reader: Ints

    @classmethod
    def always(cls, count: int) -> Staff:
        """`count` readers who read everything, for ever."""
        zeros = np.zeros(count)
        return cls(np.full(count, -1), zeros, np.full(count, np.inf), np.arange(count))

    @classmethod
    def reads(cls, times: Floats) -> Staff:
        """One read at each of `times` (sorted): what is played again when starts were recorded."""
        return cls(np.array([-1]), times, times, np.zeros(len(times), np.int64))


@dataclass(frozen=True)
class Served:
    """Minutes at which each study was first opened and was finished; NaN where nobody came."""

    opened: Floats
    finished: Floats


def serve(places: Places, read: Floats, pool: Ints, staff: Staff, *, preemptive: bool) -> Served:
    """Plays the day until nothing is left that could happen.

    Args:
        read: minutes that each study takes to read.
        pool: 0 to 61, per study: who may read it (a bit in `Staff.pools`).
        preemptive: a study of a smaller lane interrupts one of a larger; work done is kept, and
            anybody may go on with it (preemptive-resume).
    """
    count, pools = len(read), int(pool.max(initial=0)) + 1
    queue = _Queue(
        lane=np.full(count, _NOWHERE),
        due=np.zeros(count, np.int64),
        pool=pool,
        heap=np.zeros(count, np.int64),
        base=np.searchsorted(np.sort(pool), np.arange(pools)),
        size=np.zeros(pools, np.int64),
        slot=np.full(count, -1),
        left=read.copy(),
        opened=np.full(count, np.nan),
        finished=np.full(count, np.nan),
    )
    readers = len(staff.pools)
    desk = _Desk(
        pools=staff.pools,
        reading=np.full(readers, -1),
        ends=np.full(readers, np.inf),
        until=np.full(readers, -np.inf),
        idle=np.zeros(readers),
    )
    _play(
        queue,
        desk,
        (places.at, places.study, places.lane, places.due),
        (staff.start, staff.end, staff.reader),
        preemptive,
    )
    return Served(queue.opened, queue.finished)


# Integers and floats only from here on: this is what numba compiles. Arrays are changed in place.


class _Queue(NamedTuple):
    """The studies. Those of a pool that wait are a binary heap: a stretch of `heap` that starts at
    `base` and has `size`; `slot` is a waiting study's place in it, -1 for one that does not wait.
    """

    lane: Ints
    due: Ints
    pool: Ints
    heap: Ints
    base: Ints
    size: Ints
    slot: Ints
    left: Floats
    opened: Floats
    finished: Floats


class _Desk(NamedTuple):
    """The readers: pools' bits, open study or -1 and when it ends, end of shift, idle since."""

    pools: Ints
    reading: Ints
    ends: Floats
    until: Floats
    idle: Floats


@compiled
def _before(queue: _Queue, one: int, other: int) -> bool:
    if queue.lane[one] != queue.lane[other]:
        return bool(queue.lane[one] < queue.lane[other])
    if queue.due[one] != queue.due[other]:
        return bool(queue.due[one] < queue.due[other])
    return one < other


@compiled
def _rise(queue: _Queue, study: int) -> None:
    """Moves a waiting study to where its place, which can only have become better, belongs."""
    base, slot = queue.base[queue.pool[study]], queue.slot[study]
    while slot > 0:
        parent = (slot - 1) >> 1
        other = queue.heap[base + parent]
        if not _before(queue, study, other):
            break
        queue.heap[base + slot] = other
        queue.slot[other] = slot
        slot = parent
    queue.heap[base + slot] = study
    queue.slot[study] = slot


@compiled
def _push(queue: _Queue, study: int) -> None:
    pool = queue.pool[study]
    queue.slot[study] = queue.size[pool]
    queue.size[pool] += 1
    _rise(queue, study)


@compiled
def _pop(queue: _Queue, pool: int) -> int:
    """Takes the first study of a pool in which one waits."""
    base = queue.base[pool]
    first = queue.heap[base]
    queue.slot[first] = -1
    queue.size[pool] -= 1
    size = queue.size[pool]
    if size > 0:
        study = queue.heap[base + size]
        slot, child = 0, 1
        while child < size:
            if child + 1 < size and _before(
                queue, queue.heap[base + child + 1], queue.heap[base + child]
            ):
                child += 1
            other = queue.heap[base + child]
            if not _before(queue, other, study):
                break
            queue.heap[base + slot] = other
            queue.slot[other] = slot
            slot, child = child, 2 * child + 1
        queue.heap[base + slot] = study
        queue.slot[study] = slot
    return int(first)


@compiled
def _best_pool(queue: _Queue, mask: int) -> int:
    """The pool among `mask` whose first is first of all; -1 when none waits."""
    best = -1
    for pool in range(len(queue.size)):
        if (
            queue.size[pool] > 0
            and (mask >> pool) & 1
            and (
                best < 0
                or _before(queue, queue.heap[queue.base[pool]], queue.heap[queue.base[best]])
            )
        ):
            best = pool
    return best


@compiled
def _open(queue: _Queue, desk: _Desk, reader: int, pool: int, now: float) -> None:
    """`reader` takes the first study of `pool`; what was open goes back to its place."""
    study = _pop(queue, pool)
    victim = desk.reading[reader]
    if victim >= 0:
        queue.left[victim] = max(0.0, desk.ends[reader] - now)
        _push(queue, victim)
    if np.isnan(queue.opened[study]):
        queue.opened[study] = now
    desk.reading[reader] = study
    desk.ends[reader] = now + queue.left[study]


@compiled
def _longest_idle(queue: _Queue, desk: _Desk, now: float) -> int:
    """The reader on duty who has waited longest for something that now waits; -1 for none."""
    chosen = -1
    for reader in range(len(desk.reading)):
        if (
            desk.reading[reader] < 0
            and desk.until[reader] > now
            and (chosen < 0 or desk.idle[reader] < desk.idle[chosen])
            and _best_pool(queue, desk.pools[reader]) >= 0
        ):
            chosen = reader
    return chosen


@compiled
def _interrupted(queue: _Queue, desk: _Desk, pool: int, now: float) -> int:
    """The reader whose open study the first of `pool` interrupts; -1 for none.

    The largest lane goes first, of several the last reader's (QuCAD's rule).
    """
    if queue.size[pool] == 0:
        return -1
    chosen, largest = -1, queue.lane[queue.heap[queue.base[pool]]] + 1
    for reader in range(len(desk.reading)):
        study = desk.reading[reader]
        if (
            study >= 0
            and desk.until[reader] > now
            and (desk.pools[reader] >> pool) & 1
            and queue.lane[study] >= largest
        ):
            chosen, largest = reader, queue.lane[study]
    return chosen


@compiled
def _pick(queue: _Queue, desk: _Desk, now: float, preemptive: bool) -> None:
    """All who can take a study at this moment take one."""
    while True:
        waiting = 0
        for pool in range(len(queue.size)):
            waiting += queue.size[pool]
        if waiting == 0:
            return
        reader = _longest_idle(queue, desk, now)
        if reader >= 0:
            _open(queue, desk, reader, _best_pool(queue, desk.pools[reader]), now)
            continue
        if not preemptive:
            return
        for pool in range(len(queue.size)):
            reader = _interrupted(queue, desk, pool, now)
            if reader >= 0:
                _open(queue, desk, reader, pool, now)
                break
        if reader < 0:
            return


@compiled
def _arrive(queue: _Queue, study: int, lane: int, due: int) -> None:
    """`study` has this place from now on, if it is better than the one it has."""
    old = queue.lane[study]
    if lane > old or (lane == old and due >= queue.due[study]):
        return
    queue.lane[study], queue.due[study] = lane, due
    if old == _NOWHERE:
        _push(queue, study)
    elif queue.slot[study] >= 0:
        _rise(queue, study)


@compiled
def _sit_down(queue: _Queue, desk: _Desk, reader: int, now: float, end: float) -> None:
    """A shift starts; one of no length is one read."""
    if end > now:
        if desk.reading[reader] < 0 and desk.until[reader] < now:
            desk.idle[reader] = now
        desk.until[reader] = max(desk.until[reader], end)
    elif desk.reading[reader] < 0:
        pool = _best_pool(queue, desk.pools[reader])
        if pool >= 0:
            _open(queue, desk, reader, pool, now)


@compiled
def _play(queue: _Queue, desk: _Desk, places: Any, shifts: Any, preemptive: bool) -> None:
    at, study, lane, due = places
    start, end, reader = shifts
    place, shift = 0, 0
    while True:
        done, next_end = 0, np.inf
        for one in range(len(desk.ends)):
            if desk.ends[one] < next_end:
                done, next_end = one, desk.ends[one]
        next_place = at[place] if place < len(at) else np.inf
        next_shift = start[shift] if shift < len(start) else np.inf
        now = min(next_end, next_place, next_shift)
        if now == np.inf:
            return
        if next_end == now:
            queue.finished[desk.reading[done]] = now
            desk.reading[done], desk.ends[done], desk.idle[done] = -1, np.inf, now
        elif next_place == now:
            _arrive(queue, study[place], lane[place], due[place])
            place += 1
        else:
            _sit_down(queue, desk, reader[shift], now, end[shift])
            shift += 1
        over = not (place < len(at) and at[place] == now)
        for one in range(len(desk.ends)):
            over = over and desk.ends[one] != now
        if over:
            _pick(queue, desk, now, preemptive)
