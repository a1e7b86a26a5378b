"""What a package must not judge: other anatomy, other pictures and noise, as its network sees them.

A kind is a family and a name: "corpus/kermany224", "dicom/MR", "film/knee", "body/limb",
"noise/white".
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triage.decoding.frames import Frame
from triage.decoding.image_header import open_dataset
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request, Wanted
from triage.decoding.series import read_series
from triage.errors import NotAnalysed
from triage.inputs.prepare import prepare
from triage.packages.input_spec import InputSpec
from triage.phantoms.bleeds import BLEEDS
from triage.phantoms.bodies import BODIES, body_ct
from triage.phantoms.films import OTHER_FILMS, chest_film, other_film
from triage.phantoms.heads import head_ct
from triage.phantoms.noises import NOISES, noise
from triage.train.appearance import add_border, burn_in, degrade, move
from triage.train.corpus import read_cases, read_image

Array = NDArray[np.float32]
Random = np.random.Generator
_LEAST_PX = 24  # of a file's frame: smaller ones are test patterns of a decoder
_FRAMES = 4  # of one file
_HELD_OUT = ("0", "test", "external")  # folds of the corpora that are measured on


@dataclass(frozen=True)
class ForeignExamples:
    """Prepared images float16 [n, c, h, w], and of each its kind."""

    images: NDArray[np.float16]
    kinds: NDArray[np.str_]


def kinds_of(spec: InputSpec) -> tuple[str, ...]:
    """Every drawn kind that is foreign to such an input."""
    film = "chest" if spec.kind == "head_ct" else "head"
    return (
        *(f"film/{one}" for one in (*OTHER_FILMS, film)),
        *(f"body/{one}" for one in BODIES),
        *(f"noise/{one}" for one in NOISES),
    )


def foreign_files(
    images: Path, sources: Sequence[str], dicom: Path, same: Sequence[str], *, held_out: bool
) -> dict[str, list[Path]]:
    """Files by kind: those of other sources of the labelled images, and of a folder of DICOM files
    by their modality.

    Args:
        same: parts of the names of DICOM files that show the package's own anatomy; left out.
        held_out: the folds of the labelled images that no guard learns from, or the others.
    """
    found = {
        f"corpus/{source}": files
        for source in sources
        if (
            files := [
                case.file
                for case in read_cases(images, [source])
                if (case.fold in _HELD_OUT) == held_out
            ]
        )
    }
    for file in sorted(dicom.glob("*.dcm")):
        if not any(part in file.name for part in same) and (modality := _modality(file)):
            found.setdefault(f"dicom/{modality}", []).append(file)
    return found


def _modality(file: Path) -> str:
    """CT, MR, US or other; empty where nothing of it can be read."""
    if not _frames(file):
        return ""
    modality = str(open_dataset(file, Limits()).dataset.get("Modality", ""))
    return modality if modality in ("CT", "MR", "US") else "other"


def foreign_examples(
    spec: InputSpec, files: Mapping[str, Sequence[Path]], kinds: Sequence[str], each: int, seed: int
) -> ForeignExamples:
    """`each` images of each of `kinds`; the same seed gives the same images."""
    jobs = []
    for place, kind in enumerate(kinds):
        rng = np.random.default_rng((seed, 11, place))
        mine = files.get(kind, ())
        for index in range(each):
            file = mine[int(rng.integers(len(mine)))] if mine else None
            jobs.append((spec, kind, file, (seed, 13, place, index)))
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        images = list(workers.map(_example, jobs, chunksize=32))
    return ForeignExamples(np.stack(images), np.repeat(np.array(kinds), each))


def _example(
    job: tuple[InputSpec, str, Path | None, tuple[int, ...]],
) -> NDArray[np.float16]:
    spec, kind, file, seed = job
    rng = np.random.default_rng(seed)
    frame = _from_file(rng, file) if file else foreign_frame(rng, kind)
    if rng.random() < 0.7:
        frame = _varied(rng, frame)
    planes = prepare([as_read(rng, frame, spec)], spec)[0]
    return np.asarray(planes, np.float16)


def foreign_frame(rng: Random, kind: str) -> Frame:
    """One drawn image of `kind`, in Hounsfield units where it is of a CT."""
    family, _, name = kind.partition("/")
    if family == "body":
        return Frame(body_ct(rng, name).astype(np.float32), "hu")
    if family == "noise":
        return Frame(noise(rng, name).astype(np.float32), "display")
    if name == "head":
        bleed = str(rng.choice(BLEEDS)) if rng.random() < 0.5 else None
        volume = head_ct(rng, bleed, slices=8)
        return Frame(volume[int(rng.integers(8))].astype(np.float32), "hu")
    film = chest_film(rng, bool(rng.random() < 0.5)) if name == "chest" else other_film(rng, name)
    return Frame(film.astype(np.float32) / np.float32(4095), "display")


def _from_file(rng: Random, file: Path) -> Frame:
    if file.suffix != ".dcm":
        return Frame(read_image(file), "display")
    frames = _frames(file)
    return frames[int(rng.integers(len(frames)))]


@lru_cache(maxsize=128)
def _frames(file: Path) -> list[Frame]:
    """Some frames of a DICOM file; none where it cannot be read or is a pattern of a few pixels."""
    try:
        with warnings.catch_warnings():
            # pydicom's, about values that no pixel depends on.
            warnings.simplefilter("ignore")
            frames = read_series(Request((str(file),), Wanted(min_side_px=512)), Limits()).frames
    except NotAnalysed:
        return []
    chosen = [frames[at] for at in np.linspace(0, len(frames) - 1, _FRAMES).astype(int)]
    return [frame for frame in chosen if min(frame.pixels.shape) >= _LEAST_PX]


def as_read(rng: Random, frame: Frame, spec: InputSpec) -> Frame:
    """The frame in a unit that such an input reads: a film windowed, or taken for Hounsfield units
    at times where a head is expected.
    """
    if frame.unit == "hu" and (spec.kind == "chest_film" or rng.random() < 0.3):
        low = float(rng.uniform(-1000, 20))
        high = low + float(np.exp(rng.uniform(np.log(60), np.log(2000))))
        pixels = np.clip((frame.pixels - low) / (high - low), 0, 1)
        return replace(frame, pixels=pixels.astype(np.float32), unit="display")
    if frame.unit == "display" and spec.kind == "head_ct" and rng.random() < 0.5:
        low, high = float(rng.uniform(-1100, -10)), float(rng.uniform(60, 1500))
        pixels = frame.pixels * np.float32(high - low) + np.float32(low)
        return replace(frame, pixels=pixels, unit="hu")
    return frame


def _varied(rng: Random, frame: Frame) -> Frame:
    """Turned, mirrored, cut, and as if from another scanner or viewer."""
    pixels = frame.pixels
    if rng.random() < 0.4:
        pixels = np.rot90(pixels, int(rng.integers(4)))
    if rng.random() < 0.3:
        pixels = _cut(rng, pixels)
    pixels = np.ascontiguousarray(pixels, np.float32)
    if frame.unit == "hu":
        return replace(frame, pixels=pixels + np.float32(rng.normal(0.0, 8.0)))
    pixels = np.clip(pixels, 0.0, 1.0) ** np.float32(np.exp(rng.normal(0.0, 0.35)))
    (pixels,) = move(rng, (pixels,), (0.8, 1.5), 15.0, 0.2)
    pixels = degrade(rng, pixels, 1.0)
    if rng.random() < 0.2:
        pixels = burn_in(rng, pixels, 0.5)
    if rng.random() < 0.2:
        pixels, _ = add_border(rng, pixels, pixels)
    return replace(frame, pixels=np.asarray(pixels, np.float32))


def _cut(rng: Random, pixels: Array) -> Array:
    """At least half of each side, and _LEAST_PX."""
    parts = []
    for side in pixels.shape:
        kept = max(min(side, _LEAST_PX), int(side * rng.uniform(0.5, 1.0)))
        first = int(rng.integers(0, side - kept + 1))
        parts.append(slice(first, first + kept))
    return pixels[parts[0], parts[1]]
