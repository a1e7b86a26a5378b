"""One series through the packages that are meant for it: findings, or the reason why not."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import SupportsInt

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from streams.events import Coverage, FindingsMade, SeriesReceived
from streams.studykey import digest
from triage import metrics
from triage.decoding.protocol import Decoder, Request
from triage.errors import NotAnalysed
from triage.inference.queue import BatchQueue
from triage.worker.loaded_model import LoadedModel, Verdict

_NICENESS = 10
# Of several packages that did not want a series, the reason that came nearest is told.
_NEAREST = (
    Reason.OUTSIDE_VIEW,
    Reason.OUTSIDE_AGE,
    Reason.OUTSIDE_BODY_PART,
    Reason.OUTSIDE_MODALITY,
)


def _nothing() -> None:
    """For those who do not ask when decoding is over."""


@dataclass
class Analyst:
    """All that turns a series into findings.

    Attributes:
        path: where an instance lies, by the series' reference and the instance's name.
        failed: packages that gave no score in their last constancy run; they screen nothing.
        drifted: packages that gave other scores than expected; theirs are published as such, and
            the list does not count them.
    """

    models: Sequence[LoadedModel]
    decode: Decoder
    queue: BatchQueue
    path: Callable[[str, str], Path]
    threads: ThreadPoolExecutor
    now: Callable[[], datetime]
    failed: set[str] = field(default_factory=set)
    drifted: set[str] = field(default_factory=set)

    def meant_for(self, series: SeriesReceived) -> tuple[list[LoadedModel], Reason]:
        """The packages that are meant for `series`, and the reason to tell where there is none."""
        fit, reasons = [], []
        for model in self.models:
            reason = model.why_ineligible(series)
            if reason is None:
                fit.append(model)
            else:
                reasons.append(reason)
        return fit, next(
            (reason for reason in _NEAREST if reason in reasons),
            reasons[0] if reasons else Reason.NO_MODEL,
        )

    async def analyse(
        self,
        series: SeriesReceived,
        urgency: SupportsInt,
        left_s: float,
        decoded: Callable[[], None] = _nothing,
    ) -> list[FindingsMade]:
        """One event for each package that is meant for `series`; one without a package if none is.

        Args:
            urgency: smaller is sooner in a batch; it may change as long as the images wait.
            left_s: seconds until the series is late; not positive: it is.
            decoded: called once no more pixels are to be decoded, for the next series may go in.
        """
        fit, why_not = self.meant_for(series)
        if not fit:
            return [self._event(series, None, Verdict("not_analysed", why_not), constancy=True)]
        made = []
        for number, model in enumerate(fit, 1):
            trusted = model.name not in self.drifted
            last = number == len(fit)
            verdict = await self._verdict(
                model, series, urgency, left_s, decoded if last else _nothing
            )
            # It counts only if the package passed its check before and after.
            trusted = trusted and model.name not in self.drifted
            made.append(self._event(series, model, verdict, constancy=trusted))
        return made

    async def _verdict(
        self,
        model: LoadedModel,
        series: SeriesReceived,
        urgency: SupportsInt,
        left_s: float,
        decoded: Callable[[], None],
    ) -> Verdict:
        try:
            if model.name in self.failed:
                raise NotAnalysed(Reason.MODEL_FAILED)
            if left_s <= 0:
                raise NotAnalysed(Reason.LATE)
            async with asyncio.timeout(left_s):
                request = self._request(model, series)
                return await self.screen(model, request, urgency, decoded)
        except NotAnalysed as error:
            return Verdict("not_analysed", error.reason)
        except TimeoutError:
            return Verdict("not_analysed", Reason.LATE)

    def _request(self, model: LoadedModel, series: SeriesReceived) -> Request:
        paths = tuple(str(self.path(series.reference, name)) for name in series.names())
        return Request(paths, model.max_frames, model.axial, model.min_side_px)

    async def screen(
        self,
        model: LoadedModel,
        request: Request,
        urgency: SupportsInt,
        decoded: Callable[[], None] = _nothing,
    ) -> Verdict:
        """Decode, prepare, score, judge. Raises `NotAnalysed`."""
        loop = asyncio.get_running_loop()
        images = await loop.run_in_executor(self.threads, self._images, model, request)
        decoded()
        return await self.judged(model, images, urgency)

    def _images(self, model: LoadedModel, request: Request) -> NDArray[np.float32]:
        return model.prepare(self.decode(request))

    async def judged(
        self, model: LoadedModel, images: NDArray[np.float32], urgency: SupportsInt
    ) -> Verdict:
        """Prepared images through the shared batches to a verdict.

        Raises `NotAnalysed` (`model_failed`).
        """
        scores = await self.queue.scores(model.name, images, urgency)
        if not np.isfinite(scores).all():
            raise NotAnalysed(Reason.MODEL_FAILED)
        return replace(model.judge(scores, images), images_read=len(images))

    def _event(
        self,
        series: SeriesReceived,
        model: LoadedModel | None,
        verdict: Verdict,
        *,
        constancy: bool,
    ) -> FindingsMade:
        name, version = (model.name, model.version) if model else ("", "")
        reason = verdict.reason.value if verdict.reason else ""
        # The same input through the same package gives the same id; a late answer, a doubted one
        # and a real one have ids of their own.
        told = (verdict.outcome, reason, *(() if constancy else ("doubted",)))
        parts = ("finding", name, version, series.event_id, *told)
        event_id = digest(*(part.encode() for part in parts))
        metrics.findings.labels(name or "none", verdict.outcome).inc()
        if verdict.reason:
            metrics.not_analysed.labels(reason).inc()
        return FindingsMade(
            event_id=event_id,
            sender="triage",
            received_at=series.received_at,
            # The series' own times: findings of a later set of images win.
            version=series.version.model_copy(update={"digest": event_id}),
            patient=series.patient,
            identity=series.identity,
            numbers=series.numbers,
            site=series.site,
            study_uid=series.study_uid,
            series_uid=series.series_uid,
            package=name,
            package_version=version,
            weights=model.weights or None if model else None,
            input_digest=series.event_id,
            outcome=verdict.outcome,
            reason=verdict.reason,
            findings=verdict.findings,
            coverage=_coverage(series, verdict),
            constancy=constancy,
            screened_at=self.now(),
        )


def _coverage(series: SeriesReceived, verdict: Verdict) -> Coverage | None:
    """What was read of what is here, where instances say how many images there are: of one that
    holds many frames nobody knows it here.
    """
    there = len(series.names())
    if verdict.images_read is None or verdict.images_read > there:
        return None
    return Coverage(read=verdict.images_read, there=there, announced=series.announced)


def make_threads(count: int) -> ThreadPoolExecutor:
    """Threads that decode and prepare."""
    return ThreadPoolExecutor(count, thread_name_prefix="decode", initializer=_lower_priority)


def _lower_priority() -> None:
    """Below that of the batch thread: everything waits for it.

    With two decoding threads on two processors it got 0.6 of one, and 0.97 this way.
    """
    if sys.platform == "linux":  # elsewhere a priority is of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
