"""Constancy: reference images through the live path, at start and each day, give the scores that
they gave when shipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import structlog

from triage import metrics
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.packages.load import Package
from triage.phantoms import images as phantoms
from triage.worker.series import Analyst, Resident

log = structlog.get_logger()
_LEAST_URGENT = 3


@dataclass(frozen=True)
class Reference:
    """One reference series of `package`: its frames, and the raw score (their mean over images) ±
    `tolerance`.
    """

    package: str
    frames: tuple[Frame, ...]
    expected: float
    tolerance: float


def reference_series(
    rng: np.random.Generator, kind: Literal["head_ct", "chest_film"]
) -> tuple[list[Frame], int]:
    """One phantom as decoded frames, and whether it has the finding (1) or not (0)."""
    positive = bool(rng.random() < 0.5)
    if kind == "head_ct":
        volume = phantoms.head_ct(
            rng, str(rng.choice(phantoms.BLEEDS)) if positive else None, slices=8
        )
        return [Frame(plane.astype(np.float32), "hu") for plane in volume], int(positive)
    film = phantoms.chest_film(rng, positive, 384)
    return [Frame(film.astype(np.float32) / np.float32(4095), "display")], int(positive)


def references(packages: Sequence[Package]) -> list[Reference]:
    """What the packages' manifests say of themselves, as series to screen."""
    return [
        Reference(
            package.name,
            tuple(reference_series(np.random.default_rng(item.seed), package.input.kind)[0]),
            item.expected,
            item.tolerance,
        )
        for package in packages
        for item in package.manifest.constancy
    ]


class Constancy:
    """Screens the references as live series are, from decoded frames on.

    Until it passes again, a package with other scores than expected is in shadow: it goes on
    scoring, and the list does not count it. One that gives no score, or none that is a number,
    screens nothing.
    """

    def __init__(self, analyst: Analyst, references: Sequence[Reference]) -> None:
        self._analyst = analyst
        self._references = references

    async def once(self) -> None:
        """One run over all packages that have references; sets the gauges, `Analyst.failed` and
        `Analyst.drifted`.
        """
        for resident in self._analyst.residents:
            mine = [
                reference for reference in self._references if reference.package == resident.name
            ]
            drifts = [await self._drift(resident, reference) for reference in mine]
            ok = all(
                drift <= reference.tolerance for drift, reference in zip(drifts, mine, strict=True)
            )
            metrics.constancy_ok.labels(resident.name).set(ok)
            drift = max(drifts, default=0.0)
            metrics.constancy_drift.labels(resident.name).set(drift)
            for names, member in (
                (self._analyst.failed, np.isinf(drift)),
                (self._analyst.drifted, not ok and np.isfinite(drift)),
            ):
                (names.add if member else names.discard)(resident.name)
            log.log(
                20 if ok else 40,
                "constancy",
                package=resident.name,
                ok=ok,
                drift=drift,
                references=len(mine),
            )

    async def _drift(self, resident: Resident, reference: Reference) -> float:
        loop = asyncio.get_running_loop()
        try:
            images = await loop.run_in_executor(
                self._analyst.threads, resident.prepare, reference.frames
            )
        except NotAnalysed:
            return float("inf")
        scores = await self._analyst.forward.scores(resident.name, images, _LEAST_URGENT)
        mean = float(np.mean(scores))
        return abs(mean - reference.expected) if np.isfinite(mean) else float("inf")

    async def daily(self, every_s: float) -> None:
        """Runs each `every_s` seconds until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.once()
