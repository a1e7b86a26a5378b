"""Series that wait: told when they are late, screened when there is room; old versions dropped."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from streams.errors import Reason
from streams.events import FindingsMade, SeriesReceived, Version, encode, pack
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import NOW, Harness, order, series
from triage.worker.urgency import UrgencyHints


def told(event: FindingsMade) -> tuple[str, str, Reason | None]:
    return event.study_uid, event.outcome, event.reason


def of(event: SeriesReceived, images: int, *, age_s: float = 0.0) -> SeriesReceived:
    """`event` with so many images, the last of which came `age_s` ago."""
    last = NOW - timedelta(seconds=age_s)
    return event.model_copy(
        update={
            "event_id": f"{images:032x}",
            "instances": pack(f"{number:016x}" for number in range(images)),
            "version": Version(time=last, message_time=last, digest="cd" * 8),
        }
    )


async def test_late_is_said_at_once_and_the_series_is_screened_all_the_same(ring: KeyRing) -> None:
    harness = Harness(ring, value=1.0, deadline_s=60)
    await harness.put(0, series("1.1"))
    harness.now = 61
    await harness.intake.tell_late()
    assert [told(event) for event in harness.findings()] == [("1.1", "not_analysed", Reason.LATE)]
    assert harness.acknowledged == []
    await harness.work(2, also=1)
    assert told(harness.findings()[1]) == ("1.1", "flagged", None)
    assert harness.acknowledged == [0]


async def test_late_ones_wait_until_nothing_else_does(ring: KeyRing) -> None:
    harness = Harness(ring, deadline_s=60)
    await harness.put(0, series("1.1"))
    harness.now = 61
    await harness.intake.tell_late()
    for number in range(1, 4):
        await harness.put(number, series(f"2.{number}"))
    await harness.work(5, also=4)
    assert [told(event)[0] for event in harness.findings()[1:]] == ["2.1", "2.2", "2.3", "1.1"]


async def test_the_deadline_counts_from_the_last_image_not_from_when_the_event_was_read(
    ring: KeyRing,
) -> None:
    harness = Harness(ring, deadline_s=60)
    await harness.put(0, of(series("1.1"), 1, age_s=50))
    await harness.put(1, of(series("1.2"), 1, age_s=5))
    harness.now = 11
    await harness.intake.tell_late()
    assert [told(event)[0] for event in harness.findings()] == ["1.1"]


async def test_one_that_becomes_late_while_it_is_worked_on_is_told_and_screened_again(
    ring: KeyRing,
) -> None:
    harness = Harness(ring, value=1.0, deadline_s=0.05)
    slow = [True]
    screen = harness.analyst.screen

    async def hang_once(*args: object, **kwargs: object) -> object:
        if slow:
            slow.clear()
            await asyncio.sleep(5)
        return await screen(*args, **kwargs)  # type: ignore[arg-type]

    harness.analyst.screen = hang_once  # type: ignore[method-assign, assignment]
    await harness.put(0, series("1.1"))
    await harness.work(2, also=1)
    assert [told(event)[1:] for event in harness.findings()] == [
        ("not_analysed", Reason.LATE),
        ("flagged", None),
    ]


async def test_where_no_package_is_meant_for_it_late_is_not_the_reason(ring: KeyRing) -> None:
    harness = Harness(ring, deadline_s=60)
    await harness.put(0, series("1.2", "MR"))
    harness.now = 61
    await harness.intake.tell_late()
    assert harness.findings()[0].reason is Reason.OUTSIDE_MODALITY


async def test_late_ones_make_room_for_what_is_new(ring: KeyRing) -> None:
    harness = Harness(ring, deadline_s=60)
    harness.intake = replace(harness.intake, read_ahead=3, stopped=asyncio.Event())
    for number in range(3):
        await harness.put(number, series(f"1.{number}"))
    reading = asyncio.create_task(harness.put(3, series("2.1")))
    await asyncio.sleep(0.01)
    assert not reading.done()
    harness.now = 61
    await harness.intake.tell_late()
    await asyncio.wait_for(reading, 5)
    assert harness.acknowledged == [0]
    assert {told(event)[2] for event in harness.findings()} == {Reason.LATE}


@pytest.mark.parametrize("newest_first", [False, True])
async def test_of_versions_that_wait_only_the_fullest_is_screened(
    ring: KeyRing, newest_first: bool
) -> None:
    harness = Harness(ring)
    versions = [of(series("1.1"), images) for images in (1, 5, 9)]
    for offset, event in enumerate(reversed(versions) if newest_first else versions):
        await harness.put(offset, event)
    await harness.work(1, also=3)
    (event,) = harness.findings()
    assert event.input_digest == versions[-1].event_id
    assert harness.acknowledged == [0, 1, 2]


async def test_a_version_of_another_patient_or_with_other_images_supersedes_nothing(
    ring: KeyRing,
) -> None:
    harness = Harness(ring)
    first = of(series("1.1"), 3)
    other = first.model_copy(update={"event_id": "ef" * 16, "instances": pack(["f" * 16])})
    elsewhere = first.model_copy(update={"event_id": "ee" * 16, "gateway": "h"})
    for offset, event in enumerate((first, other, elsewhere)):
        await harness.put(offset, event)
    await harness.work(3, also=3)
    assert len(harness.findings()) == 3


def said(priority: str, minute: int, sender: str = "ris") -> object:
    at = NOW + timedelta(minutes=minute)
    version = Version(time=at, message_time=at, digest="cd" * 8)
    return order("1.1", priority).model_copy(update={"version": version, "sender": sender})


def test_the_newest_order_wins_however_late_an_older_one_comes() -> None:
    hints = UrgencyHints()
    hints.remember(said("stat", 7))
    assert hints.remember(said("routine", 0)) == 0
    assert hints.remember(said("routine", 9)) == 3
    assert hints.of(series("1.1")) == 3


def test_between_sources_the_more_urgent_counts() -> None:
    hints = UrgencyHints()
    hints.remember(said("stat", 0, "ordering"))
    assert hints.remember(said("routine", 5, "ris")) == 0


def test_an_order_says_nothing_of_what_it_does_not_mention() -> None:
    hints = UrgencyHints()
    hints.remember(said("stat", 0))
    silent = said("stat", 5).model_copy(update={"priority": None})  # type: ignore[attr-defined]
    assert hints.remember(silent) == 0
    emptied = silent.model_copy(update={"emptied": ("priority",)})
    assert hints.remember(emptied) == 2
    assert encode(emptied)
