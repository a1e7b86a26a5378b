"""Where a frame lies in the patient, and how it is turned to lie as a reader sees it.

Coordinates are DICOM's (PS3.3 §C.7.6.2.1.1): x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from triage.decoding.image_header import ImageHeader
from triage.eligibility.header_facts import values_of

Vector = NDArray[np.float64]
#: By the axis that a plane's normal is nearest to: where columns and rows run on the screen.
_SCREEN = {
    0: ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),  # sagittal: front at the left, head at the top
    1: ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),  # coronal: right at the left, head at the top
    2: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),  # axial: right at the left, front at the top
}
#: Where rows and columns run, by the first letter of Patient Orientation (PS3.3 §C.7.6.1.1.1).
_LETTERS = {
    "L": (1.0, 0.0, 0.0),
    "R": (-1.0, 0.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "H": (0.0, 0.0, 1.0),
    "F": (0.0, 0.0, -1.0),
}
_MOST_UNEQUAL = 4.0  # sides of a pixel: what claims more is no pixel
#: What is larger is no side of a pixel, and no place in a scanner: sums of it are not finite.
_MOST_SIDE_MM, _MOST_AWAY_MM = 100.0, 1e6
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True)
class Plane:
    """How a frame lies, and what brings it upright.

    Attributes:
        across, down: unit vectors along which columns and rows run once it is upright.
        normal: unit vector, towards the head, the back or the left.
        transposed, flipped: what is done to [rows, columns] to bring it upright, in that order;
            `flipped` is (rows, columns).
    """

    across: Vector
    down: Vector
    normal: Vector
    transposed: bool
    flipped: tuple[bool, bool]

    @property
    def axial(self) -> float:
        """|z| of the normal: 1 for a straight axial slice."""
        return abs(float(self.normal[2]))


def plane_of(header: ImageHeader, frame: int) -> Plane | None:
    """The frame's plane; None where the header gives no valid orientation.

    Films state theirs in letters: one that was stored turned or mirrored is turned back too.

    Prone, feet first, on the side: whichever of the eight ways a picture can lie, the returned
    plane turns it to the one that a reader is used to. Smaller turns and a tilt stay.
    """
    cosines = header.numbers(
        header.group(frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
    )
    if cosines is None:
        cosines = _by_letters(header)
    if cosines is None:
        return None
    return _plane(tuple(cosines.tolist()))


@lru_cache(maxsize=256)  # slices of a series lie alike
def _plane(cosines: tuple[float, ...]) -> Plane | None:
    across, down = np.array(cosines[:3]), np.array(cosines[3:])
    if abs(across @ across - 1) > 0.05 or abs(down @ down - 1) > 0.05 or abs(across @ down) > 0.05:
        return None
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal)
    axis = int(np.argmax(np.abs(normal)))
    right, below = (np.array(way) for way in _SCREEN[axis])
    transposed = bool(abs(across @ right) < abs(down @ right))
    if transposed:
        across, down = down, across
    flipped = bool(down @ below < 0), bool(across @ right < 0)
    return Plane(
        -across if flipped[1] else across,
        -down if flipped[0] else down,
        -normal if normal[axis] < 0 else normal,
        transposed,
        flipped,
    )


def _by_letters(header: ImageHeader) -> Vector | None:
    letters = [value[:1] for value in values_of(header.dataset, "PatientOrientation")]
    if len(letters) != 2 or not _LETTERS.keys() >= set(letters):
        return None
    return np.array([*_LETTERS[letters[0]], *_LETTERS[letters[1]]])


def spacing_of(header: ImageHeader, frame: int) -> tuple[float, float] | None:
    """(between rows, between columns) of the frame as it is stored, in mm.

    In any unit where only the aspect is known (`has_millimetres` says which); None where the
    header says nothing that can be.
    """
    if (stated := _in_millimetres(header, frame)) is not None:
        return stated
    aspect = header.numbers(header.dataset, "PixelAspectRatio", 2)
    return None if aspect is None or not _possible(aspect) else (float(aspect[0]), float(aspect[1]))


def has_millimetres(header: ImageHeader, frame: int) -> bool:
    """Whether `spacing_of` is in mm."""
    return _in_millimetres(header, frame) is not None


def _in_millimetres(header: ImageHeader, frame: int) -> tuple[float, float] | None:
    measures = header.group(frame, "PixelMeasuresSequence")
    for source, name in [(measures, "PixelSpacing"), *((header.dataset, one) for one in _SPACINGS)]:
        found = header.numbers(source, name, 2)
        if found is not None and _possible(found) and found.max() <= _MOST_SIDE_MM:
            return float(found[0]), float(found[1])
    return None


def _possible(sides: Vector) -> bool:
    return bool(sides.min() > 0 and sides.max() <= _MOST_UNEQUAL * sides.min())


def corner_of(header: ImageHeader, frame: int) -> Vector | None:
    """The centre of the frame's first stored pixel, in mm; None where the header does not say, or
    names a place that is none.
    """
    source = header.group(frame, "PlanePositionSequence")
    found = header.numbers(source, "ImagePositionPatient", 3)
    return None if found is None or np.abs(found).max() > _MOST_AWAY_MM else found


def upright(pixels: NDArray[np.float32], plane: Plane | None) -> NDArray[np.float32]:
    """`pixels` [rows, columns] turned as `plane` says; itself where nothing is known."""
    if plane is None:
        return pixels
    if plane.transposed:
        pixels = pixels.T
    return pixels[:: -1 if plane.flipped[0] else 1, :: -1 if plane.flipped[1] else 1]


def square_pixels(pixels: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.float32]:
    """`pixels` [rows, columns] with the coarser side of a pixel brought to the finer one.

    Args:
        spacing: (between rows, between columns) of `pixels`.
    """
    ratio = spacing[0] / spacing[1]
    if abs(ratio - 1) < 0.01:
        return pixels
    if ratio < 1:
        return square_pixels(pixels.T, spacing[::-1]).T
    rows = len(pixels)
    # Pixel centres stay where they are: the new rows lie evenly over the same height.
    at = np.clip((np.arange(round(rows * ratio)) + 0.5) / ratio - 0.5, 0, rows - 1)
    low = np.minimum(at.astype(np.intp), max(rows - 2, 0))
    part = (at - low).astype(np.float32)[:, None]
    found: NDArray[np.float32] = pixels[low] * (1 - part)
    found += pixels[np.minimum(low + 1, rows - 1)] * part
    return found


def shifted(pixels: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """`pixels` moved down by `rows` and to the right by `columns`; edges are repeated."""
    if rows == columns == 0:
        return pixels
    height, width = pixels.shape
    down = np.clip(np.arange(height) - rows, 0, height - 1)
    across = np.clip(np.arange(width) - columns, 0, width - 1)
    return pixels[down[:, None], across]
