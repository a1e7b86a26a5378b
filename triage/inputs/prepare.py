"""Frames to network input: the one preprocessing of training, evaluation and serving.

Sources differ in framing, window, contrast and resolution more than patients do. So geometry is
normalised (constant borders cut, head cropped and turned upright) and intensity is anchored in the
image itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from triage.decoding.frames import Frame
from triage.packages.load import InputSpec

Array = npt.NDArray[np.float32]

BRAIN_WINDOW_HU = (-20.0, 100.0)  # as the slices of patients that it learned from are shown
TISSUE = 0.45  # where the brain's own grey is put, between air (0) and bone (1)
#: A frame's side is brought between these, pixels: the network's input is far smaller, and squaring
#: an odd shape takes memory.
SHORTEST, LONGEST = 8, 4096
KEPT = 512  # pixels that the short side of a large picture keeps at least
SMALL = 64  # pixels along the side of the image in which the head is looked for


def prepare(frames: Sequence[Frame], spec: InputSpec) -> Array:
    """Network input float32 [n, channels, height, width], about zero mean and unit spread, always
    finite.

    Raises ValueError for a frame that is not a plane of at least 8 x 8 pixels, or for a unit that
    the kind of input cannot read.
    """
    batch = np.empty((len(frames), spec.channels, spec.height, spec.width), np.float32)
    for index, frame in enumerate(frames):
        if frame.pixels.ndim != 2 or min(frame.pixels.shape) < SHORTEST:
            raise ValueError(f"a frame of shape {frame.pixels.shape} is not an image plane")
        pixels = fit(finite(frame.pixels))
        if frame.unit == "display":
            pixels = _reduced(pixels)
        if spec.kind == "head_ct":
            batch[index] = head(pixels, frame.unit, spec)
        elif frame.unit == "hu":
            raise ValueError("a chest film has no Hounsfield units")
        else:
            batch[index] = chest(pixels, spec)
    return batch


def resize(
    image: Array, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Array:
    """Area-true bilinear resize of [rows, cols]; `box` is (left, top, right, bottom) inside the
    image.
    """
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(scaled, np.float32)


def fit(image: Array) -> Array:
    """`image` [rows, columns] itself, or scaled (area-true) so that each side is between SHORTEST
    and LONGEST.
    """
    scale = min(1.0, LONGEST / max(image.shape))
    rows, columns = (max(SHORTEST, round(side * scale)) for side in image.shape)
    if (rows, columns) == image.shape:
        return image
    return np.asarray(
        Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX), np.float32
    )


def _reduced(image: Array) -> Array:
    """As the jail hands a large picture over (`InputSpec.side`): what a border is must not depend
    on who decoded it.
    """
    by = min(image.shape) // KEPT
    return image if by < 2 else np.asarray(Image.fromarray(image).reduce(by), np.float32)


def finite(image: Array) -> Array:
    """The image with NaN and infinities as 0."""
    return (
        image if np.isfinite(image).all() else np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    )


def frame_box(image: Array, tolerance: float = 0.02) -> tuple[slice, slice]:
    """Rows and columns without the constant ones at the edges, black, white or grey: they belong to
    a viewer, not a body.
    """
    kept = [slice(0, image.shape[0]), slice(0, image.shape[1])]
    for axis in (0, 1):
        alive = np.flatnonzero(np.ptp(image[kept[0], kept[1]], axis=1 - axis) > tolerance)
        if len(alive) == 0 or alive[-1] - alive[0] < 8:
            break
        kept[axis] = slice(int(alive[0]), int(alive[-1]) + 1)
    return kept[0], kept[1]


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

    Thin things (table, frame, letters) are worn away first; then the heaviest run of what is left
    is taken along each axis. Falls back to the whole image.
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


@dataclass(frozen=True)
class Pose:
    """Where the head is in an image, and how it lies: what turns any framing into the same one.

    `box` is (left, top, right, bottom) in shares of the image, `turn` in degrees and `shift` in
    shares of the crop's side bring the midline upright and to the middle.
    """

    box: tuple[float, float, float, float]
    turn: float = 0.0
    shift: float = 0.0


_TURNS = range(-28, 29, 4)  # degrees
_SHIFTS = range(-3, 4)  # of FACE pixels
FACE = 48  # pixels along the side of the crop in which the midline is looked for


@cache
def _candidates() -> tuple[npt.NDArray[np.intp], list[tuple[int, int]]]:
    """For each turn and shift, the places in a crop of FACE x FACE that lie left of the midline,
    and their mirror images: [2, poses, places]; and those turns and shifts.
    """
    line = np.arange(FACE) - (FACE - 1) / 2
    x, y = np.meshgrid(line[: FACE // 2], line[::2])  # every other row says enough
    poses = [(turn, shift) for turn in _TURNS for shift in _SHIFTS]
    places: list[list[npt.NDArray[np.intp]]] = [[], []]
    for turn, shift in poses:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        for side, across in enumerate((x, -x)):
            at_x, at_y = cos * (across + shift) - sin * y, sin * (across + shift) + cos * y
            column, row = (
                np.clip(np.rint(at + (FACE - 1) / 2), 0, FACE - 1).astype(np.intp)
                for at in (at_x, at_y)
            )
            places[side].append((row * FACE + column).ravel())
    return np.stack([np.stack(side) for side in places]), poses


def pose(image: Array) -> Pose:
    """The head's pose in an image [rows, cols] in 0..1: the turn and shift in which it mirrors
    itself best.
    """
    box = head_box(image)
    small = box_mean(
        np.minimum(_square(image, Pose(box), FACE, FACE), 0.9), 1
    )  # it is read to the pixel only
    (left, right), poses = _candidates()
    unlike = np.abs(small.ravel()[left] - small.ravel()[right]).mean(1)
    # A turn must pay: what is round has no midline.
    best = int(np.argmin(unlike + [0.0004 * abs(turn) for turn, _ in poses]))
    return Pose(box, float(poses[best][0]), poses[best][1] / FACE)


def place(image: Array, where: Pose, height: int, width: int) -> Array:
    """The image [rows, cols] cropped and turned by its pose, [height, width]; black where it ends."""
    crop = _square(image, where, height, width)
    if where.turn == 0.0 and where.shift == 0.0:
        return crop
    cos, sin = float(np.cos(np.deg2rad(where.turn))), float(np.sin(np.deg2rad(where.turn)))
    x, y = (width - 1) / 2, (height - 1) / 2
    # PIL reads at pixel centres: (a, b, c) and (d, e, f) say where in the crop each pixel comes
    # from.
    dx = where.shift * width
    matrix = (cos, -sin, x + cos * (dx - x) + sin * y, sin, cos, y + sin * (dx - x) - cos * y)
    turned = Image.fromarray(crop).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(turned, np.float32)


def _square(image: Array, where: Pose, height: int, width: int) -> Array:
    """The square around the pose's box, padded with black where it leaves the image."""
    rows, cols = image.shape
    left, top, right, bottom = (
        where.box[0] * cols,
        where.box[1] * rows,
        where.box[2] * cols,
        where.box[3] * rows,
    )
    side = max(right - left, bottom - top) * 1.04
    x0, y0 = (left + right - side) / 2, (top + bottom - side) / 2
    pad = int(np.ceil(max(0.0, -x0, -y0, x0 + side - cols, y0 + side - rows))) + 1
    padded = np.pad(image, pad)
    return resize(padded, height, width, (x0 + pad, y0 + pad, x0 + pad + side, y0 + pad + side))


def anchor(crop: Array) -> Array:
    """Grey levels with air at 0, the brain's own grey at TISSUE and bone at 1, for any window's
    crop.
    """
    rows, cols = crop.shape
    middle = crop[rows // 5 : rows - rows // 5, cols // 5 : cols - cols // 5]
    bone = max(float(np.percentile(crop, 98)), 1e-3)
    soft = middle[(middle > 0.12 * bone) & (middle < 0.88 * bone)]
    tissue = float(np.median(soft)) if soft.size > 50 else TISSUE * bone
    return np.interp(crop, (0.0, tissue, max(bone, tissue + 1e-3)), (0.0, TISSUE, 1.0)).astype(
        np.float32
    )


def head(image: Array, unit: str, spec: InputSpec) -> Array:
    """One head slice as [channels, height, width]: upright, tissue at 0, bone near 2.2; channel 2
    is left against right.
    """
    if unit == "hu":
        low, high = BRAIN_WINDOW_HU
        image = (image - np.float32(low)) * np.float32(1 / (high - low))
        np.clip(image, 0.0, 1.0, out=image)
    else:
        image = np.clip(image, 0.0, 1.0)
        image = image[frame_box(image)]
    return head_planes(place(image, pose(image), spec.height, spec.width), spec)


def head_planes(crop: Array, spec: InputSpec) -> Array:
    """The planes of an upright crop [height, width]."""
    grey = anchor(crop)
    planes = np.broadcast_to((grey - TISSUE) * 4.0, (spec.channels, spec.height, spec.width)).copy()
    if spec.channels > 1:
        # Blood and bone count alike: the skull must not drown what lies beside it.
        inner = box_mean(np.clip(grey, TISSUE - 0.3, TISSUE + 0.3), spec.width // 50)
        planes[1] = (inner - inner[:, ::-1]) * 6.0
    return planes


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
    """Grey levels by rank, -1..1, learned from the middle 80 %: any monotone curve gives the same
    image.
    """
    rows, cols = image.shape
    middle = image[rows // 10 : rows - rows // 10, cols // 10 : cols - cols // 10]
    knots, first = np.unique(np.quantile(middle, np.linspace(0.0, 1.0, 65)), return_index=True)
    levels = np.linspace(-1.0, 1.0, 65)[first]
    return np.interp(image, knots, levels).astype(np.float32)


def chest(pixels: Array, spec: InputSpec) -> Array:
    """One chest film as [channels, height, width]: grey by rank, and (channel 2) contrast against
    its surround.
    """
    image = np.clip(pixels, 0.0, 1.0)
    image = resize(image[frame_box(image)], spec.height, spec.width)
    ranked = equalise(image)
    planes = np.broadcast_to(ranked * 1.7, (spec.channels, spec.height, spec.width)).copy()
    if spec.channels > 1:
        flat = ranked - box_mean(ranked, spec.height // 8)
        planes[1] = np.clip(
            flat / np.sqrt(box_mean(flat * flat, spec.height // 6) + 0.01), -3.0, 3.0
        )
    return planes
