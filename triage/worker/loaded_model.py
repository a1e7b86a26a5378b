"""One package, loaded: what the worker needs of it, and what it says of a series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from streams.events import Finding, SeriesReceived
from triage.decoding.frames import Frame, Read
from triage.decoding.protocol import Wanted
from triage.judging.bodies import Unlike
from triage.judging.flagging import Doubt, Outcome


@dataclass(frozen=True)
class Telling:
    """The image that speaks most for a flag.

    Attributes:
        image: as the network read it, [c, …, h, w].
        output: index of the output that it speaks for.
        file: index among the files of its series; None of a volume, which is of many.
    """

    image: NDArray[np.float32] = field(repr=False)
    output: int
    file: int | None = None


@dataclass(frozen=True)
class Shown:
    """The key image of a flag: the place where it will be, and the instance that it is of, if it
    is one.
    """

    key_image: str
    instance: str | None


@dataclass(frozen=True)
class Verdict:
    """What a package says of one series.

    Attributes:
        reason: only with `not_analysed`.
        findings: all that were looked for.
        read: what of the series the network read; None where it read nothing.
        telling: only with `flagged`.
        shown: only with `flagged`.
        doubt: what a guard says of it; None where there is none.
        unlike: what told that it is out of distribution, where it is.
    """

    outcome: Outcome
    reason: Reason | None = None
    findings: tuple[Finding, ...] = ()
    read: Read | None = None
    telling: Telling | None = field(default=None, repr=False)
    shown: Shown | None = None
    doubt: Doubt | None = None
    unlike: Unlike | None = None


def _never(_read: Read, _here: int, _announced: int | None) -> None:
    """Of a model that says nothing of coverage."""


def _none_unlike(_frames: Sequence[Frame]) -> dict[int, Unlike]:
    """Of a model that says nothing of the body."""
    return {}


@dataclass(frozen=True)
class LoadedModel:
    """One package, loaded: its identity, its limits, and its three steps.

    Attributes:
        eligible: None when the package is meant for such a series, else the reason.
        wanted: what is asked of the decoder, which prepares frames where `wanted.input` says how.
        prepare: frames to float32 [n, c, h, w], where the decoder did not. Raises `NotAnalysed`.
        network: float32 [n, c, h, w] to raw scores [n], or [n, columns]. It runs in a thread of
            the batch queue.
        judge: finite raw scores of one stack, and what told that its body is another part, to the
            verdict.
        concurrent_batches: batches that `network` takes at the same time.
        weights: SHA-256 of the file of weights; empty where there is none.
        mode: how the network runs: device, precision, compiled or not.
        why_incomplete: what was read, instances here and announced, to why *not flagged* cannot be
            said of it.
        unlike: the stacks that show another part of a body, and what told so.
        draw: the key image, PNG, of an image as the network read it, for an output by its index.
    """

    name: str
    version: str
    why_ineligible: Callable[[SeriesReceived], Reason | None]
    wanted: Wanted
    prepare: Callable[[Sequence[Frame]], NDArray[np.float32]]
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    judge: Callable[[NDArray[np.float32], Unlike | None], Verdict]
    concurrent_batches: int = 1
    weights: str = ""
    mode: str = ""
    why_incomplete: Callable[[Read, int, int | None], Reason | None] = _never
    draw: Callable[[NDArray[np.float32], int], bytes] | None = None
    unlike: Callable[[Sequence[Frame]], dict[int, Unlike]] = _none_unlike
