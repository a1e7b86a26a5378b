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
from triage.evaluation.cases import PICTURE, WINDOWED, Case, is_dicom, read_case
from triage.evaluation.figures import Figures, measure
from triage.evaluation.labels import EvaluateError, Labelled
from triage.inference.drift import logits_of
from triage.inference.opening import open_network
from triage.judging.flagging import Judgement, judge
from triage.packages.load import Package

Array = NDArray[np.float32]
_BATCH = 64  # cases in memory at once
_READERS = min(4, os.cpu_count() or 1)
_IN_WORDS: dict[str, str] = {
    PICTURE: "pictures without a DICOM header: no eligibility is applied to them",
    WINDOWED: "CT, shown in a soft-tissue window",
    Reason.OUTSIDE_MODALITY: "of another modality",
    Reason.OUTSIDE_BODY_PART: "of another or no stated body part",
    Reason.OUTSIDE_AGE: "of another or no stated age",
    Reason.OUTSIDE_VIEW: "of another view or plane",
    Reason.OUTSIDE_IMAGE: "no plain images (scouts, maps, dose pages, sharp kernels)",
    Reason.OUTSIDE_CONTRAST: "with contrast",
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
    """Figures over all cases, by their raw scores; those that were abstained are among them.

    Attributes:
        judged: over the others alone; None where there is none.
        threshold: None where cases have different ones.
        outside: in words, what was outside the intended use.
    """

    package: str
    version: str
    figures: Figures
    judged: Figures | None
    abstained: int
    threshold: float | None
    outside: str
    truth: tuple[int, ...]
    probability: tuple[float, ...]

    def document(self) -> dict[str, Any]:
        """The JSON of ``vigie evaluate --json``."""
        judged = self.judged
        head = {
            "package": self.package,
            "version": self.version,
            "threshold": self.threshold,
            "abstained": self.abstained,
            "abstained_share": round(self.abstained / self.figures.n, 4),
            "auroc_judged": judged.auroc if judged else None,
            "auroc_judged_ci95": judged.auroc_ci95 if judged else None,
        }
        return {**head, "outside_intended_use": self.outside, **asdict(self.figures)}


def evaluate(package: Package, cases: Sequence[Labelled], *, seed: int = 0) -> Evaluation:
    """Runs every case through decoding, preparation, network and judgement as served.

    Raises:
        EvaluateError: a file is neither DICOM, PNG nor JPEG, or cannot be decoded.
    """
    truth = tuple(case.truth for case in cases)
    judgements, outside = list[Judgement](), Counter[str]()
    for scored in score(package, cases):
        judgements.append(scored.judgement)
        outside.update(scored.outside)
    judged = [at for at, one in enumerate(judgements) if one.outcome != "not_analysed"]
    thresholds = {one.threshold for one in judgements}
    return Evaluation(
        package.name,
        package.version,
        _figures(cases, judgements, range(len(cases)), seed),
        _figures(cases, judgements, judged, seed) if judged else None,
        len(cases) - len(judged),
        thresholds.pop() if len(thresholds) == 1 else None,
        _outside(package, outside, len(cases)),
        truth,
        tuple(one.probability for one in judgements),
    )


def _figures(
    cases: Sequence[Labelled], judgements: Sequence[Judgement], which: Sequence[int], seed: int
) -> Figures:
    """Over the cases at the places `which`."""
    return measure(
        [cases[at].truth for at in which],
        [judgements[at].probability for at in which],
        [cases[at].patient for at in which],
        [judgements[at].threshold for at in which],
        seed=seed,
    )


def score(package: Package, cases: Sequence[Labelled]) -> Iterator[Scored]:
    """Each case through the serving path, in order, a batch of them in memory at a time.

    Raises EvaluateError.
    """
    network = open_network(package, device="cpu")
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
            scores = network.scores(np.concatenate([case.images for case in ready]))
            if not np.isfinite(scores).all():
                raise EvaluateError(f"{package.name}: the network gave a score that is no number")
            ends = np.cumsum([len(case.images) for case in ready])
            parts = np.split(scores, ends[:-1])
            for part, case in zip(parts, ready, strict=True):
                judgement = judge(package, part, case.unlike)
                yield Scored(logits_of(part), judgement, case.outside)


def _read(package: Package, decoders: DecoderPool | None, case: Labelled) -> Case:
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
