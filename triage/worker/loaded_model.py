"""One package, loaded: what the worker needs of it, and what it says of a series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from streams.events import Finding, SeriesReceived
from triage.decoding.frames import Frame

Outcome = Literal["flagged", "not_flagged", "not_analysed"]


@dataclass(frozen=True)
class Verdict:
    """What a package says of one series.

    Attributes:
        reason: only with `not_analysed`.
        findings: all that were looked for.
        images_read: how many images the network read; None where it read none.
    """

    outcome: Outcome
    reason: Reason | None = None
    findings: tuple[Finding, ...] = ()
    images_read: int | None = None


@dataclass(frozen=True)
class LoadedModel:
    """One package, loaded: its identity, its limits, and its three steps.

    Attributes:
        eligible: None when the package is meant for such a series, else the reason.
        max_frames: frames that it reads of one series, at most.
        axial: whether it reads axial slices only.
        prepare: frames to float32 [n, c, h, w]. Raises `NotAnalysed`. It runs in a thread.
        network: float32 [n, c, h, w] to raw scores [n]. It runs in a thread of the batch queue.
        judge: finite raw scores [n] of one series, and its prepared images [n, c, h, w], to the
            verdict.
        min_side_px: as `decoding.protocol.Request`.
        concurrent_batches: batches that `network` takes at the same time.
        weights: SHA-256 of the file of weights; empty where there is none.
    """

    name: str
    version: str
    why_ineligible: Callable[[SeriesReceived], Reason | None]
    max_frames: int
    axial: bool
    prepare: Callable[[Sequence[Frame]], NDArray[np.float32]]
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    judge: Callable[[NDArray[np.float32], NDArray[np.float32]], Verdict]
    min_side_px: int = 0
    concurrent_batches: int = 1
    weights: str = ""
