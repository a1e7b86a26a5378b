"""Whether what was measured of the body in a series is of the part that a package is meant for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from triage.decoding.frames import Frame
from triage.packages.manifest import BodyRule

#: What told that a series is out of distribution: the guard in the weights, by what the network saw
#: in it; the body's size; that no skull is seen around a brain.
Unlike = Literal["features", "size", "skull"]

_LEAST_FIT = 0.5  # share of the images that show a body which must be of such a size
_LEAST_SKULL = 0.25  # and show a skull, where that is less than the package asks for


def unlike_stacks(rule: BodyRule | None, frames: Sequence[Frame]) -> dict[int, Unlike]:
    """The stacks of a series that are of another part of a body, and what told so.

    Nothing is said of images in other units than Hounsfield's, and nothing of the size where no
    header states one.
    """
    stacks = dict[int, list[Frame]]()
    for frame in frames:
        stacks.setdefault(frame.stack, []).append(frame)
    found = {number: _why_unlike(rule, stack) for number, stack in stacks.items()}
    return {number: why for number, why in found.items() if why is not None}


def _why_unlike(rule: BodyRule | None, stack: Sequence[Frame]) -> Unlike | None:
    if rule is None:
        return None
    sizes = sizes_of(stack)
    if rule.size_mm is not None and sizes:
        low, high = rule.size_mm
        if np.mean([low <= one <= high for one in sizes]) < _LEAST_FIT:
            return "size"
    seen = [frame.skull for frame in stack if frame.skull is not None]
    if rule.skull_mm > 0.0 and seen:
        step = _step(stack)
        asked = rule.skull_mm / step if step else len(seen)
        if sum(seen) < min(asked, _LEAST_SKULL * len(seen)):
            return "skull"
    return None


def sizes_of(frames: Sequence[Frame]) -> list[float]:
    """Of each image that shows a body of a known size, mm."""
    return [frame.body_mm for frame in frames if frame.body_mm]


def _step(stack: Sequence[Frame]) -> float:
    """What is usual between neighbours, mm; 0 where there is one, or no header says."""
    heights = [frame.position_mm for frame in stack if frame.position_mm is not None]
    return float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
