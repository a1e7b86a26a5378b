"""One frame, its unit and its place: what the decoder hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One image.

    Attributes:
        pixels: float32 [rows, columns]; Hounsfield units for "hu", 0 (black) to 1 (white) for
            "display".
        unit: which of the two.
        position_mm: along the normal of the stack; None where the header does not say.
    """

    pixels: NDArray[np.float32]
    unit: Literal["hu", "display"]
    position_mm: float | None = None
