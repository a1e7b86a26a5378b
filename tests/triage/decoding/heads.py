"""One head as files, lying and cut in any way: what the geometry must undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from triage.decoding.frames import Decoded, Read
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request, Wanted
from triage.decoding.series import read_series

MakeCt = Callable[..., FileDataset]
SIDE_MM = 2.0
#: How a scanner may store an axial slice: its IOP, and what it does to the picture.
WAYS: dict[str, tuple[list[float], Callable[[NDArray[np.int16]], NDArray[np.int16]]]] = {
    "supine": ([1, 0, 0, 0, 1, 0], lambda image: image),
    "prone": ([-1, 0, 0, 0, -1, 0], lambda image: image[::-1, ::-1]),
    "feet first": ([-1, 0, 0, 0, 1, 0], lambda image: image[:, ::-1]),
    "feet first, prone": ([1, 0, 0, 0, -1, 0], lambda image: image[::-1]),
    "on the left side": ([0, 1, 0, -1, 0, 0], lambda image: np.rot90(image, 1)),
    "on the right side": ([0, -1, 0, 1, 0, 0], lambda image: np.rot90(image, -1)),
    "mirrored on its side": ([0, 1, 0, 1, 0, 0], lambda image: image.T),
    "mirrored on its other side": ([0, -1, 0, -1, 0, 0], lambda image: image[::-1, ::-1].T),
}


def head(slices: int, rows: int = 48, columns: int = 40) -> NDArray[np.int16]:
    """A volume of smooth values without any symmetry, [slices, rows, columns], stored."""
    z, y, x = np.mgrid[0:slices, 0:rows, 0:columns].astype(np.float64)
    wave = np.sin(x / 7 + z / 9) + np.cos(y / 11) + x / columns + 2 * y / rows
    return np.asarray(1000 + 200 * wave, np.int16)


def slice_of(
    make_ct: MakeCt,
    image: NDArray[np.int16],
    z: float,
    number: int,
    *,
    lies: str = "supine",
    side_mm: float = SIDE_MM,
) -> FileDataset:
    """`image` at `z` mm, as a scanner stores it where the patient lies so."""
    cosines, stored = WAYS[lies]
    pixels = np.ascontiguousarray(stored(image))
    dataset = make_ct(*pixels.shape, z=z, number=number)
    dataset.PixelData = pixels.tobytes()
    dataset.ImageOrientationPatient = cosines
    dataset.PixelSpacing = [side_mm, side_mm]
    across, down = np.array(cosines[:3]), np.array(cosines[3:])
    rows, columns = pixels.shape
    corner = -side_mm * (across * (columns - 1) / 2 + down * (rows - 1) / 2)
    dataset.ImagePositionPatient = [*np.round(corner[:2], 3), z]
    return dataset


def stack(make_ct: MakeCt, slices: int = 8) -> list[FileDataset]:
    """A head of slices 5 mm apart, as the head package is meant for."""
    made = [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(head(slices))]
    for dataset in made:
        dataset.BodyPartExamined = "HEAD"
    return made


def written(datasets: Sequence[FileDataset], folder: Path) -> tuple[str, ...]:
    """The paths of `datasets`, saved."""
    paths = [folder / f"{number:04d}" for number in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return tuple(map(str, paths))


def measured(decoded: Decoded) -> Read:
    """What was read, whatever the bytes and values."""
    return replace(decoded.read, digest="", plausible=True)


def read(datasets: Sequence[FileDataset], folder: Path, slab_mm: float = 5.0) -> Decoded:
    """As the head package reads them."""
    wanted = Wanted(slab_mm=slab_mm, axial=True)
    return read_series(Request(written(datasets, folder), wanted), Limits())
