"""The compiled loop against a slow one that is written otherwise, and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worklist.simulate.engine import Places, Served, Staff, serve


def places(rows: list[tuple[float, int, int, int]]) -> Places:
    at, study, lane, due = zip(*sorted(rows, key=lambda row: row[0]), strict=True)
    return Places(np.array(at, float), *(np.array(c, np.int64) for c in (study, lane, due)))


def run(
    rows: list[tuple[float, int, int, int]],
    read: list[float],
    staff: Staff,
    *,
    pool: list[int] | None = None,
    preemptive: bool = False,
) -> Served:
    pools = np.array(pool or [0] * len(read), np.int64)
    return serve(places(rows), np.array(read, float), pools, staff, preemptive=preemptive)


def test_the_first_place_is_read_first_and_nobody_is_interrupted() -> None:
    found = run([(0, 0, 2, 0), (1, 1, 2, 9), (2, 2, 1, 99)], [5, 1, 1], Staff.always(1))
    assert found.opened.tolist() == [0, 6, 5]


def test_a_smaller_lane_interrupts_and_work_done_is_kept() -> None:
    found = run([(0, 0, 2, 0), (1, 1, 1, 9)], [5, 2], Staff.always(1), preemptive=True)
    assert found.opened.tolist() == [0, 1]
    assert found.finished.tolist() == [7, 3]


def test_a_raise_takes_effect_while_a_study_waits_and_none_lowers() -> None:
    rows = [(0.0, 0, 2, 0), (1.0, 1, 2, 5), (1.0, 2, 2, 6), (2.0, 2, 1, 9), (3.0, 2, 2, 99)]
    assert run(rows, [5, 1, 1], Staff.always(1)).opened.tolist() == [0, 6, 5]


def test_a_reader_reads_only_its_subspecialties() -> None:
    staff = Staff(np.array([0b01, 0b10]), np.zeros(2), np.full(2, np.inf), np.arange(2))
    found = run([(0, 0, 2, 0), (0, 1, 2, 1), (0, 2, 2, 2)], [4, 4, 1], staff, pool=[0, 0, 1])
    assert found.opened.tolist() == [0, 4, 0]


def test_a_shift_ends_what_is_open_and_takes_nothing_more() -> None:
    staff = Staff(
        np.array([-1]), np.array([1.0, 20.0]), np.array([3.0, 30.0]), np.zeros(2, np.int64)
    )
    found = run([(0, 0, 2, 0), (0, 1, 2, 1)], [5, 1], staff)
    assert found.opened.tolist() == [1, 20]
    assert found.finished.tolist() == [6, 21]


def test_shifts_of_no_length_are_one_read_each_even_at_one_moment() -> None:
    staff = Staff.reads(np.array([1.0, 1.0, 4.0]))
    found = run([(0, 0, 2, 0), (1, 1, 2, 1), (2, 2, 2, 2)], [0, 0, 0], staff)
    assert found.opened.tolist() == [1, 1, 4]


def test_what_nobody_comes_for_is_not_read_and_the_day_ends() -> None:
    staff = Staff(np.array([0b01]), np.zeros(1), np.full(1, np.inf), np.zeros(1, np.int64))
    found = run([(0, 0, 2, 0)], [1], staff, pool=[1])
    assert math.isnan(found.finished[0])


# ---- the slow one


def slowly(
    rows: list[tuple[float, int, int, int]],
    read: list[float],
    pool: list[int],
    masks: list[int],
    shifts: list[tuple[float, float, int]],
    preemptive: bool,
) -> list[float]:
    """Finishing times, by looking at everything at every moment at which something may happen."""
    place: dict[int, tuple[int, int, int]] = {}
    left, finished = list(read), [math.nan] * len(read)
    open_: dict[int, int] = {}
    idle, until = dict.fromkeys(range(len(masks)), 0.0), dict.fromkeys(range(len(masks)), -1.0)
    now = 0.0
    coming = sorted(rows, key=lambda row: row[0])
    starting = sorted(shifts)
    while True:
        moments = [left[s] + now for s in open_.values()]
        moments += [coming[0][0]] if coming else []
        moments += [starting[0][0]] if starting else []
        if not moments:
            return finished
        then = min(moments)
        for reader, study in list(open_.items()):
            if left[study] + now <= then:
                finished[study] = then
                del open_[reader]
                idle[reader] = then
                left[study] = 0
            else:
                left[study] -= then - now
        now = then
        while coming and coming[0][0] == now:
            _, study, lane, due = coming.pop(0)
            place[study] = min(place.get(study, (99, 0, 0)), (lane, due, study))
        while starting and starting[0][0] == now:
            _, end, reader = starting.pop(0)
            if until[reader] < now and reader not in open_:
                idle[reader] = now
            until[reader] = max(until[reader], end)
        while True:
            waiting = sorted(
                (place[s], s) for s in place if math.isnan(finished[s]) and s not in open_.values()
            )
            on = [r for r in idle if until[r] > now]
            able = [
                (idle[r], r, next(s for _, s in waiting if masks[r] >> pool[s] & 1))
                for r in on
                if r not in open_ and any(masks[r] >> pool[s] & 1 for _, s in waiting)
            ]
            if able:
                _, reader, study = min(able)
                open_[reader] = study
                continue
            weaker = [
                (place[open_[r]][0], r, s)
                for n in sorted(set(pool))
                for s in [s for _, s in waiting if pool[s] == n][:1]
                for r in on
                if r in open_ and masks[r] >> n & 1 and place[s][0] < place[open_[r]][0]
            ]
            if not preemptive or not weaker:
                break
            first = pool[weaker[0][2]]
            _, reader, study = max(w for w in weaker if pool[w[2]] == first)
            open_[reader] = study


@st.composite
def days(draw: Any) -> tuple[Any, ...]:
    """Whole minutes, so that many things happen at once."""
    count = draw(st.integers(1, 12))
    minute = st.integers(0, 30)
    rows = []
    for study in range(count):
        at = draw(minute)
        rows.append((float(at), study, draw(st.integers(0, 3)), draw(st.integers(0, 5))))
        if draw(st.booleans()):
            later = at + draw(st.integers(1, 20))
            rows.append((float(later), study, draw(st.integers(0, 3)), draw(st.integers(0, 5))))
    read = [float(draw(st.integers(1, 12))) for _ in range(count)]
    pool = [draw(st.integers(0, 2)) for _ in range(count)]
    masks = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    shifts = []
    for reader in range(len(masks)):
        start = draw(minute)
        shifts.append((float(start), float(start + draw(st.integers(1, 40))), reader))
    shifts.append((100.0, math.inf, 0))
    return rows, read, pool, masks, sorted(shifts)


@pytest.mark.slow
@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(days(), st.booleans())
def test_any_small_day_is_played_as_the_slow_loop_plays_it(
    day: tuple[Any, ...], preemptive: bool
) -> None:
    rows, read, pool, masks, shifts = day
    start, end, reader = (np.array(c) for c in zip(*shifts, strict=True))
    staff = Staff(np.array(masks, np.int64), start, end, reader.astype(np.int64))
    found = run(rows, read, staff, pool=pool, preemptive=preemptive)
    expected = slowly(rows, read, pool, masks, shifts, preemptive)
    assert found.finished.tolist() == pytest.approx(expected, nan_ok=True)
