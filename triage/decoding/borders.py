"""What of a picture is no border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def body_box(image: NDArray[np.float32], tolerance: float = 0.02) -> tuple[slice, slice]:
    """Rows and columns without the constant ones at the edges, black, white or grey.

    Those belong to a viewer, not a body.
    """
    kept = [slice(0, image.shape[0]), slice(0, image.shape[1])]
    for axis in (0, 1):
        alive = np.flatnonzero(np.ptp(image[kept[0], kept[1]], axis=1 - axis) > tolerance)
        if len(alive) == 0 or alive[-1] - alive[0] < 8:
            break
        kept[axis] = slice(int(alive[0]), int(alive[-1]) + 1)
    return kept[0], kept[1]
