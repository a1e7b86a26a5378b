"""Batches: never too large, nothing twice or lost, the urgent at once, a quarter to the oldest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.inference.batch import BUCKETS, MAX_WAIT_S, Batcher


@given(st.lists(st.integers(0, 3), max_size=200), st.sampled_from(BUCKETS))
def test_every_image_goes_once_and_no_batch_is_too_large(
    urgencies: list[int], max_images: int
) -> None:
    batcher: Batcher[int] = Batcher(max_images=max_images)
    for order, urgency in enumerate(urgencies):
        batcher.add(order, urgency, order, 0.0)
    gone: list[int] = []
    while len(batcher):
        batch = batcher.take()
        assert 0 < len(batch) <= max_images
        gone += batch
    assert sorted(gone) == list(range(len(urgencies)))
    assert batcher.due_in_s(0.0) is None


@given(st.lists(st.integers(0, 3), min_size=9, max_size=100))
def test_a_quarter_goes_to_the_oldest_and_the_rest_to_the_most_urgent(urgencies: list[int]) -> None:
    batcher: Batcher[int] = Batcher(max_images=8)
    for order, urgency in enumerate(urgencies):
        batcher.add(order, urgency, order, 0.0)
    batch = set(batcher.take())
    assert {0, 1} <= batch
    rest = sorted(range(2, len(urgencies)), key=lambda order: (urgencies[order], order))[:6]
    assert batch == {0, 1, *rest}


def test_who_waits_how_long() -> None:
    batcher: Batcher[str] = Batcher(urgent=0, max_images=4)
    assert batcher.due_in_s(1.0) is None
    batcher.add("a", 2, 0, 1.0)
    assert batcher.due_in_s(1.0) == pytest.approx(MAX_WAIT_S)
    assert batcher.due_in_s(1.0 + MAX_WAIT_S) == 0.0
    batcher.add("b", 0, 1, 1.0)
    assert batcher.due_in_s(1.0) == 0.0  # urgent
    assert batcher.take() == ["b", "a"]
    for order in range(4):
        batcher.add("c", 3, order, 2.0)
    assert batcher.due_in_s(2.0) == 0.0  # full
