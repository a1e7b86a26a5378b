"""A flag names its picture, and goes out before that is drawn, or although it cannot be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from streams.events import Finding, FindingsMade, SeriesReceived
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import Harness, series
from triage.judging.bodies import Unlike
from triage.worker import key_images
from triage.worker.key_images import KeyImages
from triage.worker.loaded_model import Verdict

REFERENCE = "ab" * 16 + "/" + "cd" * 16
Draw = Callable[[NDArray[np.float32], int], bytes]


def judge(scores: NDArray[np.float32], _unlike: Unlike | None) -> Verdict:
    flagged = bool(scores.max() > 0.5)
    found = Finding(code="X", name="x", flagged=flagged, probability=0.9, threshold=0.5)
    return Verdict("flagged" if flagged else "not_flagged", None, (found,))


def draw(image: NDArray[np.float32], output: int) -> bytes:
    return f"{output} {image.max():g}".encode()


def event(study: str = "1.2") -> SeriesReceived:
    return series(study).model_copy(update={"reference": REFERENCE})


async def screened(
    ring: KeyRing, pictures: KeyImages, *, value: float = 0.75, picture: Draw = draw
) -> FindingsMade:
    harness = Harness(ring, value=value)
    harness.analyst.models = [replace(harness.analyst.models[0], judge=judge, draw=picture)]
    harness.analyst.key_images = pictures
    running = asyncio.create_task(harness.queue.run())
    (made,) = await harness.analyst.analyse(event(), 0, 60)
    running.cancel()
    return made


async def test_a_flag_names_its_picture_and_the_instance_that_it_is_of(ring: KeyRing) -> None:
    kept: dict[str, bytes] = {}
    pictures = KeyImages(kept.__setitem__)
    made = await screened(ring, pictures)
    await pictures.drawn()
    assert made.key_image is not None
    assert kept == {made.key_image: b"0 0.75"}
    assert made.key_instance == event().names()[0]


async def test_what_is_not_flagged_has_none(ring: KeyRing) -> None:
    kept: dict[str, bytes] = {}
    pictures = KeyImages(kept.__setitem__)
    made = await screened(ring, pictures, value=0.25)
    await pictures.drawn()
    assert (made.outcome, made.key_image, kept) == ("not_flagged", None, {})


async def test_promise_3_a_flag_does_not_wait_for_its_picture(ring: KeyRing) -> None:
    going = threading.Event()
    kept: dict[str, bytes] = {}
    pictures = KeyImages(kept.__setitem__)

    def slow(image: NDArray[np.float32], output: int) -> bytes:
        going.wait(30)
        return draw(image, output)

    made = await screened(ring, pictures, picture=slow)
    assert (made.outcome, kept) == ("flagged", {})
    going.set()
    await pictures.drawn()
    assert list(kept) == [made.key_image]


@pytest.mark.parametrize("wrong", ["disk full", "no map"])
async def test_promise_3_a_flag_is_not_lost_with_its_picture(ring: KeyRing, wrong: str) -> None:
    def keep(_place: str, _png: bytes) -> None:
        raise OSError(28, "No space left on device")

    def broken(_image: NDArray[np.float32], _output: int) -> bytes:
        raise RuntimeError("no map")

    before = REGISTRY.get_sample_value("vigie_triage_key_images_missed_total") or 0
    pictures = KeyImages(keep)
    made = await screened(ring, pictures, picture=broken if wrong == "no map" else draw)
    await pictures.drawn()
    assert made.outcome == "flagged"
    assert REGISTRY.get_sample_value("vigie_triage_key_images_missed_total") == before + 1


async def test_a_burst_of_flags_gets_no_more_pictures_than_can_wait(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_images, "_MOST", 0)
    made = await screened(ring, KeyImages(lambda _place, _png: None))
    assert (made.outcome, made.key_image) == ("flagged", None)
