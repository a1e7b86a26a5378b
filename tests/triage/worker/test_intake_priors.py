"""Prefetched priors are screened behind all that is new, and none is left out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streams.events import SeriesReceived, encode
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import NOW, Harness, order, series
from triage.worker.urgency import PRIOR, UNKNOWN, UrgencyHints


def aged(study: str, days: float, kind: str = "mixed") -> SeriesReceived:
    return series(study).model_copy(
        update={"acquired_at": NOW - timedelta(days=days), "kind": kind}
    )


@pytest.mark.parametrize(
    ("one", "urgency"),
    [
        (aged("1.1", 30), PRIOR),
        (aged("1.1", 30, "archive"), PRIOR),
        (aged("1.1", 30, "modality"), UNKNOWN),  # its clock is wrong
        (aged("1.1", 1), UNKNOWN),
        (series("1.1"), UNKNOWN),  # states no time
    ],
)
def test_old_images_that_no_modality_sent_and_no_order_names_come_last(
    one: SeriesReceived, urgency: int
) -> None:
    assert UrgencyHints().of(one) == urgency


def test_old_images_that_an_order_names_have_its_class() -> None:
    hints = UrgencyHints()
    hints.remember(order("1.1", "routine"))
    assert hints.of(aged("1.1", 30)) == 3


async def test_promise_2_priors_wait_for_new_routine_studies_and_are_all_screened(
    ring: KeyRing,
) -> None:
    harness = Harness(ring)
    for number in range(6):
        await harness.put(number, aged(f"1.{number}", 30))
    named = order("1.5", "routine")
    harness.intake.on_order(encode(named))
    for number in range(6, 9):
        harness.intake.on_order(encode(order(f"1.{number}", "routine")))
        await harness.put(number, series(f"1.{number}"))
    await harness.work(9, also=9)
    done = [event.study_uid for event in harness.findings()]
    assert sorted(done) == [f"1.{number}" for number in range(9)]
    # Of the first five one was the oldest's turn; the one that its order names went with the new.
    assert set(done[:5]) - {"1.0"} == {"1.5", "1.6", "1.7", "1.8"}
