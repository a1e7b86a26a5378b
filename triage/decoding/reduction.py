"""Frames made smaller: squares of pixels become their mean, and borders are told from pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def block_mean(array: NDArray[np.generic], factor: int) -> NDArray[np.generic]:
    """The mean of each square of `factor` pixels, float32; `array` itself when `factor` is 1.

    What is left over at the far edges goes.
    """
    return array if factor == 1 else _block_sum(array, factor) / np.float32(factor * factor)


def _block_sum(array: NDArray[np.generic], factor: int) -> NDArray[np.int32]:
    # Whole rows are added, then columns: five times faster than a sum over two axes of a view.
    rows, columns = (size // factor * factor for size in array.shape[:2])
    total = array[0:rows:factor, :columns].astype(np.int32)  # 16 bits, and `factor` ≤ 128, fit
    for at in range(1, factor):
        np.add(total, array[at:rows:factor, :columns], out=total)
    summed = total[:, 0::factor].copy()
    for at in range(1, factor):
        summed += total[:, at::factor]
    return summed


def masked_block_mean(
    array: NDArray[np.generic], padding: NDArray[np.bool_] | None, factor: int
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
    """As `block_mean`, of what is no padding; a square of nothing else stays padding."""
    if padding is None:
        return block_mean(array, factor), None
    seen = _block_sum(~padding, factor)
    total = _block_sum(np.where(padding, array.dtype.type(0), array), factor)
    return total / np.maximum(seen, 1).astype(np.float32), seen == 0


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
