"""Which frames of a series a model reads, and in which order along the stack."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.decoding.image_header import ImageHeader
from triage.errors import NotAnalysed

_SCOUT = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"}
# Siemens B60/H60 and sharper, GE and Philips by name: in their noise blood is not seen.
_BONE_KERNEL = re.compile(r"bone|edge|sharp|lung|^(?:[BHJ][rcfkpv]?|U)(?:[6-9]\d)", re.IGNORECASE)
_AXIAL = 0.7  # least |z| of the normal: a tilted gantry (30°) is axial, a coronal reformat is not


@dataclass(frozen=True)
class Place:
    """One frame of one file.

    Attributes:
        file: index among the headers.
        number: the instance number.
        normal: of its plane, rounded to a tenth.
        position: along the normal, mm; None where the header does not say.
        shape: rows, columns.
    """

    file: int
    frame: int
    number: float
    normal: tuple[float, float, float] | None
    position: float | None
    shape: tuple[int, int]


def plane_normal(header: ImageHeader, frame: int) -> NDArray[np.float64] | None:
    """Unit normal [3] of the frame's plane in patient coordinates (LPS).

    None where the header gives no valid orientation.
    """
    cosines = header.numbers(
        header.group(frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
    )
    if cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    if abs(row @ row - 1) > 0.05 or abs(column @ column - 1) > 0.05 or abs(row @ column) > 0.05:
        return None
    normal: NDArray[np.float64] = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def position_mm(header: ImageHeader, frame: int) -> float | None:
    """Where the frame lies along its normal, in mm; None when the header does not say."""
    normal = plane_normal(header, frame)
    corner = header.numbers(header.group(frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    return None if normal is None or corner is None else float(normal @ corner)


def is_scout(header: ImageHeader) -> bool:
    """Whether the image type says localizer (CT scouts carry it as value 3)."""
    kinds = header.dataset.get("ImageType") or []
    return bool(
        _SCOUT & {str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)}
    )


def is_bone_kernel(header: ImageHeader) -> bool:
    """Whether the reconstruction kernel is one for bone or lung."""
    kernel = header.dataset.get("ConvolutionKernel") or header.group(
        0, "CTReconstructionSequence"
    ).get("ConvolutionKernel")
    first = kernel if isinstance(kernel, str) or not kernel else kernel[0]
    return bool(_BONE_KERNEL.search(str(first or "")))


def sort_frames(headers: Sequence[ImageHeader]) -> list[Place]:
    """All frames of `headers`, along the normal.

    Those without a position come last, by instance and frame number.
    """
    places = []
    for file, header in enumerate(headers):
        number = header.numbers(header.dataset, "InstanceNumber", 1)
        for frame in range(header.frames):
            normal = plane_normal(header, frame)
            plane = (
                None
                if normal is None
                else (round(normal[0], 1), round(normal[1], 1), round(normal[2], 1))
            )
            places.append(
                Place(
                    file,
                    frame,
                    0.0 if number is None else float(number[0]),
                    plane,
                    position_mm(header, frame),
                    (header.rows, header.columns),
                )
            )
    return sorted(places, key=_order)


def _order(place: Place) -> tuple[bool, float, float, int, int]:
    unknown = place.position is None
    return unknown, place.position or 0.0, place.number, place.frame, place.file


def choose(headers: Sequence[ImageHeader], *, max_frames: int, axial: bool) -> list[Place]:
    """At most `max_frames` frames that a model reads, in order along the stack.

    Args:
        headers: of all readable files of one series.
        max_frames: 1 or more; a longer stack is thinned evenly.
        axial: only axial slices that are no scouts and not from a bone kernel.

    Raises:
        NotAnalysed: `no_pixels` without headers, `outside_intended_use_view` when nothing
            suitable is left.
    """
    if not headers:
        raise NotAnalysed(Reason.NO_PIXELS)
    fit = {
        file
        for file, header in enumerate(headers)
        if not axial or not (is_scout(header) or is_bone_kernel(header))
    }
    places = [place for place in sort_frames(headers) if place.file in fit]
    if axial:
        # Without geometry (a secondary capture) the plane is taken on trust.
        places = [
            place for place in places if place.normal is None or abs(place.normal[2]) >= _AXIAL
        ]
    if not places:
        raise NotAnalysed(Reason.OUTSIDE_VIEW)
    if len(places) > 1:
        kind = Counter((place.normal, place.shape) for place in places).most_common(1)[0][0]
        places = _one_per_position(
            [place for place in places if (place.normal, place.shape) == kind]
        )
    if len(places) <= max_frames:
        return places
    return [places[at] for at in np.linspace(0, len(places) - 1, max_frames).round().astype(int)]


def _one_per_position(places: list[Place]) -> list[Place]:
    """One frame for each position: a second phase or a duplicate says nothing about the stack."""
    kept: list[Place] = []
    for place in places:
        if (
            not kept
            or place.position is None
            or kept[-1].position is None
            or place.position - kept[-1].position > 0.05
        ):
            kept.append(place)
    return kept
