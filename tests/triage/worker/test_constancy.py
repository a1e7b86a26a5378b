"""A package that gives other scores than expected is in shadow; without scores it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from streams.errors import Reason, Unavailable
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import Harness, broken, prepare, series
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.inference.queue import BatchQueue
from triage.packages.load import PackageError
from triage.worker.constancy import Constancy, ReferenceSeries


def nothing(_folder: Path) -> list[Path]:
    """The harness's decoder has its frame, whatever it is asked for."""
    return []


def refuse(_frames: Sequence[Frame]) -> NDArray[np.float32]:
    raise NotAnalysed(Reason.BAD_GEOMETRY)


async def test_promise_3_a_package_that_drifted_goes_on_scoring_and_says_so_until_it_passes(
    ring: KeyRing,
) -> None:
    harness = Harness(ring, value=0.75)
    running = asyncio.create_task(harness.queue.run())
    made = []
    for expected in (0.75, 0.5, 0.75):
        await Constancy(harness.analyst, [ReferenceSeries("p", nothing, (expected,), 0.01)]).once()
        assert REGISTRY.get_sample_value("vigie_triage_constancy_ok", {"package": "p"}) == (
            expected == 0.75
        )
        made += await harness.analyst.analyse(series("1.1"), 0, 60)
    assert [(event.outcome, event.constancy) for event in made] == [
        ("flagged", True),
        ("flagged", False),
        ("flagged", True),
    ]
    assert made[0].event_id == made[2].event_id != made[1].event_id
    running.cancel()


async def test_what_was_scored_while_the_check_failed_is_doubted_though_it_passed_meanwhile(
    ring: KeyRing,
) -> None:
    harness = Harness(ring, value=0.75)
    running = asyncio.create_task(harness.queue.run())
    harness.analyst.drifted.add("p")
    (event,) = await harness.analyst.analyse(series("1.1"), 0, 60, harness.analyst.drifted.clear)
    assert (event.outcome, event.constancy) == ("flagged", False)
    running.cancel()


@pytest.mark.parametrize("wrong", ["nan", "raises", "unprepared"])
async def test_a_package_that_gives_its_references_no_score_screens_nothing_until_it_does(
    ring: KeyRing, wrong: str
) -> None:
    harness = Harness(ring, value=0.25)
    networks: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "nan": lambda images: np.full(len(images), np.nan)
    }
    good, references = harness.queue, [ReferenceSeries("p", nothing, (0.25,), 0.01)]
    if wrong == "unprepared":
        model = harness.analyst.models[0]
        harness.analyst.models = [replace(model, prepare=refuse)]
    else:
        harness.analyst.queue = BatchQueue({"p": networks.get(wrong, broken)})
    running = [asyncio.create_task(queue.run()) for queue in (harness.analyst.queue, good)]
    await Constancy(harness.analyst, references).once()
    assert (harness.analyst.failed, harness.analyst.drifted) == ({"p"}, set())
    (event,) = await harness.analyst.analyse(series("1.1"), 0, 60)
    assert event.reason is Reason.MODEL_FAILED
    harness.analyst.queue, harness.analyst.models = (
        good,
        [replace(harness.analyst.models[0], prepare=prepare)],
    )
    await Constancy(harness.analyst, references).once()
    assert harness.analyst.failed == set()
    for task in running:
        task.cancel()


@pytest.mark.parametrize(
    "away",
    [Unavailable(Reason.OVERLOADED, "decoder"), OSError(28, "full"), PackageError("was changed")],
)
async def test_a_reference_that_cannot_be_read_now_ends_no_process_and_is_asked_for_soon(
    ring: KeyRing, away: Exception
) -> None:
    harness = Harness(ring, value=0.25)
    running = asyncio.create_task(harness.queue.run())
    trials, pauses, states = iter([away, away, None]), list[float](), list[set[str]]()

    def write(_folder: Path) -> list[Path]:
        if (error := next(trials)) is not None:
            raise error
        return []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        states.append(set(harness.analyst.failed))
        if len(pauses) == 3:
            raise asyncio.CancelledError

    constancy = Constancy(harness.analyst, [ReferenceSeries("p", write, (0.25,), 0.01)], sleep)
    await constancy.once()
    with pytest.raises(asyncio.CancelledError):
        await constancy.daily(86400.0)
    assert states == [{"p"}, {"p"}, set()]
    assert pauses == [300.0, 300.0, 86400.0]
    running.cancel()
