"""Where reading goes on, and that a topic made anew is noticed while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from infra.embedded import MockKafka
from streams.kafka.faust_app import expired, inside, until_made_anew
from streams.kafka.watermarks import Watermarks
from streams.settings import StreamsSettings


@pytest.fixture
def watermarks() -> Iterator[Watermarks]:
    broker = MockKafka()
    one = Watermarks(StreamsSettings(kafka=broker.address, kafka_mock=True))
    yield one
    one.close()
    broker.stop()


@pytest.mark.parametrize(
    ("committed", "begins"),
    [(None, 10), (-1, 10), (3, 10), (10, 10), (15, 15), (20, 20), (21, 10)],
)
def test_reading_goes_on_inside_the_log(committed: int | None, begins: int) -> None:
    assert inside(committed, 10, 20) == begins


@pytest.mark.parametrize(
    ("committed", "lost"), [(None, 0), (-1, 0), (3, 7), (9, 1), (10, 0), (15, 0), (21, 0)]
)
def test_what_expired_before_a_group_read_it_is_counted(committed: int | None, lost: int) -> None:
    assert expired(committed, 10) == lost


def reads(offset: int | None) -> Any:
    """What Faust's consumer tells: that it has read `orders` so far."""
    place = TP("orders", 0)
    return SimpleNamespace(
        consumer=SimpleNamespace(assignment=lambda: {place}, _read_offset={place: offset})
    )


async def test_a_log_that_ends_before_what_was_read_is_another(watermarks: Watermarks) -> None:
    async with asyncio.timeout(10):
        await until_made_anew(reads(14_187), watermarks, 0.05)


@pytest.mark.parametrize("offset", [None, 0])
async def test_a_log_that_is_as_long_as_what_was_read_is_the_same(
    watermarks: Watermarks, offset: int | None
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await until_made_anew(reads(offset), watermarks, 0.05)
