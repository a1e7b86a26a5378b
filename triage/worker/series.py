"""One series through the packages that are meant for it: findings, or the reason why not."""

from __future__ import annotations

import asyncio
import math
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
from streams.identity.studykey import digest
from triage import metrics
from triage.decoding.frames import Decoded, Read
from triage.decoding.protocol import Decoder, Request
from triage.eligibility.rule import NEAREST
from triage.errors import NotAnalysed
from triage.inference.queue import BatchQueue
from triage.judging.bodies import Unlike
from triage.judging.outputs import stacks_of
from triage.worker.key_images import KeyImages
from triage.worker.loaded_model import LoadedModel, Telling, Verdict

_NICENESS = 10
_STORE_PAUSES_S = (0.25, 1.0, 4.0)  # a share that fails over is back after some seconds
_WORSE = ("not_flagged", "not_analysed", "flagged")


@dataclass(frozen=True)
class Images:
    """What a network reads of one series.

    Attributes:
        images: [n, …].
        stacks: the stack of each, [n].
        files: of each the index among the series' files; None of a volume, which is of many.
        unlike: stacks that show another part of a body, and what told so.
    """

    images: NDArray[np.float32] = field(repr=False)
    stacks: NDArray[np.intp]
    files: Sequence[int | None]
    read: Read
    unlike: dict[int, Unlike] = field(default_factory=dict)


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
        refused: of each package that could not be loaded, why it is not meant for a series.
        key_images: draws what a flag is about, and keeps it.
    """

    models: Sequence[LoadedModel]
    decode: Decoder
    queue: BatchQueue
    path: Callable[[str, str], Path]
    threads: ThreadPoolExecutor
    now: Callable[[], datetime]
    failed: set[str] = field(default_factory=set)
    drifted: set[str] = field(default_factory=set)
    refused: Sequence[Callable[[SeriesReceived], Reason | None]] = ()
    key_images: KeyImages = field(default_factory=KeyImages)

    def meant_for(self, series: SeriesReceived) -> tuple[list[LoadedModel], Reason]:
        """The packages that are meant for `series`, and the reason to tell where there is none."""
        if series.damaged:
            return [], Reason.BAD_DICOM
        fit, reasons = [], []
        for model in self.models:
            reason = model.why_ineligible(series)
            if reason is None:
                fit.append(model)
            else:
                reasons.append(reason)
        if any(why(series) is None for why in self.refused):
            return fit, Reason.PACKAGE_REFUSED
        return fit, next(
            (reason for reason in NEAREST if reason in reasons),
            reasons[0] if reasons else Reason.NO_MODEL,
        )

    def late(self, series: SeriesReceived) -> list[FindingsMade]:
        """What is said of `series` where its time is over before anything was read."""
        fit, why_not = self.meant_for(series)
        if not fit:
            return [self._event(series, None, Verdict("not_analysed", why_not), constancy=True)]
        verdict = Verdict("not_analysed", Reason.LATE)
        return [self._event(series, model, verdict, constancy=True) for model in fit]

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

    def given_up(self, series: SeriesReceived) -> list[FindingsMade]:
        """What is said of a series whose event was parked: not analysed, by any package."""
        if not series.readable:
            return []
        fit, why_not = self.meant_for(series)
        verdict = Verdict("not_analysed", Reason.UNEXPECTED if fit else why_not)
        no_model: list[LoadedModel | None] = [None]
        return [self._event(series, model, verdict, constancy=True) for model in (fit or no_model)]

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
                verdict = await self.screen(model, request, urgency, decoded)
                verdict = _gated(model, series, verdict)
            return self.key_images.add(series, model, verdict)
        except NotAnalysed as error:
            return Verdict("not_analysed", error.reason)
        except TimeoutError:
            return Verdict("not_analysed", Reason.LATE)

    def _request(self, model: LoadedModel, series: SeriesReceived) -> Request:
        paths = tuple(str(self.path(series.reference, name)) for name in series.names())
        wanted = model.wanted
        if wanted.rule is not None:
            # Whether an absent age is read was asked of the series: its door knows more of it.
            wanted = replace(wanted, rule=replace(wanted.rule, age_absent="read"))
        return Request(paths, wanted)

    async def screen(
        self,
        model: LoadedModel,
        request: Request,
        urgency: SupportsInt,
        decoded: Callable[[], None] = _nothing,
    ) -> Verdict:
        """Decode, prepare, score, judge. Raises `NotAnalysed`."""
        found = await self._read(model, request, decoded)
        decoded()
        verdict = await self.judged(model, found, urgency)
        if verdict.doubt is not None:
            metrics.input_foreign.labels(model.name).observe(verdict.doubt.foreign)
            metrics.input_spread.labels(model.name).observe(verdict.doubt.spread)
        if verdict.unlike is not None:
            metrics.input_unlike.labels(model.name, verdict.unlike).inc()
        return replace(verdict, read=found.read)

    async def _read(
        self, model: LoadedModel, request: Request, decoded: Callable[[], None]
    ) -> Images:
        """What the store does not give is asked for again; then what is there has to do."""
        loop = asyncio.get_running_loop()
        for pause_s in _STORE_PAUSES_S:
            try:
                return await loop.run_in_executor(
                    self.threads, self.images, model, replace(request, all_there=True)
                )
            except NotAnalysed as error:
                if error.reason is not Reason.STORE_MISSING:
                    raise
            decoded()  # meanwhile another series may be decoded
            await asyncio.sleep(pause_s)
        return await loop.run_in_executor(self.threads, self.images, model, request)

    def images(self, model: LoadedModel, request: Request) -> Images:
        """What `model` reads of a series; blocks its thread. Raises `NotAnalysed`."""
        return images_of(model, self.decode(request))

    async def judged(self, model: LoadedModel, found: Images, urgency: SupportsInt) -> Verdict:
        """Prepared images through the shared batches to a verdict: that of the worst stack.

        Raises `NotAnalysed` (`model_failed`).
        """
        scores = await self.queue.scores(model.name, found.images, urgency)
        if not np.isfinite(scores).all():
            raise NotAnalysed(Reason.MODEL_FAILED)
        return verdict_of(model, scores, found)

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
            mode=model.mode if model else "",
            input_digest=series.event_id,
            bytes_digest=verdict.read.digest or None if verdict.read else None,
            outcome=verdict.outcome,
            reason=verdict.reason,
            unlike=verdict.unlike,
            findings=verdict.findings,
            coverage=_coverage(series, model, verdict),
            key_image=verdict.shown.key_image if verdict.shown else None,
            key_instance=verdict.shown.instance if verdict.shown else None,
            constancy=constancy,
            screened_at=self.now(),
        )


def images_of(model: LoadedModel, found: Decoded) -> Images:
    """What `model` reads of what was decoded. Raises `NotAnalysed`."""
    images = model.prepare(found.frames) if found.images is None else found.images
    stacks = stacks_of(found.frames, len(images))
    one_each = len(images) == len(found.frames)  # a volume is of all frames of its stack
    files = [frame.file if one_each else None for frame in found.frames][: len(images)]
    return Images(images, stacks, files, found.read, model.unlike(found.frames))


def _gated(model: LoadedModel, series: SeriesReceived, verdict: Verdict) -> Verdict:
    """*Not flagged* only of what was read as a whole; scores stay in the finding."""
    if verdict.outcome != "not_flagged" or verdict.read is None:
        return verdict
    reason = model.why_incomplete(verdict.read, len(series.names()), series.announced)
    return replace(verdict, outcome="not_analysed", reason=reason) if reason else verdict


def verdict_of(model: LoadedModel, scores: NDArray[np.float32], found: Images) -> Verdict:
    """That of the worst stack, with the image that speaks most for it if it is flagged."""
    said: list[Verdict] = []
    for one in np.unique(found.stacks):
        at = np.flatnonzero(found.stacks == one)
        verdict = model.judge(scores[at], found.unlike.get(int(one)))
        if said and one >= _first_beside(found) and verdict.outcome != "flagged":
            continue  # a MIP that is not understood takes nothing from the slices
        said.append(replace(verdict, telling=_telling(verdict, scores, found, at)))
    return worst(said)


def _first_beside(found: Images) -> float:
    return math.inf if found.read.beside is None else found.read.beside


def _telling(
    verdict: Verdict, scores: NDArray[np.float32], found: Images, at: NDArray[np.intp]
) -> Telling | None:
    flagged = [index for index, finding in enumerate(verdict.findings) if finding.flagged]
    if verdict.outcome != "flagged" or not flagged:
        return None
    output = max(
        flagged,
        key=lambda index: verdict.findings[index].probability - verdict.findings[index].threshold,
    )
    image = at[int(scores[at].reshape(len(at), -1)[:, output].argmax())]
    return Telling(found.images[image], output, found.files[image])


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """A flag before an abstention, that before none; of alike ones the most probable."""
    return max(
        verdicts,
        key=lambda verdict: (
            _WORSE.index(verdict.outcome),
            max((finding.probability for finding in verdict.findings), default=0.0),
        ),
    )


def _coverage(
    series: SeriesReceived, model: LoadedModel | None, verdict: Verdict
) -> Coverage | None:
    """What was read of what is here, as the finding says it."""
    read = verdict.read
    if read is None:
        return None
    rule = model.wanted.rule if model else None
    asked = rule is not None and rule.age_years is not None
    return Coverage(
        read=read.read,
        there=read.there,
        announced=series.announced,
        primary=read.primary,
        age_stated=not asked or series.age_years is not None,
        extent_mm=read.extent_mm,
        spacing_mm=read.spacing_mm,
        largest_gap_mm=read.largest_gap_mm,
    )


def make_threads(count: int) -> ThreadPoolExecutor:
    """Threads that decode and prepare."""
    return ThreadPoolExecutor(count, thread_name_prefix="decode", initializer=_lower_priority)


def _lower_priority() -> None:
    """Below that of the batch thread: everything waits for it.

    With two decoding threads on two processors it got 0.6 of one, and 0.97 this way.
    """
    if sys.platform == "linux":  # elsewhere a priority is of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
