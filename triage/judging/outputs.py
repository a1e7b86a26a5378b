"""Each output of a package judged by itself, and one word for the series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage.decoding.frames import Frame
from triage.judging.bodies import Unlike, unlike_stacks
from triage.judging.flagging import Judgement, Outcome, judge
from triage.packages.load import Package
from triage.packages.manifest import Output

#: Of several outputs, and of several stacks, the first of these is what is said of the series.
LOUDEST: tuple[Outcome, ...] = ("flagged", "not_analysed", "not_flagged")


@dataclass(frozen=True)
class OutputJudgement:
    """One output, and what is said of it."""

    output: Output
    judgement: Judgement


def judge_outputs(
    package: Package, scores: NDArray[np.float32], unlike: Unlike | None = None
) -> tuple[Judgement, tuple[OutputJudgement, ...]]:
    """The judgement that speaks for the series, and each output's own.

    One flag flags the series; one output that cannot be judged keeps it from *not flagged*.

    Args:
        scores: finite, [n, outputs], or [n] of one output; with what a guard says behind it.
        unlike: as for `judge`.
    """
    outputs = package.manifest.outputs
    table = scores.reshape(len(scores), -1)
    guard = table[:, len(outputs) :]
    made = tuple(
        OutputJudgement(
            output,
            judge(package.looking_for(output.code), np.column_stack([logits, guard]), unlike),
        )
        for output, logits in zip(outputs, table[:, : len(outputs)].T, strict=True)
    )
    loudest = min((one.judgement for one in made), key=lambda one: LOUDEST.index(one.outcome))
    return loudest, made


def stacks_of(frames: Sequence[Frame], images: int) -> NDArray[np.intp]:
    """The stack of each image that was prepared of `frames`: of volumes there is one for each."""
    stacks = np.array([frame.stack for frame in frames], np.intp)
    return stacks if len(stacks) == images else np.unique(stacks)


def judge_stacks(package: Package, scores: NDArray[np.float32], frames: Sequence[Frame]) -> Outcome:
    """What is said of a series of several stacks, which are judged each by itself."""
    stacks, unlike = stacks_of(frames, len(scores)), unlike_stacks(package.manifest.body, frames)
    said = [
        judge_outputs(package, scores[stacks == one], unlike.get(int(one)))[0].outcome
        for one in np.unique(stacks)
    ]
    return min(said, key=LOUDEST.index)
