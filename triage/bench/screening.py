"""The worker's way from decoded frames to verdicts, without Kafka, beside the bare network."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triage.bench.pair import Pair
from triage.decoding.frames import Frame
from triage.decoding.protocol import Request
from triage.inference.batch import BUCKETS
from triage.inference.devices import has_bf16, pick_device
from triage.inference.network import make_runner
from triage.inference.queue import BatchQueue, Scores
from triage.packages.load import find_packages, load_package
from triage.phantoms.films import chest_film
from triage.phantoms.heads import head_ct
from triage.settings import TriageSettings
from triage.worker.loaded_model import LoadedModel
from triage.worker.loading import load_models
from triage.worker.series import Analyst, make_threads

_SLICES, _SIDE = 12, 512  # pixels along a side, as frames come from the decoder
_AHEAD = 2  # series that are prepared at once


@contextmanager
def screening(*, quick: bool) -> Iterator[list[Pair]]:
    """A pair for each package of the site; the reference takes the very batches of ours.

    Raises LookupError when there is no package.
    """
    settings = TriageSettings()
    models, _ = load_models(settings)
    if not models:
        raise LookupError(
            f"no model package is in {settings.models}: VIGIE_MODELS names another folder"
        )
    folders = {
        package.name: folder
        for folder in find_packages(settings.models)
        if (package := load_package(folder))
    }
    with make_threads(settings.decoders) as threads:
        yield [_screen(one, folders[one.name], settings, threads, quick) for one in models]


def _screen(
    model: LoadedModel,
    folder: Path,
    settings: TriageSettings,
    threads: ThreadPoolExecutor,
    quick: bool,
) -> Pair:
    # Some seconds of work: the first ones find nothing to share a batch with.
    series = 4 if quick else 48 if model.axial else 320
    studies = _frames(model.axial, 2)
    images = np.concatenate([model.prepare(study) for study in studies])
    sizes: list[int] = []

    def noted(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(batch))
        return model.network(batch)

    def ours() -> float:
        sizes.clear()
        started = time.perf_counter()
        asyncio.run(_work(replace(model, network=noted), studies, threads, series))
        return sum(sizes) / (time.perf_counter() - started)

    bare = _bare(folder, settings)

    def reference() -> float:
        """The very batches of ours, prepared beforehand."""
        started = time.perf_counter()
        for size in sizes:
            bare(images[np.arange(size) % len(images)])
        return sum(sizes) / (time.perf_counter() - started)

    return Pair(
        f"{model.name}: decoded frames to verdicts beside the bare network, same batches",
        "images/s",
        ours,
        reference,
    )


async def _work(
    model: LoadedModel, studies: Sequence[list[Frame]], threads: ThreadPoolExecutor, series: int
) -> None:
    """`series` series through the analyst, let in as `Intake` does.

    They are prepared ahead of the network, but not by more than a batch.
    """
    turn = itertools.cycle(studies)
    queue = BatchQueue(
        {model.name: model.network}, urgent=-1, concurrent_batches=model.concurrent_batches
    )
    analyst = Analyst(
        [model],
        lambda _request: next(turn),
        queue,
        _nowhere,
        threads,
        lambda: datetime.now(UTC),
    )
    slots, taken = asyncio.Semaphore(_AHEAD), asyncio.Event()
    request = Request((), model.max_frames, model.axial)
    running = asyncio.create_task(queue.run(taken.set))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(series):
                await slots.acquire()
                while queue.waiting >= BUCKETS[-1]:
                    taken.clear()
                    await taken.wait()
                group.create_task(analyst.screen(model, request, 1, slots.release))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _nowhere(_reference: str, _name: str) -> Path:
    return Path()


def _frames(axial: bool, studies: int) -> list[list[Frame]]:
    rng = np.random.default_rng(1)
    if axial:
        heads = [head_ct(rng, None, _SLICES, _SIDE).astype(np.float32) for _ in range(studies)]
        return [[Frame(pixels, "hu", 5.0 * at) for at, pixels in enumerate(head)] for head in heads]
    return [
        [Frame((chest_film(rng, False, _SIDE) / 4095).astype(np.float32), "display")]
        for _ in range(studies)
    ]


def _bare(folder: Path, settings: TriageSettings) -> Scores:
    """The network that we serve, called by somebody who only wants the scores.

    No queue, no threads, no metrics.
    """
    package, device = load_package(folder), pick_device(settings.device)
    return make_runner(
        package, package.input.shape, device, settings.compiled, bf16=has_bf16(device)
    )[0]
