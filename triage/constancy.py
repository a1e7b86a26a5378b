"""Constancy: reference images through the live path, at start and each day, give the scores that they gave when shipped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from triage import metrics
from triage.analyse import Analyst, Resident
from triage.errors import NotAnalysed
from triage.frames import Frame

log = structlog.get_logger()
_LEAST_URGENT = 3


@dataclass(frozen=True)
class Reference:
    """One reference series of `package`: its frames, and the raw score (their mean over images) ± `tolerance`."""

    package: str
    frames: tuple[Frame, ...]
    expected: float
    tolerance: float


class Constancy:
    """Screens the references as live series are, from decoded frames on. A package that fails is not used until it passes."""

    def __init__(self, analyst: Analyst, references: Sequence[Reference]) -> None:
        self._analyst = analyst
        self._references = references

    async def once(self) -> None:
        """One run over all packages that have references; sets the gauges and `Analyst.failed`."""
        for resident in self._analyst.residents:
            mine = [reference for reference in self._references if reference.package == resident.name]
            drifts = [await self._drift(resident, reference) for reference in mine]
            ok = all(drift <= reference.tolerance for drift, reference in zip(drifts, mine, strict=True))
            metrics.constancy_ok.labels(resident.name).set(ok)
            metrics.constancy_drift.labels(resident.name).set(max(drifts, default=0.0))
            (self._analyst.failed.discard if ok else self._analyst.failed.add)(resident.name)
            log.log(20 if ok else 40, "constancy", package=resident.name, ok=ok, references=len(mine))

    async def _drift(self, resident: Resident, reference: Reference) -> float:
        loop = asyncio.get_running_loop()
        try:
            images = await loop.run_in_executor(self._analyst.threads, resident.prepare, reference.frames)
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
