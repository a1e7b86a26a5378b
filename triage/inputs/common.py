"""What every kind of input needs: resizing, bounds on a frame's sides, local means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

#: A frame's sides are brought between these, in pixels. The network's input is far smaller, and
#: squaring an odd shape takes memory.
SHORTEST, LONGEST = 8, 4096


def resize(
    image: Array, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Array:
    """Area-true bilinear resize of [rows, cols].

    `box` is (left, top, right, bottom), in pixels, inside the image.
    """
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(scaled, np.float32)


def within_bounds(image: Array) -> Array:
    """`image` [rows, cols] itself, or scaled so that each side is between SHORTEST and LONGEST."""
    scale = min(1.0, LONGEST / max(image.shape))
    rows, columns = (max(SHORTEST, round(side * scale)) for side in image.shape)
    if (rows, columns) == image.shape:
        return image
    return np.asarray(
        Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX), np.float32
    )


def finite(image: Array) -> Array:
    """The image with NaN and infinities as 0."""
    return (
        image if np.isfinite(image).all() else np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    )


def box_mean(image: Array, radius: int) -> Array:
    """Mean of the (2 radius + 1) square around each pixel; edges are repeated outwards."""
    width = 2 * radius + 1
    for axis in (0, 1):
        pads = [(radius + 1, radius) if dim == axis else (0, 0) for dim in (0, 1)]
        total = np.cumsum(np.pad(image, pads, mode="edge"), axis=axis, dtype=np.float32)
        high = np.take(total, range(width, total.shape[axis]), axis)
        low = np.take(total, range(0, total.shape[axis] - width), axis)
        image = (high - low) / np.float32(width)
    return image
