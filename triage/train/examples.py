"""What a network learns from: many versions of each case, and phantoms, as the network sees them.

One process for each core; the same seed gives the same examples.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from triage.decoding.frames import Frame
from triage.decoding.reduction import body_box
from triage.inputs.chest import chest_planes
from triage.inputs.common import resize
from triage.inputs.head import crop_planes, place, pose
from triage.inputs.prepare import prepare
from triage.packages.input_spec import InputSpec
from triage.phantoms.bleeds import BLEEDS
from triage.phantoms.heads import bleeding_slices, head_ct
from triage.phantoms.series import phantom_series
from triage.train.appearance import vary_chest, vary_head
from triage.train.corpus import Case, read_image
from triage.train.findings import (
    add_adult_features,
    add_calcifications,
    clot_mask,
    inside_skull,
    paint_clot,
    paint_opacity,
)

Array = NDArray[np.float32]
Half = NDArray[np.float16]
#: What an image shows: nothing, a finding whose place nobody marked, a finding that we painted.
NORMAL, REAL, PAINTED = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Examples:
    """Prepared images, and what is known of each.

    Attributes:
        images: float16 [n, c, h, w].
        shown: [n]: NORMAL, REAL or PAINTED.
        masks: uint8 [n, h / 2, w / 2], 0 to 255: where the finding is; all 0 where `shown` is
            NORMAL, unknown where it is REAL.
        fold: [n], of the case, empty for phantoms.
    """

    images: Half
    shown: Array
    masks: NDArray[np.uint8]
    fold: NDArray[np.str_]

    def __add__(self, other: Examples) -> Examples:
        names = ("images", "shown", "masks", "fold")
        return Examples(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        )

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Examples:
        return Examples(self.images[which], self.shown[which], self.masks[which], self.fold[which])


def prepare_plain(cases: Sequence[Case], spec: InputSpec) -> Array:
    """The cases as they are, [n, c, h, w]: what evaluation reads."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return np.stack(list(workers.map(_prepare_plain, cases, [spec] * len(cases), chunksize=64)))


def case_examples(
    cases: Sequence[Case], spec: InputSpec, rounds: Iterable[int], seed: int, painted: float
) -> Examples:
    """For each of `rounds` a version of each case.

    A share `painted` of the normal ones gets a finding.
    """
    jobs = [
        (case, spec, (seed, number, index), painted)
        for number in rounds
        for index, case in enumerate(cases)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return _stack(workers.map(_case_example, jobs, chunksize=64), len(jobs), spec)


def phantom_examples(spec: InputSpec, count: int, seed: int) -> Examples:
    """Images of `count` phantoms of known truth."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        jobs = [(spec, (seed, 7, index)) for index in range(count)]
        made = list(chain.from_iterable(workers.map(_phantom_examples, jobs, chunksize=16)))
    return _stack(made, len(made), spec)


#: Image, what it shows, mask, fold.
_Example = tuple[Half, float, NDArray[np.uint8], str]


def _stack(made: Iterable[_Example], count: int, spec: InputSpec) -> Examples:
    images = np.empty((count, *spec.shape), np.float16)
    masks = np.empty((count, spec.height // 2, spec.width // 2), np.uint8)
    shown, fold = np.empty(count, np.float32), np.empty(count, "U8")
    for at, (image, truth, mask, of) in enumerate(made):
        images[at], shown[at], masks[at], fold[at] = image, truth, mask, of
    return Examples(images, shown, masks, fold)


def _prepare_plain(case: Case, spec: InputSpec) -> Array:
    return np.asarray(prepare([Frame(read_image(case.file), "display")], spec)[0])


def _case_example(job: tuple[Case, InputSpec, tuple[int, ...], float]) -> _Example:
    case, spec, seed, painted = job
    rng, image, truth = np.random.default_rng(seed), read_image(case.file), float(case.truth)
    mask = np.zeros_like(image)
    if spec.kind == "chest_film" and rng.random() < 0.5:
        image = add_adult_features(rng, image)  # those with and without the finding alike
    if truth == NORMAL:
        image, mask = _paint(rng, image, spec.kind, painted)
        truth = PAINTED if mask.any() else NORMAL
    share, vary = (0.75, vary_head) if spec.kind == "head_ct" else (0.85, vary_chest)
    if rng.random() < share:
        image, mask = vary(rng, image, mask)
    planes, small = prepare_with(np.asarray(image, np.float32), np.asarray(mask, np.float32), spec)
    return planes.astype(np.float16), truth, small, case.fold


def prepare_with(image: Array, mask: Array, spec: InputSpec) -> tuple[Array, NDArray[np.uint8]]:
    """As `prepare` does it for one picture [rows, cols] in 0..1, and its mask in the same way."""
    kept = body_box(image)
    image, mask = image[kept], mask[kept]
    if spec.kind == "head_ct":
        where = pose(image)
        planes = crop_planes(place(image, where, spec.height, spec.width), spec)
        small = place(mask, where, spec.height // 2, spec.width // 2)
    else:
        planes = chest_planes(image, spec)
        small = resize(mask, spec.height // 2, spec.width // 2)
    return planes, (np.clip(small, 0.0, 1.0) * 255).astype(np.uint8)


def _paint(rng: np.random.Generator, image: Array, kind: str, share: float) -> tuple[Array, Array]:
    """A normal image with what looks like a finding and is none, and perhaps with a finding.

    `share` is the chance of that; it lies where the returned mask is.
    """
    nothing, wanted = np.zeros_like(image), rng.random() < share
    if kind == "chest_film":
        return paint_opacity(rng, image) if wanted else (image, nothing)
    inside = inside_skull(image)
    if inside is None:
        return image, nothing
    if rng.random() < 0.3:
        image = add_calcifications(rng, image, inside)
    if not wanted:
        return image, nothing
    mask = clot_mask(rng, image, inside)
    if rng.random() < 0.2:
        mask = np.maximum(mask, clot_mask(rng, image, inside))
    if float(mask.sum()) < 40:
        return image, nothing
    return paint_clot(rng, image, mask, inside.grey), mask


def _phantom_examples(job: tuple[InputSpec, tuple[int, ...]]) -> list[_Example]:
    spec, seed = job
    rng = np.random.default_rng(seed)
    unknown = np.zeros((spec.height // 2, spec.width // 2), np.uint8)
    if spec.kind == "chest_film":
        frames, truth = phantom_series(rng, "chest_film")
        return [(prepare(frames, spec)[0].astype(np.float16), truth * REAL, unknown, "")]
    bleed = str(rng.choice(BLEEDS)) if rng.random() < 0.6 else None
    volume = head_ct(rng, bleed, slices=8)
    hit = bleeding_slices(bleed, 8)
    keep = rng.permutation(8)[:4]
    images = prepare(
        [Frame(volume[index].astype(np.float32), "hu") for index in keep], spec
    ).astype(np.float16)
    return [
        (image, float(hit[index]) * REAL, unknown, "")
        for image, index in zip(images, keep, strict=True)
    ]
