"""Frames to network input: the one preprocessing of training, evaluation and serving.

Sources differ in framing, window, contrast and resolution more than patients do. So geometry is
normalised (constant borders cut, head cropped) and intensity is anchored in the image itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from triage.frames import Frame
from triage.packages import InputSpec

Array = npt.NDArray[np.float32]

BRAIN_WINDOW_HU = (0.0, 80.0)
TISSUE = 0.45  # where the brain's own grey is put, between air (0) and bone (1)
SMALL = 64  # pixels along the side of the image in which the head is looked for


def prepare(frames: Sequence[Frame], spec: InputSpec) -> Array:
    """Network input float32 [n, channels, height, width], about zero mean and unit spread, always finite.

    Raises ValueError for a frame that is not a plane of at least 8 x 8 pixels, or for a unit that the
    kind of input cannot read.
    """
    batch = np.empty((len(frames), spec.channels, spec.height, spec.width), np.float32)
    for index, frame in enumerate(frames):
        if frame.pixels.ndim != 2 or min(frame.pixels.shape) < 8:
            raise ValueError(f"a frame of shape {frame.pixels.shape} is not an image plane")
        if spec.kind == "head_ct":
            batch[index] = head(frame, spec)
        elif frame.unit == "hu":
            raise ValueError("a chest film has no Hounsfield units")
        else:
            batch[index] = chest(frame.pixels, spec)
    return batch


def resize(image: Array, height: int, width: int, box: tuple[float, float, float, float] | None = None) -> Array:
    """Area-true bilinear resize of [rows, cols]; `box` is (left, top, right, bottom) inside the image."""
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(scaled, np.float32)


def finite(image: Array) -> Array:
    """The image with NaN and infinities as 0."""
    return image if np.isfinite(image).all() else np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)


def trim(image: Array, tolerance: float = 0.02) -> Array:
    """Cut constant rows and columns off the edges, black, white or grey: they belong to a viewer, not a body."""
    for axis in (1, 0):
        alive = np.flatnonzero(np.ptp(image, axis=axis) > tolerance)
        if len(alive) == 0 or alive[-1] - alive[0] < 8:
            return image
        keep = slice(alive[0], alive[-1] + 1)
        image = image[keep] if axis == 1 else image[:, keep]
    return image


def _longest_run(marks: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Start and end of the run of non-zero marks that has the largest sum."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], marks > 0, [0])).astype(np.int8)))
    if len(edges) == 0:
        return 0, len(marks)
    sums = np.add.reduceat(np.append(marks, 0.0), edges)[::2]
    best = int(np.argmax(sums))
    return int(edges[2 * best]), int(edges[2 * best + 1])


def head_box(image: Array) -> tuple[float, float, float, float]:
    """Where the head is, as (left, top, right, bottom) in shares 0..1 of the image [rows, cols].

    Thin things (table, frame, letters) are worn away first; then the heaviest run of what is left is
    taken along each axis. Falls back to the whole image.
    """
    small = resize(image, SMALL, SMALL)
    solid = small > 0.3 * float(np.percentile(small, 98))
    for axis in (0, 1):
        solid = solid & np.roll(solid, 1, axis) & np.roll(solid, -1, axis)
    weight = solid.astype(np.float32)
    left, right = 0, SMALL
    top, bottom = 0, SMALL
    for _ in range(2):
        left, right = _longest_run(weight[top:bottom].sum(0))
        top, bottom = _longest_run(weight[:, left:right].sum(1))
    if right - left < 8 or bottom - top < 8:
        return 0.0, 0.0, 1.0, 1.0
    # Wearing away took one pixel from each side.
    return (left - 1) / SMALL, (top - 1) / SMALL, (right + 1) / SMALL, (bottom + 1) / SMALL


def _square(image: Array, box: tuple[float, float, float, float], spec: InputSpec) -> Array:
    """The square around the box, padded with black where it leaves the image, at the network's size."""
    rows, cols = image.shape
    left, top, right, bottom = box[0] * cols, box[1] * rows, box[2] * cols, box[3] * rows
    side = max(right - left, bottom - top) * 1.04
    x0, y0 = (left + right - side) / 2, (top + bottom - side) / 2
    pad = int(np.ceil(max(0.0, -x0, -y0, x0 + side - cols, y0 + side - rows))) + 1
    padded = np.pad(image, pad)
    return resize(padded, spec.height, spec.width, (x0 + pad, y0 + pad, x0 + pad + side, y0 + pad + side))


def anchor(crop: Array) -> Array:
    """Grey levels with air at 0, the brain's own grey at TISSUE and bone at 1, for any window's crop."""
    rows, cols = crop.shape
    middle = crop[rows // 5 : rows - rows // 5, cols // 5 : cols - cols // 5]
    bone = max(float(np.percentile(crop, 98)), 1e-3)
    soft = middle[(middle > 0.12 * bone) & (middle < 0.88 * bone)]
    tissue = float(np.median(soft)) if soft.size > 50 else TISSUE * bone
    return np.interp(crop, (0.0, tissue, max(bone, tissue + 1e-3)), (0.0, TISSUE, 1.0)).astype(np.float32)


def head(frame: Frame, spec: InputSpec) -> Array:
    """One head slice as [channels, height, width]: cropped to the head, tissue at 0, bone near 2.2."""
    image = finite(frame.pixels)
    if frame.unit == "hu":
        low, high = BRAIN_WINDOW_HU
        image = np.clip((image - low) / (high - low), 0.0, 1.0)
    else:
        image = trim(np.clip(image, 0.0, 1.0))
    grey = anchor(_square(image, head_box(image), spec))
    return np.broadcast_to((grey - TISSUE) * 4.0, (spec.channels, spec.height, spec.width))


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


def equalise(image: Array) -> Array:
    """Grey levels by rank, -1..1, learned from the middle 80 %: any monotone curve gives the same image."""
    rows, cols = image.shape
    middle = image[rows // 10 : rows - rows // 10, cols // 10 : cols - cols // 10]
    knots, first = np.unique(np.quantile(middle, np.linspace(0.0, 1.0, 65)), return_index=True)
    levels = np.linspace(-1.0, 1.0, 65)[first]
    return np.interp(image, knots, levels).astype(np.float32)


def chest(pixels: Array, spec: InputSpec) -> Array:
    """One chest film as [channels, height, width]: grey by rank, and (channel 2) contrast against its surround."""
    image = resize(trim(np.clip(finite(pixels), 0.0, 1.0)), spec.height, spec.width)
    ranked = equalise(image)
    planes = np.broadcast_to(ranked * 1.7, (spec.channels, spec.height, spec.width)).copy()
    if spec.channels > 1:
        flat = ranked - box_mean(ranked, spec.height // 8)
        planes[1] = np.clip(flat / np.sqrt(box_mean(flat * flat, spec.height // 6) + 0.01), -3.0, 3.0)
    return planes
