"""The worker's way from stored files to verdicts, without Kafka, beside the bare network."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triage.bench.pair import Pair
from triage.bench.screening_files import SIDE, series_files
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.inference.batch import BUCKETS
from triage.inference.devices import pick_device
from triage.inference.network import make_runner
from triage.inference.queue import BatchQueue, Scores
from triage.packages.load import Package, find_packages, load_package
from triage.settings import TriageSettings
from triage.worker.loaded_model import LoadedModel
from triage.worker.loading import load_models
from triage.worker.series import Analyst, make_threads


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
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigie-bench-")))
        decoders = DecoderPool(settings.decoders)
        stack.callback(decoders.close)
        yield [
            _Screening(
                one,
                _studies(one, load_package(folders[one.name]), scratch),
                decoders,
                settings,
                quick,
            ).pair(_bare(folders[one.name], settings))
            for one in models
        ]


@dataclass
class _Screening:
    """One package, and series that it is meant for."""

    model: LoadedModel
    studies: Sequence[Request]
    decoders: DecoderPool
    settings: TriageSettings
    quick: bool

    def pair(self, bare: Scores) -> Pair:
        """Ours, and `bare` on the very batches of ours, prepared beforehand."""
        # Some seconds of work: the first ones find nothing to share a batch with.
        series = 4 if self.quick else 48 if self.model.wanted.axial else 320
        decoded = [self.decoders.decode(study).images for study in self.studies]
        images = np.concatenate([one for one in decoded if one is not None])
        sizes: list[int] = []

        def noted(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            sizes.append(len(batch))
            return self.model.network(batch)

        def ours() -> float:
            sizes.clear()
            started = time.perf_counter()
            asyncio.run(self._work(replace(self.model, network=noted), series))
            return sum(sizes) / (time.perf_counter() - started)

        def reference() -> float:
            started = time.perf_counter()
            for size in sizes:
                bare(images[np.arange(size) % len(images)])
            return sum(sizes) / (time.perf_counter() - started)

        return Pair(
            f"{self.model.name}: uncompressed files of {SIDE}² to verdicts, "
            f"{self.settings.decoders} decoders, beside the bare network, same batches",
            "images/s",
            ours,
            reference,
        )

    async def _work(self, model: LoadedModel, series: int) -> None:
        """`series` series through the analyst, let in as `Intake` does.

        They are decoded and prepared ahead of the network, but not by more than a batch.
        """
        ahead = self.settings.decoders + 1
        turn = itertools.cycle(self.studies)
        queue = BatchQueue(
            {model.name: model.network}, urgent=-1, concurrent_batches=model.concurrent_batches
        )
        with make_threads(ahead) as threads:
            analyst = Analyst(
                [model], self.decoders.decode, queue, _nowhere, threads, lambda: datetime.now(UTC)
            )
            slots, taken = asyncio.Semaphore(ahead), asyncio.Event()
            running = asyncio.create_task(queue.run(taken.set))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(series):
                        await slots.acquire()
                        while queue.waiting >= BUCKETS[-1]:
                            taken.clear()
                            await taken.wait()
                        group.create_task(analyst.screen(model, next(turn), 1, slots.release))
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


def _nowhere(_reference: str, _name: str) -> Path:
    return Path()


def _studies(model: LoadedModel, package: Package, folder: Path) -> list[Request]:
    """Two series, as files in `folder`."""
    return [
        Request(tuple(map(str, series_files(package.input, folder, seed))), model.wanted)
        for seed in (1, 2)
    ]


def _bare(folder: Path, settings: TriageSettings) -> Scores:
    """The network that we serve, called by somebody who only wants the scores.

    No queue, no threads, no metrics.
    """
    package, device = load_package(folder), pick_device(settings.device)
    return make_runner(package, package.input.shape, device, settings.compiled).run
