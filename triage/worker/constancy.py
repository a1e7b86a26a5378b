"""Constancy: at start and each day, reference images give the scores that they once gave."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import structlog

from triage import metrics
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.packages.load import Package
from triage.phantoms.series import phantom_series
from triage.worker.loaded_model import LoadedModel
from triage.worker.series import Analyst

log = structlog.get_logger()
_LEAST_URGENT = 3
State = Literal["passed", "drifted", "failed"]


@dataclass(frozen=True)
class ReferenceSeries:
    """One series of known score.

    Attributes:
        package: whose reference it is.
        expected: the raw score, mean over the images.
        tolerance: how far a score may be from it.
    """

    package: str
    frames: tuple[Frame, ...]
    expected: float
    tolerance: float


def reference_series(package: Package) -> list[ReferenceSeries]:
    """What the package's manifest says of its constancy, as series to screen."""
    kind = package.input.kind
    return [
        ReferenceSeries(
            package.name,
            tuple(phantom_series(np.random.default_rng(entry.seed), kind)[0]),
            entry.expected,
            entry.tolerance,
        )
        for entry in package.manifest.constancy
    ]


def _state(drifts: Sequence[float], references: Sequence[ReferenceSeries]) -> State:
    if any(math.isinf(drift) for drift in drifts):
        return "failed"
    within = (
        drift <= reference.tolerance for drift, reference in zip(drifts, references, strict=True)
    )
    return "passed" if all(within) else "drifted"


class Constancy:
    """Screens the references as live series are, from decoded frames on.

    Until it passes again, a package with other scores than expected is in shadow: it goes on
    scoring, and the list does not count it. One that gives no score, or none that is a number,
    screens nothing.
    """

    def __init__(self, analyst: Analyst, references: Sequence[ReferenceSeries]) -> None:
        self._analyst = analyst
        self._references = references

    async def once(self) -> None:
        """One run over all packages; sets gauges, `Analyst.failed` and `Analyst.drifted`."""
        for model in self._analyst.models:
            mine = [one for one in self._references if one.package == model.name]
            drifts = [await self._drift(model, reference) for reference in mine]
            self._note(model.name, _state(drifts, mine), max(drifts, default=0.0), len(mine))

    def _note(self, package: str, state: State, drift: float, references: int) -> None:
        self._analyst.failed.discard(package)
        self._analyst.drifted.discard(package)
        if state == "failed":
            self._analyst.failed.add(package)
        if state == "drifted":
            self._analyst.drifted.add(package)
        passed = state == "passed"
        metrics.constancy_ok.labels(package).set(passed)
        metrics.constancy_drift.labels(package).set(drift)
        say = log.info if passed else log.error
        say("constancy", package=package, ok=passed, drift=drift, references=references)

    async def _drift(self, model: LoadedModel, reference: ReferenceSeries) -> float:
        """How far the score is from the expected one; infinite where there is none."""
        loop = asyncio.get_running_loop()
        try:
            images = await loop.run_in_executor(
                self._analyst.threads, model.prepare, reference.frames
            )
        except NotAnalysed:
            return math.inf
        scores = await self._analyst.queue.scores(model.name, images, _LEAST_URGENT)
        mean = float(np.mean(scores))
        return abs(mean - reference.expected) if math.isfinite(mean) else math.inf

    async def daily(self, every_s: float) -> None:
        """Runs each `every_s` seconds until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.once()
