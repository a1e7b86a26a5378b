"""Labelled images, and many looks of each, as the network will see them. One process per core; the
same seed, the same pool.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage.decoding.frames import Frame
from triage.inputs.prepare import chest, frame_box, head_planes, place, pose, prepare, resize
from triage.packages.load import InputSpec
from triage.phantoms import images as phantoms
from triage.train.looks import chest_look, head_look
from triage.train.painting import (
    clot_mask,
    distract,
    dress,
    inside_skull,
    paint_clot,
    paint_opacity,
)
from triage.worker.constancy import reference_series

Array = NDArray[np.float32]
Half = NDArray[np.float16]
#: What an image shows: nothing, a finding whose place nobody marked, a finding that we painted.
NORMAL, REAL, MADE = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Case:
    """One labelled image: its file, truth (1 is the finding), patient, source and fold of the
    corpus.
    """

    file: Path
    truth: int
    patient: str
    source: str
    fold: str


def read_cases(images: Path, sources: Sequence[str]) -> list[Case]:
    """The cases of those sources in ``labels.csv``. Raises OSError when it is not there."""
    with (images / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] in sources]
    return [
        Case(images / row["file"], int(row["urgent"]), row["patient_id"], row["set"], row["fold"])
        for row in rows
    ]


def read_image(file: Path) -> Array:
    """A picture as float32 0..1 [rows, columns]."""
    with Image.open(file) as picture:
        return np.asarray(np.asarray(picture.convert("L"), np.float32) / 255, np.float32)


@dataclass(frozen=True)
class Looks:
    """Prepared images, and what is known of each.

    Attributes:
        images: float16 [n, c, h, w].
        shown: [n]: NORMAL, REAL or MADE.
        masks: uint8 [n, h / 2, w / 2], 0 to 255: where the finding is; all 0 where `shown` is
            NORMAL, unknown where it is REAL.
        fold: [n], of the case, empty for phantoms.
    """

    images: Half
    shown: Array
    masks: NDArray[np.uint8]
    fold: NDArray[np.str_]

    def __add__(self, other: Looks) -> Looks:
        names = ("images", "shown", "masks", "fold")
        return Looks(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        )

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Looks:
        return Looks(self.images[which], self.shown[which], self.masks[which], self.fold[which])


def plain(cases: Sequence[Case], spec: InputSpec) -> Array:
    """The cases as they are, [n, c, h, w]: what evaluation reads."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return np.stack(list(workers.map(_plain, cases, [spec] * len(cases), chunksize=64)))


def looks(
    cases: Sequence[Case], spec: InputSpec, rounds: Iterable[int], seed: int, painted: float
) -> Looks:
    """`rounds` looks of each case; a share `painted` of the normal ones gets a finding."""
    jobs = [
        (case, spec, (seed, number, index), painted)
        for number in rounds
        for index, case in enumerate(cases)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return _stack(workers.map(_look, jobs, chunksize=64), len(jobs), spec)


def phantom_looks(spec: InputSpec, count: int, seed: int) -> Looks:
    """Images of `count` phantoms of known truth."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        made = [
            one
            for some in workers.map(
                _phantom, [(spec, (seed, 7, index)) for index in range(count)], chunksize=16
            )
            for one in some
        ]
    return _stack(made, len(made), spec)


Look = tuple[Half, float, NDArray[np.uint8], str]


def _stack(made: Iterable[Look], count: int, spec: InputSpec) -> Looks:
    images = np.empty((count, spec.channels, spec.height, spec.width), np.float16)
    masks = np.empty((count, spec.height // 2, spec.width // 2), np.uint8)
    shown, fold = np.empty(count, np.float32), np.empty(count, "U8")
    for at, (image, truth, mask, of) in enumerate(made):
        images[at], shown[at], masks[at], fold[at] = image, truth, mask, of
    return Looks(images, shown, masks, fold)


def _plain(case: Case, spec: InputSpec) -> Array:
    return np.asarray(prepare([Frame(read_image(case.file), "display")], spec)[0])


def _look(job: tuple[Case, InputSpec, tuple[int, ...], float]) -> Look:
    case, spec, seed, painted = job
    rng, image, truth = np.random.default_rng(seed), read_image(case.file), float(case.truth)
    mask = np.zeros_like(image)
    if spec.kind == "chest_film" and rng.random() < 0.5:
        image = dress(rng, image)  # those with and without the finding alike
    if truth == NORMAL:
        image, mask = _paint(rng, image, spec.kind, painted)
        truth = MADE if mask.any() else NORMAL
    if rng.random() < (0.75 if spec.kind == "head_ct" else 0.85):
        image, mask = (head_look if spec.kind == "head_ct" else chest_look)(rng, image, mask)
    planes, small = prepare_with(np.asarray(image, np.float32), np.asarray(mask, np.float32), spec)
    return planes.astype(np.float16), truth, small, case.fold


def prepare_with(image: Array, mask: Array, spec: InputSpec) -> tuple[Array, NDArray[np.uint8]]:
    """As `prepare` does it for one picture [rows, cols] in 0..1, with a mask that goes the same
    way.
    """
    kept = frame_box(image)
    image, mask = image[kept], mask[kept]
    if spec.kind == "head_ct":
        where = pose(image)
        planes = head_planes(place(image, where, spec.height, spec.width), spec)
        small = place(mask, where, spec.height // 2, spec.width // 2)
    else:
        planes = chest(image, spec)
        small = resize(mask, spec.height // 2, spec.width // 2)
    return planes, (np.clip(small, 0.0, 1.0) * 255).astype(np.uint8)


def _paint(rng: np.random.Generator, image: Array, kind: str, share: float) -> tuple[Array, Array]:
    """A normal image with what looks like a finding and is none, and with chance `share` with a
    finding in `mask`.
    """
    nothing, wanted = np.zeros_like(image), rng.random() < share
    if kind == "chest_film":
        return paint_opacity(rng, image) if wanted else (image, nothing)
    inside = inside_skull(image)
    if inside is None:
        return image, nothing
    if rng.random() < 0.3:
        image = distract(rng, image, inside)
    if not wanted:
        return image, nothing
    mask = clot_mask(rng, image, inside)
    if rng.random() < 0.2:
        mask = np.maximum(mask, clot_mask(rng, image, inside))
    if float(mask.sum()) < 40:
        return image, nothing
    return paint_clot(rng, image, mask, inside.grey), mask


def _phantom(job: tuple[InputSpec, tuple[int, ...]]) -> list[Look]:
    spec, seed = job
    rng = np.random.default_rng(seed)
    unknown = np.zeros((spec.height // 2, spec.width // 2), np.uint8)
    if spec.kind == "chest_film":
        frames, truth = reference_series(rng, "chest_film")
        return [(prepare(frames, spec)[0].astype(np.float16), truth * REAL, unknown, "")]
    bleed = str(rng.choice(phantoms.BLEEDS)) if rng.random() < 0.6 else None
    volume = phantoms.head_ct(rng, bleed, slices=8)
    hit = phantoms.bleeding_slices(bleed, 8)
    keep = rng.permutation(8)[:4]
    images = prepare(
        [Frame(volume[index].astype(np.float32), "hu") for index in keep], spec
    ).astype(np.float16)
    return [
        (image, float(hit[index]) * REAL, unknown, "")
        for image, index in zip(images, keep, strict=True)
    ]
