"""What one decoded image is once its pixels mean something: numbers with a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Frame:
    """One image plane.

    `pixels` is float32 [rows, cols]. With unit "hu" they are Hounsfield units; with "display" they run
    from 0 to 1 in the sense of MONOCHROME2 (white is dense). `position_mm` is the place along the slice
    normal, where it is known.
    """

    pixels: npt.NDArray[np.float32]
    unit: Literal["hu", "display"]
    position_mm: float | None = None
