"""Whether what was read in Hounsfield units can be a body: air around it, soft tissue, bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AIR_HU = -850.0
_TISSUE_HU = (-150.0, 150.0)
_BONE_HU = 200.0
_BEYOND_HU = 4100.0  # what 12 bits hold; a little more is metal
#: Shares of all pixels of a series: real heads have ten times as much air and tissue.
_LEAST_AIR, _LEAST_TISSUE, _MOST_BEYOND = 0.005, 0.01, 0.02
#: Shares of one slice that shows a part of a body.
_SLICE_TISSUE, _SLICE_BONE = 0.005, 0.0005
_SIDE = 128  # pixels of a slice that are looked at, along its short side


@dataclass(frozen=True)
class Tally:
    """Pixels that were looked at, and how many of them are what."""

    pixels: int = 0
    air: int = 0
    tissue: int = 0
    bone: int = 0
    beyond: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.pixels + other.pixels,
            self.air + other.air,
            self.tissue + other.tissue,
            self.bone + other.bone,
            self.beyond + other.beyond,
        )

    @property
    def is_body(self) -> bool:
        """Of one slice: soft tissue and bone are seen."""
        return (
            self.tissue >= _SLICE_TISSUE * self.pixels
            and self.bone >= _SLICE_BONE * self.pixels > 0
        )

    @property
    def has_air(self) -> bool:
        """Around a body there is some, and inside most; a wrong intercept leaves none."""
        return self.air >= _LEAST_AIR * self.pixels

    @property
    def is_plausible(self) -> bool:
        """Of a whole series: wrong slopes, signs and bits move air, or tissue, somewhere else."""
        return (
            self.has_air
            and self.tissue >= _LEAST_TISSUE * self.pixels
            and self.beyond <= _MOST_BEYOND * self.pixels
        )


def tally_of(hounsfield: NDArray[np.float32]) -> Tally:
    """What is seen in a slice, [rows, columns] in HU."""
    step = max(1, min(hounsfield.shape) // _SIDE)
    seen = np.ascontiguousarray(hounsfield[::step, ::step])  # it is gone through five times
    return Tally(
        seen.size,
        int(np.count_nonzero(seen <= _AIR_HU)),
        int(np.count_nonzero((seen > _TISSUE_HU[0]) & (seen < _TISSUE_HU[1]))),
        int(np.count_nonzero(seen > _BONE_HU)),
        int(np.count_nonzero(seen > _BEYOND_HU)),
    )
