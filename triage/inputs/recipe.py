"""Frames to the input of a model from elsewhere, as `RecipeSpec` words it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from triage.decoding.frames import Frame
from triage.inputs.common import SHORTEST, Array, finite, resize
from triage.packages.input_spec import Pair, RecipeSpec


def recipe_images(frames: Sequence[Frame], spec: RecipeSpec) -> Array:
    """Network input float32 [n, *spec.shape]; n is the frames, or for "3d" the stacks.

    Raises ValueError for a frame that is not a plane of at least 8 x 8 pixels, and for frames of
    different units.
    """
    if len({frame.unit for frame in frames}) != 1:
        raise ValueError("frames of different units")
    if any(frame.pixels.ndim != 2 or min(frame.pixels.shape) < SHORTEST for frame in frames):
        raise ValueError("a frame is not an image plane")
    stacks = groupby(frames, key=lambda frame: frame.stack)
    made = np.concatenate([_stack([frame.pixels for frame in of], spec) for _, of in stacks])
    if spec.mean:
        made = made - _by_channel(spec.mean, made.ndim)
    if spec.std:
        made = made / _by_channel(spec.std, made.ndim)
    return np.ascontiguousarray(made, np.float32)


def _stack(slabs: Sequence[Array], spec: RecipeSpec) -> Array:
    """What is read of the frames of one stack, in order."""
    planes = np.stack([_planes(slab, spec) for slab in slabs])
    match spec.kind:
        case "2d":
            return np.repeat(planes, spec.channels // planes.shape[1], axis=1)
        case "2.5d":
            return _with_neighbours(planes, spec.planes)
        case "3d":
            return _resampled(planes, spec.planes).swapaxes(0, 1)[np.newaxis]


def _planes(pixels: Array, spec: RecipeSpec) -> Array:
    """One slab [rows, columns] at each window, [windows, height, width]."""
    fitted = [
        _fitted(_windowed(finite(pixels), window, spec.range), spec) for window in spec.windows
    ]
    return np.stack(fitted)


def _windowed(pixels: Array, window: Pair, onto: Pair) -> Array:
    return np.interp(pixels, window, onto).astype(np.float32)


def _fitted(image: Array, spec: RecipeSpec) -> Array:
    rows, columns = image.shape
    if spec.fit == "crop":
        side = min(rows, columns)
        top, left = (rows - side) // 2, (columns - side) // 2
        image = image[top : top + side, left : left + side]
    elif spec.fit == "pad":
        side = max(rows, columns)
        top, left = (side - rows) // 2, (side - columns) // 2
        around = ((top, side - rows - top), (left, side - columns - left))
        image = np.pad(image, around, constant_values=spec.range[0])
    return resize(np.ascontiguousarray(image, np.float32), spec.height, spec.width)


def _with_neighbours(planes: Array, count: int) -> Array:
    """[n, windows, h, w] to [n, windows x count, h, w]; the ends of the stack are repeated.

    Channels run window by window, in each from the plane before to the plane after.
    """
    half, last = count // 2, len(planes) - 1
    at = np.clip(np.arange(len(planes))[:, None] + np.arange(-half, half + 1), 0, last)
    near: Array = planes[at].swapaxes(1, 2)  # [n, windows, count, h, w]
    return near.reshape(len(planes), -1, *planes.shape[2:])


def _resampled(planes: Array, count: int) -> Array:
    """The stack with so many planes, linear between neighbours: [count, windows, h, w]."""
    at = np.linspace(0.0, len(planes) - 1, count) if len(planes) > 1 else np.zeros(count)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, len(planes) - 1)
    share = (at - below).astype(np.float32)[:, None, None, None]
    return np.asarray(planes[below] * (1 - share) + planes[above] * share, np.float32)


def _by_channel(values: Sequence[float], dimensions: int) -> Array:
    shape = (1, len(values), *(1,) * (dimensions - 2))
    return np.asarray(values, np.float32).reshape(shape)
