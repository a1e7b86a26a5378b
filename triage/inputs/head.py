"""One head slice as the network reads it: cropped, turned upright, its grey levels anchored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from triage.decoding.reduction import body_box
from triage.inputs.common import Array, box_mean, resize
from triage.packages.input_spec import InputSpec

BRAIN_WINDOW_HU = (-20.0, 100.0)  # as the slices of patients that it learned from are shown
TISSUE = 0.45  # where the brain's own grey is put, between air (0) and bone (1)
_SEARCH_SIDE = 64  # pixels along the side of the image in which the head is looked for
_TURNS = range(-28, 29, 4)  # degrees
_SHIFTS = range(-3, 4)  # of _FACE_SIDE pixels
_FACE_SIDE = 48  # pixels along the side of the crop in which the midline is looked for


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
    small = resize(image, _SEARCH_SIDE, _SEARCH_SIDE)
    solid = small > 0.3 * float(np.percentile(small, 98))
    for axis in (0, 1):
        solid = solid & np.roll(solid, 1, axis) & np.roll(solid, -1, axis)
    weight = solid.astype(np.float32)
    left, right = 0, _SEARCH_SIDE
    top, bottom = 0, _SEARCH_SIDE
    for _ in range(2):
        left, right = _longest_run(weight[top:bottom].sum(0))
        top, bottom = _longest_run(weight[:, left:right].sum(1))
    if right - left < 8 or bottom - top < 8:
        return 0.0, 0.0, 1.0, 1.0
    # Wearing away took one pixel from each side.
    worn = np.array([left - 1, top - 1, right + 1, bottom + 1]) / _SEARCH_SIDE
    return float(worn[0]), float(worn[1]), float(worn[2]), float(worn[3])


@dataclass(frozen=True)
class Pose:
    """Where the head is in an image, and how it lies: what turns any framing into the same one.

    Attributes:
        box: (left, top, right, bottom) in shares of the image.
        turn: degrees that bring the midline upright.
        shift: share of the crop's side that brings the midline to the middle.
    """

    box: tuple[float, float, float, float]
    turn: float = 0.0
    shift: float = 0.0


@cache
def _candidates() -> tuple[npt.NDArray[np.intp], list[tuple[int, int]]]:
    """For each turn and shift: the places left of the midline, and their mirror images.

    Returns indices into a flat crop of _FACE_SIDE x _FACE_SIDE, [2, poses, places], and those
    turns and shifts.
    """
    line = np.arange(_FACE_SIDE) - (_FACE_SIDE - 1) / 2
    xs, ys = np.meshgrid(line[: _FACE_SIDE // 2], line[::2])  # every other row says enough
    poses = [(turn, shift) for turn in _TURNS for shift in _SHIFTS]
    places: list[list[npt.NDArray[np.intp]]] = [[], []]
    for turn, shift in poses:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        for side, across in enumerate((xs, -xs)):
            at_x, at_y = cos * (across + shift) - sin * ys, sin * (across + shift) + cos * ys
            column, row = (
                np.clip(np.rint(at + (_FACE_SIDE - 1) / 2), 0, _FACE_SIDE - 1).astype(np.intp)
                for at in (at_x, at_y)
            )
            places[side].append((row * _FACE_SIDE + column).ravel())
    return np.stack([np.stack(side) for side in places]), poses


def pose(image: Array) -> Pose:
    """The head's pose in an image [rows, cols] in 0..1.

    It is the turn and shift in which the head mirrors itself best.
    """
    box = head_box(image)
    crop = np.minimum(_square(image, Pose(box), _FACE_SIDE, _FACE_SIDE), 0.9)
    small = box_mean(crop, 1)  # `_candidates` are whole pixels
    (left, right), poses = _candidates()
    unlike = np.abs(small.ravel()[left] - small.ravel()[right]).mean(1)
    # A turn must pay: what is round has no midline.
    best = int(np.argmin(unlike + [0.0004 * abs(turn) for turn, _ in poses]))
    return Pose(box, float(poses[best][0]), poses[best][1] / _FACE_SIDE)


def place(image: Array, where: Pose, height: int, width: int) -> Array:
    """The image [rows, cols] cropped and turned by its pose: [height, width].

    Black where the image ends.
    """
    crop = _square(image, where, height, width)
    if where.turn == 0.0 and where.shift == 0.0:
        return crop
    cos, sin = float(np.cos(np.deg2rad(where.turn))), float(np.sin(np.deg2rad(where.turn)))
    mid_x, mid_y = (width - 1) / 2, (height - 1) / 2
    off_x = where.shift * width - mid_x
    # Where in the crop each pixel comes from: a row each for x and y. PIL reads at pixel centres.
    matrix = (
        *(cos, -sin, mid_x + cos * off_x + sin * mid_y),
        *(sin, cos, mid_y + sin * off_x - cos * mid_y),
    )
    turned = Image.fromarray(crop).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(turned, np.float32)


def _square(image: Array, where: Pose, height: int, width: int) -> Array:
    """The square around the pose's box, padded with black where it leaves the image."""
    rows, cols = image.shape
    left, right = where.box[0] * cols, where.box[2] * cols
    top, bottom = where.box[1] * rows, where.box[3] * rows
    side = max(right - left, bottom - top) * 1.04
    x0, y0 = (left + right - side) / 2, (top + bottom - side) / 2
    pad = int(np.ceil(max(0.0, -x0, -y0, x0 + side - cols, y0 + side - rows))) + 1
    padded = np.pad(image, pad)
    return resize(padded, height, width, (x0 + pad, y0 + pad, x0 + pad + side, y0 + pad + side))


def anchor(crop: Array) -> Array:
    """Grey levels with air at 0, the brain's own grey at TISSUE and bone at 1.

    So a crop [rows, cols] comes out alike whatever window it was shown in.
    """
    rows, cols = crop.shape
    middle = crop[rows // 5 : rows - rows // 5, cols // 5 : cols - cols // 5]
    bone = max(float(np.percentile(crop, 98)), 1e-3)
    soft = middle[(middle > 0.12 * bone) & (middle < 0.88 * bone)]
    tissue = float(np.median(soft)) if soft.size > 50 else TISSUE * bone
    return np.interp(crop, (0.0, tissue, max(bone, tissue + 1e-3)), (0.0, TISSUE, 1.0)).astype(
        np.float32
    )


def head_planes(image: Array, unit: str, spec: InputSpec) -> Array:
    """One head slice [rows, cols] as [channels, height, width], upright.

    Tissue is at 0, bone near 2.2; the second channel is left against right.
    """
    if unit == "hu":
        low, high = BRAIN_WINDOW_HU
        image = (image - np.float32(low)) * np.float32(1 / (high - low))
        np.clip(image, 0.0, 1.0, out=image)
    else:
        image = np.clip(image, 0.0, 1.0)
        image = image[body_box(image)]
    return crop_planes(place(image, pose(image), spec.height, spec.width), spec)


def crop_planes(crop: Array, spec: InputSpec) -> Array:
    """The planes of an upright crop [height, width]."""
    grey = anchor(crop)
    planes = np.broadcast_to((grey - TISSUE) * 4.0, spec.shape).copy()
    if spec.channels > 1:
        # Blood and bone count alike: the skull must not drown what lies beside it.
        inner = box_mean(np.clip(grey, TISSUE - 0.3, TISSUE + 0.3), spec.width // 50)
        planes[1] = (inner - inner[:, ::-1]) * 6.0
    return planes
