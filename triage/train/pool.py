"""Labelled images, and many looks of each, as the network will see them. One process per core; the same seed, the same pool."""

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

from triage import phantoms
from triage.constancy import reference_series
from triage.frames import Frame
from triage.packages import InputSpec
from triage.prepare import prepare
from triage.train.looks import chest_look, head_look
from triage.train.painting import clot_mask, inside_skull, paint_clot, paint_opacity

Array = NDArray[np.float32]
Half = NDArray[np.float16]
#: What an image shows: nothing, a finding of a patient, a finding that we painted or drew.
NORMAL, REAL, MADE = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Case:
    """One labelled image: its file, truth (1 is the finding), patient, source and fold of the corpus."""

    file: Path
    truth: int
    patient: str
    source: str
    fold: str


def read_cases(images: Path, sources: Sequence[str]) -> list[Case]:
    """The cases of those sources in ``labels.csv``. Raises OSError when it is not there."""
    with (images / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] in sources]
    return [Case(images / row["file"], int(row["urgent"]), row["patient_id"], row["set"], row["fold"]) for row in rows]


def read_image(file: Path) -> Array:
    """A picture as float32 0..1 [rows, columns]."""
    with Image.open(file) as picture:
        return np.asarray(np.asarray(picture.convert("L"), np.float32) / 255, np.float32)


def plain(cases: Sequence[Case], spec: InputSpec) -> Array:
    """The cases as they are, [n, c, h, w]: what evaluation reads."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return np.stack(list(workers.map(_plain, cases, [spec] * len(cases), chunksize=64)))


def looks(cases: Sequence[Case], spec: InputSpec, rounds: Iterable[int], seed: int, painted: float) -> tuple[Half, Array]:
    """`rounds` looks of each case, [n, c, h, w] float16, and what each shows [n]: NORMAL, REAL or MADE.

    A share `painted` of the normal ones gets a finding.
    """
    jobs = [(case, spec, (seed, number, index), painted) for number in rounds for index, case in enumerate(cases)]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        made = list(workers.map(_look, jobs, chunksize=64))
    return np.stack([image for image, _ in made]), np.array([truth for _, truth in made], np.float32)


def phantom_looks(spec: InputSpec, count: int, seed: int) -> tuple[Half, Array]:
    """`count` images of phantoms of known truth, as `looks` gives them."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        made = list(workers.map(_phantom, [(spec, (seed, 7, index)) for index in range(count)], chunksize=16))
    return np.concatenate([image for image, _ in made]), np.concatenate([truth for _, truth in made])


def _plain(case: Case, spec: InputSpec) -> Array:
    return np.asarray(prepare([Frame(read_image(case.file), "display")], spec)[0])


def _look(job: tuple[Case, InputSpec, tuple[int, ...], float]) -> tuple[Half, float]:
    case, spec, seed, painted = job
    rng, image, truth = np.random.default_rng(seed), read_image(case.file), float(case.truth)
    if truth == 0 and rng.random() < painted:
        image, truth = _paint(rng, image, spec.kind)
    if rng.random() < 0.85:
        image = head_look(rng, image) if spec.kind == "head_ct" else chest_look(rng, image)
    return prepare([Frame(np.asarray(image, np.float32), "display")], spec)[0].astype(np.float16), truth


def _paint(rng: np.random.Generator, image: Array, kind: str) -> tuple[Array, float]:
    if kind == "chest_film":
        return paint_opacity(rng, image), MADE
    inside = inside_skull(image)
    if inside is None:
        return image, 0.0
    mask = clot_mask(rng, image, inside)
    if float(mask.sum()) < 40:
        return image, 0.0
    return paint_clot(rng, image, mask, inside.grey), MADE


def _phantom(job: tuple[InputSpec, tuple[int, ...]]) -> tuple[Half, Array]:
    spec, seed = job
    rng = np.random.default_rng(seed)
    if spec.kind == "chest_film":
        frames, truth = reference_series(rng, "chest_film")
        return prepare(frames, spec).astype(np.float16), np.array([truth * MADE], np.float32)
    bleed = str(rng.choice(phantoms.BLEEDS)) if rng.random() < 0.6 else None
    volume = phantoms.head_ct(rng, bleed, slices=8)
    hit = phantoms.bleeding_slices(bleed, 8)
    keep = rng.permutation(8)[:4]
    frames = [Frame(volume[index].astype(np.float32), "hu") for index in keep]
    return prepare(frames, spec).astype(np.float16), hit[keep].astype(np.float32) * np.float32(MADE)
