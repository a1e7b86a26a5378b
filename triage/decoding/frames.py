"""One frame, its unit and its place; and what of a series was read: what the decoder hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from triage.decoding.reduction import body_box

_TOP = 0.85  # of a head's largest slice: of 82 real heads the highest one is 0.82 at most


@dataclass(frozen=True)
class Frame:
    """One image, or the mean of neighbouring slices (a slab), upright and with square pixels.

    Attributes:
        pixels: float32 [rows, columns]; Hounsfield units for "hu", 0 (black) to 1 (white) for
            "display".
        unit: which of the two.
        position_mm: of its middle along the stack, towards the head in axial ones; None where the
            header does not say.
        stack: frames of one number are one stack, in order; a second acquisition at the same
            places, or another plane, has a number of its own.
        side_mm: of a pixel; None where the header does not say.
        file: index among the files asked for, of its middle slice.
        body_mm: the longer side of the box around the body that is seen, 0 without one; None where
            `side_mm` is, or the unit is not "hu".
        skull: whether a skull is seen around a brain; None where the unit is not "hu".
        cut: whether the image ends within that skull, or shows another one beside it.
    """

    pixels: NDArray[np.float32]
    unit: Literal["hu", "display"]
    position_mm: float | None = None
    stack: int = 0
    side_mm: float | None = None
    file: int = 0
    body_mm: float | None = None
    skull: bool | None = None
    cut: bool = False


@dataclass(frozen=True)
class Read:
    """What of a series entered a frame, of what was there to read.

    Attributes:
        read: slices or films that entered a frame; of CT none that is blank between two that show
            a body.
        there: those, and the ones that could not be read, have no place in the stack, or lie where
            nothing was read and were left out by what they are (another kernel, a MIP).
        extent_mm: from the first slice read to the last, of CT of those that show a body, one
            spacing included; None where the headers do not say.
        spacing_mm: what is usual between neighbours where the largest gap is.
        largest_gap_mm: between neighbours that were read: the one largest against its spacing.
        gap_thicknesses: the largest gap against the slice thickness that is stated beside it, in
            thicknesses; None where none is stated.
        unstated_gap_mm: the largest gap beside which no thickness is stated; None: there is none.
        plausible: values that were taken for Hounsfield units can be those of a body.
        cut: images that end within the skull that they show, or show another one beside it.
        vertex: whether the head is there up to it: the highest slice that shows a body is smaller
            than those below; None where no skull is seen, or the headers do not say.
        aspects: width over height of the narrowest film and of the widest, of square pixels and
            without borders.
        beside: stacks from this number on are captures or derived images beside primary ones: they
            can flag the series, and nothing else is said of them; None: there are none.
        primary: they are primary images; captures and what was made of others can only be flagged.
        digest: SHA-256 of the bytes of all files that were read.
    """

    read: int
    there: int
    extent_mm: float | None = None
    spacing_mm: float | None = None
    largest_gap_mm: float | None = None
    gap_thicknesses: float | None = None
    unstated_gap_mm: float | None = None
    plausible: bool = True
    cut: int = 0
    vertex: bool | None = None
    aspects: tuple[float, float] | None = None
    beside: int | None = None
    primary: bool = True
    digest: str = ""


@dataclass(frozen=True)
class Decoded:
    """The frames of a series, stack by stack, and what they are of it.

    Attributes:
        images: what a network reads, float32 [n, …], where `Wanted.input` asked for it; the frames
            have no pixels then.
    """

    frames: list[Frame]
    read: Read
    images: NDArray[np.float32] | None = None


def has_vertex(frames: Sequence[Frame]) -> bool | None:
    """As `Read.vertex`."""
    heads = [frame.body_mm for frame in frames if frame.skull and frame.body_mm]
    places = [
        (frame.position_mm, frame.body_mm)
        for frame in frames
        if frame.position_mm is not None and frame.body_mm
    ]
    return max(places)[1] <= _TOP * max(heads) if heads and places else None


def aspects_of(frames: Sequence[Frame]) -> tuple[float, float] | None:
    """As `Read.aspects`: of what a network sees. A film that is half black is half a film."""
    shown = [frame.pixels for frame in frames if frame.unit == "display"]
    shapes = [pixels[body_box(pixels)].shape for pixels in shown]
    aspects = [columns / rows for rows, columns in shapes]
    return (min(aspects), max(aspects)) if aspects else None
