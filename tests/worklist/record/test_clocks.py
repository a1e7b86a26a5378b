"""Whose clock is off: what a fragment's stated time says of its sender."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streams.events import SeriesReceived
from tests.worklist.record.say import at, image
from worklist.record.images import clock_is_off

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("kind", "age", "off"),
    [
        ("modality", HOUR, False),
        ("modality", DAY, False),  # a backlog after downtime keeps its order
        ("modality", DAY + HOUR, True),
        ("modality", 9000 * DAY, True),  # a dead battery
        ("modality", -HOUR, True),
        ("archive", 9000 * DAY, False),  # a prior
        ("archive", -HOUR, True),
        ("mixed", 2 * DAY, True),
        ("mixed", 30 * DAY, False),  # historic: a prior, or an imported disc
        ("mixed", -HOUR, True),
    ],
)
def test_a_time_that_cannot_be_speaks_for_a_wrong_clock(
    kind: str, age: timedelta, off: bool
) -> None:
    event = image("u1.1", kind=kind, acquired_at=at(10) - age).event
    assert isinstance(event, SeriesReceived)
    assert clock_is_off(event, 7) is off


def test_where_nothing_is_historic_an_old_image_speaks_for_a_wrong_clock() -> None:
    event = image("u1.1", kind="mixed", acquired_at=at(10) - 30 * DAY).event
    assert isinstance(event, SeriesReceived)
    assert clock_is_off(event, 0)


@pytest.mark.parametrize("more", [{}, {"readable": False, "acquired_at": at(10) + HOUR}])
def test_what_states_no_time_or_is_no_image_says_nothing_of_a_clock(
    more: dict[str, object],
) -> None:
    event = image("u1.1", **more).event
    assert isinstance(event, SeriesReceived)
    assert not clock_is_off(event, 7)
