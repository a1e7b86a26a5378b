"""Measures a package on labelled images, through the serving path from file to probability."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.decoding.pool import DecoderPool
from triage.errors import NotAnalysed
from triage.evaluation.cases import PICTURE, PLANE, WINDOWED, is_dicom, read_case
from triage.evaluation.figures import Figures, measure
from triage.evaluation.labels import EvaluateError, Labelled
from triage.inference.network import Screener
from triage.judging.flagging import Judgement, judge
from triage.packages.load import Package

Array = NDArray[np.float32]
_BATCH = 64  # cases in memory at once
_READERS = min(4, os.cpu_count() or 1)
_IN_WORDS: dict[str, str] = {
    PICTURE: "pictures without a DICOM header: modality, body part and age were not checked",
    PLANE: "no axial slices for brain (scouts, other planes, bone kernels)",
    WINDOWED: "CT, shown in a soft-tissue window",
    Reason.OUTSIDE_MODALITY: "of another modality",
    Reason.OUTSIDE_BODY_PART: "of another or no stated body part",
    Reason.OUTSIDE_AGE: "of another or no stated age",
    Reason.OUTSIDE_VIEW: "of another view",
}


@dataclass(frozen=True)
class Scored:
    """What the serving path says of one case.

    Attributes:
        logits: raw scores [n].
        outside: what of it is outside the intended use.
    """

    logits: Array
    judgement: Judgement
    outside: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Figures over all cases, abstained ones included.

    Attributes:
        threshold: None where cases have different ones.
        outside: in words, what was outside the intended use.
    """

    package: str
    version: str
    figures: Figures
    abstained: int
    threshold: float | None
    outside: str
    truth: tuple[int, ...]
    probability: tuple[float, ...]

    def document(self) -> dict[str, Any]:
        """The JSON of ``vigie evaluate --json``."""
        head = {
            "package": self.package,
            "version": self.version,
            "threshold": self.threshold,
            "abstained": self.abstained,
        }
        return {**head, "outside_intended_use": self.outside, **asdict(self.figures)}


def evaluate(package: Package, cases: Sequence[Labelled], *, seed: int = 0) -> Evaluation:
    """Runs every case through decoding, preparation, network and judgement as served.

    Raises:
        EvaluateError: a file is neither DICOM, PNG nor JPEG, or cannot be decoded.
    """
    truth = tuple(case.truth for case in cases)
    probability, thresholds, outside, abstained = [], [], Counter[str](), 0
    for scored in score(package, cases):
        probability.append(scored.judgement.probability)
        thresholds.append(scored.judgement.threshold)
        outside.update(scored.outside)
        abstained += scored.judgement.outcome == "not_analysed"
    figures = measure(truth, probability, [case.patient for case in cases], thresholds, seed=seed)
    threshold = thresholds[0] if len(set(thresholds)) == 1 else None
    return Evaluation(
        package.name,
        package.version,
        figures,
        abstained,
        threshold,
        _outside(package, outside, len(cases)),
        truth,
        tuple(probability),
    )


def score(package: Package, cases: Sequence[Labelled]) -> Iterator[Scored]:
    """Each case through the serving path, in order, a batch of them in memory at a time.

    Raises EvaluateError.
    """
    screener = Screener(package, package.input.shape, device="cpu")
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(_READERS, thread_name_prefix="read"))
        decoders = None
        if any(is_dicom(case.file) for case in cases):
            decoders = stack.enter_context(closing(DecoderPool(_READERS)))
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            with warnings.catch_warnings():
                # Pillow's, about large pictures and broken EXIF: what matters is an error.
                warnings.simplefilter("ignore")
                ready = list(threads.map(partial(_read, package, decoders), batch))
            logits = screener.scores(np.concatenate([images for images, _ in ready]))
            if not np.isfinite(logits).all():
                raise EvaluateError(f"{package.name}: the network gave a score that is no number")
            ends = np.cumsum([len(images) for images, _ in ready])
            parts = np.split(logits, ends[:-1])
            for part, (images, outside) in zip(parts, ready, strict=True):
                yield Scored(part, judge(package, part, images), outside)


def _read(
    package: Package, decoders: DecoderPool | None, case: Labelled
) -> tuple[Array, tuple[str, ...]]:
    try:
        return read_case(package, decoders, case.file)
    except NotAnalysed as error:
        raise EvaluateError(f"{case.where}: {error.reason.value}") from None
    except (OSError, ValueError) as error:
        raise EvaluateError(f"{case.where}: {error}") from None


def _outside(package: Package, counts: Counter[str], cases: int) -> str:
    """In words, what was evaluated although the package is not meant for it; empty: nothing was."""
    said = [
        f"{counts[what]} of {cases} cases are {words}"
        for what, words in _IN_WORDS.items()
        if counts[what]
    ]
    age = package.manifest.eligible.age_years
    if age and (counts[PICTURE] or counts[Reason.OUTSIDE_AGE]):
        said.append(f"the package is meant for {age[0]:g} to {age[1]:g} years")
    return "; ".join(said)
