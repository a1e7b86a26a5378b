"""One series through the packages that are meant for it: pixels, batches, judgement, findings; or
the reason why not.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, SupportsInt

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from streams.events import Finding, FindingsMade, SeriesReceived, Version
from streams.studykey import digest
from triage import metrics
from triage.decoding.child import Decoder, Request
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.inference.queue import Forward

Outcome = Literal["flagged", "not_flagged", "not_analysed"]
_NICE = 10
# Of several packages that did not want a series, the reason that came nearest is told.
_NEAREST = (
    Reason.OUTSIDE_VIEW,
    Reason.OUTSIDE_AGE,
    Reason.OUTSIDE_BODY_PART,
    Reason.OUTSIDE_MODALITY,
)


@dataclass(frozen=True)
class Verdict:
    """What a package says of one series. `reason` only with `not_analysed`; `findings`: all that
    were looked for.
    """

    outcome: Outcome
    reason: Reason | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Resident:
    """One package, loaded: what the agent needs of it, and nothing more.

    Attributes:
        eligible: None when the package is meant for such a series, else the reason.
        most: frames that it reads of one series, at most.
        axial: whether it reads axial slices only.
        prepare: frames to float32 [n, c, h, w]. Raises `NotAnalysed`. It runs in a thread.
        network: float32 [n, c, h, w] to raw scores [n]; it runs in a forward thread.
        judge: finite raw scores [n] of one series, and its prepared images [n, c, h, w], to the
            verdict.
        side: pixels that the short side of a larger frame keeps on its way out of the jail; 0: all.
        at_once: batches that `network` takes at the same time.
    """

    name: str
    version: str
    eligible: Callable[[SeriesReceived], Reason | None]
    most: int
    axial: bool
    prepare: Callable[[Sequence[Frame]], NDArray[np.float32]]
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    judge: Callable[[NDArray[np.float32], NDArray[np.float32]], Verdict]
    side: int = 0
    at_once: int = 1


@dataclass
class Analyst:
    """All that turns a series into findings.

    Attributes:
        failed: packages that gave no score in their last constancy run; they screen nothing.
        drifted: packages that gave other scores than expected; theirs are published as such, and
            the list does not count them.
    """

    residents: Sequence[Resident]
    decode: Decoder
    forward: Forward
    path: Callable[[str, str], Path]
    threads: ThreadPoolExecutor
    now: Callable[[], datetime]
    failed: set[str] = field(default_factory=set)
    drifted: set[str] = field(default_factory=set)

    def meant_for(self, series: SeriesReceived) -> tuple[list[Resident], Reason]:
        """The packages that are meant for `series`, and the reason to tell where there is none."""
        fit, reasons = [], []
        for resident in self.residents:
            reason = resident.eligible(series)
            if reason is None:
                fit.append(resident)
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
        decoded: Callable[[], None] = lambda: None,
    ) -> list[FindingsMade]:
        """One event for each package that is meant for `series`; one without a package where there
        is none.

        Args:
            urgency: smaller is sooner in a batch; it may change as long as the images wait.
            left_s: seconds until the series is late; not positive: it is.
            decoded: called once the pixels are out of the jail, for the next series may enter.
        """
        fit, why_not = self.meant_for(series)
        if not fit:
            return [self._event(series, None, Verdict("not_analysed", why_not), constancy=True)]
        made = []
        for resident in fit:
            before = resident.name not in self.drifted
            verdict = await self._verdict(
                resident, series, urgency, left_s, decoded if resident is fit[-1] else _nothing
            )
            made.append(
                self._event(
                    series,
                    resident,
                    verdict,
                    constancy=before and resident.name not in self.drifted,
                )
            )
        return made

    async def _verdict(
        self,
        resident: Resident,
        series: SeriesReceived,
        urgency: SupportsInt,
        left_s: float,
        decoded: Callable[[], None],
    ) -> Verdict:
        try:
            if resident.name in self.failed:
                raise NotAnalysed(Reason.MODEL_FAILED)
            if left_s <= 0:
                raise NotAnalysed(Reason.LATE)
            async with asyncio.timeout(left_s):
                return await self.screen(
                    resident, self._request(resident, series), urgency, decoded
                )
        except NotAnalysed as error:
            return Verdict("not_analysed", error.reason)
        except TimeoutError:
            return Verdict("not_analysed", Reason.LATE)

    def _request(self, resident: Resident, series: SeriesReceived) -> Request:
        paths = tuple(str(self.path(series.reference, name)) for name in series.instances)
        return Request(paths, resident.most, resident.axial, resident.side)

    async def screen(
        self,
        resident: Resident,
        request: Request,
        urgency: SupportsInt,
        decoded: Callable[[], None] = lambda: None,
    ) -> Verdict:
        """Decode, prepare, forward, judge. Raises `NotAnalysed`."""
        loop = asyncio.get_running_loop()
        images = await loop.run_in_executor(self.threads, self._images, resident, request)
        decoded()
        return await self.judged(resident, images, urgency)

    def _images(self, resident: Resident, request: Request) -> NDArray[np.float32]:
        return resident.prepare(self.decode(request))

    async def judged(
        self, resident: Resident, images: NDArray[np.float32], urgency: SupportsInt
    ) -> Verdict:
        """Prepared images through the shared batches to a verdict. Raises `NotAnalysed`
        (`model_failed`).
        """
        scores = await self.forward.scores(resident.name, images, urgency)
        if not np.isfinite(scores).all():
            raise NotAnalysed(Reason.MODEL_FAILED)
        return resident.judge(scores, images)

    def _event(
        self,
        series: SeriesReceived,
        resident: Resident | None,
        verdict: Verdict,
        *,
        constancy: bool,
    ) -> FindingsMade:
        name, version = (resident.name, resident.version) if resident else ("", "")
        seen = digest(
            *(part.encode() for part in (name, version, series.reference, *series.instances))
        )
        reason = verdict.reason.value if verdict.reason else ""
        # The same input through the same package gives the same id again; a late answer, a doubted
        # and a real one differ.
        told = (verdict.outcome, reason, *(() if constancy else ("doubted",)))
        event_id = digest(*(part.encode() for part in ("finding", series.series_uid, seen, *told)))
        metrics.findings.labels(name or "none", verdict.outcome).inc()
        if verdict.reason:
            metrics.not_analysed.labels(reason).inc()
        return FindingsMade(
            event_id=event_id,
            sender="triage",
            received_at=series.received_at,
            # The series' own time and number: findings of a later set of images win over those of
            # an earlier one.
            version=Version(
                time=series.version.time, sequence=series.version.sequence, digest=event_id
            ),
            patient=series.patient,
            accessions=series.accessions,
            study_uids=series.study_uids,
            site=series.site,
            study_uid=series.study_uid,
            series_uid=series.series_uid,
            package=name,
            package_version=version,
            input_digest=seen,
            outcome=verdict.outcome,
            reason=verdict.reason,
            findings=verdict.findings,
            constancy=constancy,
            screened_at=self.now(),
        )


def make_threads(count: int) -> ThreadPoolExecutor:
    """Threads that decode and prepare."""
    return ThreadPoolExecutor(count, thread_name_prefix="decode", initializer=_give_way)


def _give_way() -> None:
    """To the forward thread: everything waits for it. With two of ours on two processors it got 0.6
    of one (0.97 this way).
    """
    if sys.platform == "linux":  # elsewhere a priority is of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _nothing() -> None:
    """For all packages of a series but the last."""
