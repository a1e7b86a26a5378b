"""One chest film's way through the worker in stages, each alone: `vigie bench image-to-rank`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.events import SeriesReceived
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.settings import TriageSettings
from triage.worker.loaded_model import LoadedModel
from triage.worker.loading import load_models


@dataclass(frozen=True)
class StageTimes:
    """Seconds that each stage takes when nothing else runs; decoding prepares, too."""

    decode: float
    forward: float

    @property
    def total(self) -> float:
        """Of both, in seconds."""
        return self.decode + self.forward


@contextmanager
def stage_times(
    series: SeriesReceived, files: Sequence[Path], repeats: int
) -> Iterator[Callable[[], StageTimes]]:
    """Gives what measures the stages: the median of `repeats` films, one after the other.

    Raises LookupError when no package of the site is meant for `series`.
    """
    models, _ = load_models(TriageSettings())
    fit = [model for model in models if model.why_ineligible(series) is None]
    if not fit:
        raise LookupError(
            "no model package is meant for chest films: VIGIE_MODELS names another folder"
        )
    with closing(DecoderPool(1)) as decoders:
        yield lambda: _measure(fit[0], decoders, files, repeats)


def _measure(
    model: LoadedModel, decoders: DecoderPool, files: Sequence[Path], repeats: int
) -> StageTimes:
    times: list[tuple[float, float]] = []
    for number in range(repeats + 1):
        request = Request((str(files[number % len(files)]),), model.wanted)
        begun = time.perf_counter()
        images = decoders.decode(request).images
        decoded = time.perf_counter()
        if images is None:
            raise LookupError("the decoder did not prepare the film")
        model.network(images)
        times.append((decoded - begun, time.perf_counter() - decoded))
    warm = times[1:]
    return StageTimes(*(statistics.median(column) for column in zip(*warm, strict=True)))
