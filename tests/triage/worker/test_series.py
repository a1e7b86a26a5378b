"""A verdict on a series: the worst of its stacks, and *not flagged* only of what was read whole."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from streams.errors import Park, Reason
from streams.events import Coverage, Finding, FindingsMade
from streams.identity.seal import KeyRing, new_ring
from tests.triage.worker.harness import Harness, series
from triage.decoding.frames import Decoded, Frame, Read
from triage.decoding.protocol import Request, Wanted
from triage.eligibility.rule import Rule
from triage.worker.loaded_model import Verdict
from triage.worker.series import worst

ANY = Wanted(axial=True)


def found_in(
    read: Read,
    *,
    value: float = 0.0,
    stacks: tuple[int, ...] = (0,),
    wanted: Wanted = ANY,
) -> FindingsMade:
    harness = Harness(new_ring(), value=value)
    frames = [
        Frame(np.full((4, 4), value * stack, dtype=np.float32), "hu", 5.0 * at, stack)
        for at, stack in enumerate(stacks)
    ]

    def decode(_request: Request) -> Decoded:
        return Decoded(frames, read)

    def incomplete(one: Read, here: int, announced: int | None) -> Reason | None:
        assert (here, announced) == (1, 30)
        return None if one.read == one.there else Reason.INCOMPLETE

    harness.analyst.decode = decode
    harness.analyst.models = [
        replace(model, why_incomplete=incomplete, wanted=wanted) for model in harness.analyst.models
    ]

    async def run() -> None:
        event = series("1.2").model_copy(update={"announced": 30})
        await harness.put(0, event)
        await harness.work(1)

    asyncio.run(run())
    (finding,) = harness.findings()
    return finding


def test_what_was_not_read_whole_is_not_called_not_flagged() -> None:
    finding = found_in(Read(20, 24, 120.0, 5.0, 25.0, digest="ab" * 32))
    assert (finding.outcome, finding.reason) == ("not_analysed", Reason.INCOMPLETE)
    assert finding.coverage == Coverage(
        read=20, there=24, announced=30, extent_mm=120.0, spacing_mm=5.0, largest_gap_mm=25.0
    )
    assert finding.bytes_digest == "ab" * 32


def test_a_series_without_an_age_that_is_read_says_so() -> None:
    asked = Wanted(rule=Rule(age_years=(0.0, 72.0), age_absent="read"))
    coverage = found_in(Read(24, 24), wanted=asked).coverage
    assert coverage is not None
    assert not coverage.age_stated
    coverage = found_in(Read(24, 24)).coverage
    assert coverage is not None
    assert coverage.age_stated


def test_what_was_read_whole_is_not_flagged() -> None:
    finding = found_in(Read(24, 24))
    assert (finding.outcome, finding.reason) == ("not_flagged", None)


def test_a_flag_needs_no_whole_series() -> None:
    finding = found_in(Read(1, 24, primary=False), value=1.0, stacks=(1,))
    assert (finding.outcome, finding.reason) == ("flagged", None)
    assert finding.coverage is not None
    assert not finding.coverage.primary


def test_a_bleed_in_the_second_acquisition_flags_the_series() -> None:
    assert found_in(Read(4, 4), value=1.0, stacks=(0, 0, 1, 1)).outcome == "flagged"


def test_a_bleed_that_only_a_derived_image_shows_flags_the_series() -> None:
    found = found_in(Read(2, 2, beside=1), value=1.0, stacks=(0, 0, 1))
    assert (found.outcome, found.reason) == ("flagged", None)


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_stack_decides(order: int) -> None:
    def verdict(outcome: str, probability: float) -> Verdict:
        one = Finding(code="X", name="x", flagged=False, probability=probability, threshold=0.5)
        return Verdict(outcome, None, (one,))  # type: ignore[arg-type]

    flagged, unsure = verdict("flagged", 0.6), verdict("not_analysed", 0.9)
    calm, calmer = verdict("not_flagged", 0.2), verdict("not_flagged", 0.1)
    assert worst([calm, unsure, flagged][::order]) is flagged
    assert worst([calm, unsure][::order]) is unsure
    assert worst([calmer, calm][::order]) is calm


def test_a_series_whose_headers_are_damaged_is_meant_for_nobody(ring: KeyRing) -> None:
    damaged = series("1.1").model_copy(update={"damaged": True})
    assert Harness(ring).analyst.meant_for(damaged) == ([], Reason.BAD_DICOM)


def test_a_series_that_a_damaged_package_was_meant_for_says_so(ring: KeyRing) -> None:
    harness = Harness(ring)
    harness.analyst.models, harness.analyst.refused = [], [lambda _series: None]
    assert harness.analyst.meant_for(series("1.1"))[1] is Reason.PACKAGE_REFUSED
    harness.analyst.refused = [lambda _series: Reason.OUTSIDE_MODALITY]
    assert harness.analyst.meant_for(series("1.1"))[1] is Reason.NO_MODEL


@pytest.mark.parametrize(("modality", "said"), [("CT", Reason.UNEXPECTED), ("MR", None)])
async def test_a_series_whose_event_is_parked_is_not_analysed(
    ring: KeyRing, modality: str, said: Reason | None
) -> None:
    harness = Harness(ring)

    def decode(_request: Request) -> Decoded:
        raise RuntimeError("nobody thought of this")

    harness.analyst.decode = decode
    await harness.put(0, series("1.1", modality))
    await harness.put(1, series("1.2", "MR"))
    await harness.work(3 if said else 2, also=2)
    topics = [topic for topic, _ in harness.published]
    assert topics.count("parked") == (1 if said else 0)
    found = {event.study_uid: event for event in harness.findings()}
    assert found["1.1"].reason is (said or Reason.OUTSIDE_MODALITY)
    assert harness.acknowledged == [0, 1]


async def test_a_flag_that_was_found_is_not_taken_back_where_its_event_is_parked(
    ring: KeyRing,
) -> None:
    harness, failing = Harness(ring, value=1.0), [True]

    async def publish(topic: str, key: str, value: bytes) -> None:
        if topic == "findings" and failing:
            failing.pop()
            raise Park(Reason.TOO_LARGE)
        harness.published.append((topic, value))

    harness.intake.publish = publish
    await harness.put(0, series("1.1"))
    await harness.work(2, also=1)
    assert [topic for topic, _ in harness.published] == ["parked", "findings"]
    assert [event.outcome for event in harness.findings()] == ["flagged"]


async def test_an_age_that_only_the_door_knows_is_not_asked_of_the_images(ring: KeyRing) -> None:
    harness, asked = Harness(ring), list[Request]()

    def decode(request: Request) -> Decoded:
        asked.append(request)
        return Decoded([harness.frame], Read(1, 1))

    rule = Rule(age_years=(1.0, 5.0), age_absent="refuse")
    harness.analyst.decode = decode
    harness.analyst.models = [
        replace(model, wanted=Wanted(rule=rule)) for model in harness.analyst.models
    ]
    await harness.put(0, series("1.1"))
    await harness.work(1)
    assert asked[0].wanted.rule == replace(rule, age_absent="read")
