"""Constancy: at start and each day, reference images give the scores that they once gave."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import structlog

from streams.errors import Unavailable
from triage import metrics
from triage.decoding.protocol import Request
from triage.errors import NotAnalysed
from triage.evaluation.references import write_reference
from triage.judging.flagging import Outcome
from triage.packages.load import Package, PackageError
from triage.packages.manifest import ConstancyEntry
from triage.worker.loaded_model import LoadedModel
from triage.worker.series import Analyst, Images, verdict_of

log = structlog.get_logger()
_LEAST_URGENT = 3
_AGAIN_S = 300.0  # a full disk or a busy machine is no verdict for a day
State = Literal["passed", "drifted", "failed"]


@dataclass(frozen=True)
class ReferenceSeries:
    """One series of known score.

    Attributes:
        package: whose reference it is.
        write: writes its DICOM files into a folder, and says which they are.
        expected: the raw score of each output, mean over the images.
        tolerance: how far a score may be from it.
        outcomes: verdicts that are as expected; empty: any.
    """

    package: str
    write: Callable[[Path], Sequence[Path]]
    expected: tuple[float, ...]
    tolerance: float
    outcomes: frozenset[Outcome] = frozenset()


def reference_series(package: Package) -> list[ReferenceSeries]:
    """What the package's manifest says of its constancy, as series to screen."""
    return [
        ReferenceSeries(
            package.name,
            partial(write_reference, package, entry),
            entry.expected,
            entry.tolerance,
            _outcomes(package, entry),
        )
        for entry in package.manifest.constancy
    ]


def _outcomes(package: Package, entry: ConstancyEntry) -> frozenset[Outcome]:
    if entry.outcome is None:
        return frozenset()
    if entry.outcome == "not_analysed" or not package.site_scales:
        return frozenset((entry.outcome,))
    # The site's threshold may flag what the package's does not; abstaining does not depend on it.
    return frozenset(("flagged", "not_flagged"))


@dataclass(frozen=True)
class _Answer:
    """What one reference gave: distance from the expected scores (infinite: none), and whether the
    verdict was as expected.
    """

    drift: float
    agrees: bool = True


def _state(answers: Sequence[_Answer], references: Sequence[ReferenceSeries]) -> State:
    if not answers or any(math.isinf(answer.drift) for answer in answers):
        return "failed"
    within = (
        answer.agrees and answer.drift <= reference.tolerance
        for answer, reference in zip(answers, references, strict=True)
    )
    return "passed" if all(within) else "drifted"


class Constancy:
    """Screens the references as live series are: jail, preparation, batches, judgement.

    Until it passes again, a package with other scores than expected is in shadow: it goes on
    scoring, and the list does not count it. One that gives no score, or none that is a number,
    screens nothing; neither does one without references.
    """

    def __init__(
        self,
        analyst: Analyst,
        references: Sequence[ReferenceSeries],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._analyst = analyst
        self._references = references
        self._sleep = sleep

    async def once(self) -> None:
        """One run over all packages; sets gauges, `Analyst.failed` and `Analyst.drifted`."""
        for model in self._analyst.models:
            mine = [one for one in self._references if one.package == model.name]
            answers = [await self._answer(model, reference) for reference in mine]
            drift = max((answer.drift for answer in answers), default=math.inf)
            self._note(model.name, _state(answers, mine), drift, len(mine))

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

    async def _answer(self, model: LoadedModel, reference: ReferenceSeries) -> _Answer:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._analyst.threads, self._images, model, reference
            )
        except (NotAnalysed, Unavailable, PackageError, OSError):
            # No decoder, no room for its files, or one that was changed: this package's matter.
            return _Answer(math.inf)
        scores = await self._analyst.queue.scores(model.name, found.images, _LEAST_URGENT)
        if not np.isfinite(scores).all():
            return _Answer(math.inf)
        outputs = scores.reshape(len(scores), -1)[:, : len(reference.expected)]
        apart = np.abs(outputs.mean(0) - np.array(reference.expected))
        outcome = verdict_of(model, scores, found).outcome
        return _Answer(float(apart.max()), not reference.outcomes or outcome in reference.outcomes)

    def _images(self, model: LoadedModel, reference: ReferenceSeries) -> Images:
        """In a thread. Written anew each time: what lies in a temporary folder for days may go."""
        with TemporaryDirectory(prefix="vigie-reference-") as folder:
            paths = tuple(map(str, reference.write(Path(folder))))
            # Which series it is meant for is no matter of constancy.
            return self._analyst.images(model, Request(paths, replace(model.wanted, rule=None)))

    async def daily(self, every_s: float) -> None:
        """Runs each `every_s` seconds until cancelled, sooner while some package does not pass."""
        while True:
            passed = not self._analyst.failed | self._analyst.drifted
            await self._sleep(every_s if passed else min(every_s, _AGAIN_S))
            await self.once()
