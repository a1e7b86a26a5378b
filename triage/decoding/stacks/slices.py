"""Which frames of a series a model reads, stack by stack, in order along each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streams.errors import Reason
from triage.decoding.geometry import Plane, Vector, corner_of, plane_of, spacing_of
from triage.decoding.image_header import ImageHeader
from triage.decoding.stacks.passes import SAME_PLACE_MM, passes_of
from triage.errors import NotAnalysed

_AXIAL = 0.7  # least |z| of the normal: a tilted gantry (30°) is axial, a coronal reformat is not
_SAME_TURN = float(np.cos(np.deg2rad(0.5)))


@dataclass(frozen=True, eq=False)
class Place:
    """One frame of one file.

    Attributes:
        file: index among the files asked for.
        shape: (rows, columns) as stored.
        plane: None where the header gives no orientation.
        centre: its middle in patient coordinates, mm; None where the header gives no position.
        position: of the middle along the normal of its stack, mm.
        spacing: (between rows, between columns) once it is upright; None where not stated.
        thickness: mm; None where not stated.
        number: acquisition and instance number: which of several at one place comes first.
    """

    file: int
    frame: int
    shape: tuple[int, int]
    plane: Plane | None
    centre: Vector | None
    position: float | None
    spacing: tuple[float, float] | None
    thickness: float | None
    number: tuple[float, float]

    @property
    def order(self) -> tuple[float, float, int, int]:
        """By what the sender numbered, else by file."""
        return (*self.number, self.frame, self.file)


@dataclass(frozen=True)
class Stacks:
    """What is to be read of a series.

    Attributes:
        stacks: places along the patient, each list a stack of its own.
        unplaced: frames of the same size that have no place among them: they are not read.
    """

    stacks: list[list[Place]]
    unplaced: int = 0


def place_of(header: ImageHeader, file: int, frame: int) -> Place:
    """Where `frame` of `header` lies."""
    plane, corner = plane_of(header, frame), corner_of(header, frame)
    stored = spacing_of(header, frame)
    spacing = stored[::-1] if stored and plane and plane.transposed else stored
    centre = None
    if plane is not None and corner is not None:
        centre = corner + _to_centre(header, plane, spacing)
    measures = header.group(frame, "PixelMeasuresSequence")
    thick = header.numbers(measures, "SliceThickness", 1)
    numbers = (
        header.numbers(header.dataset, name, 1) for name in ("AcquisitionNumber", "InstanceNumber")
    )
    first, second = (0.0 if found is None else float(found[0]) for found in numbers)
    return Place(
        file,
        frame,
        (header.rows, header.columns),
        plane,
        centre,
        None if centre is None or plane is None else float(plane.normal @ centre),
        spacing,
        float(thick[0]) if thick is not None and thick[0] > 0 else None,
        (first, second),
    )


def _to_centre(header: ImageHeader, plane: Plane, spacing: tuple[float, float] | None) -> Vector:
    """From the first stored pixel to the middle of the frame, mm."""
    if spacing is None:
        return np.zeros(3)
    rows, columns = header.rows, header.columns
    if plane.transposed:
        rows, columns = columns, rows
    down = plane.down * (spacing[0] * (rows - 1) / 2 * (-1 if plane.flipped[0] else 1))
    across = plane.across * (spacing[1] * (columns - 1) / 2 * (-1 if plane.flipped[1] else 1))
    found: Vector = down + across
    return found


def axial_places(header: ImageHeader, file: int, frames: Iterable[int]) -> list[Place]:
    """Those of `frames` that are axial and have a place."""
    places = (place_of(header, file, frame) for frame in frames)
    return [
        place
        for place in places
        if place.centre is not None and place.plane is not None and place.plane.axial >= _AXIAL
    ]


def choose(
    headers: Mapping[int, ImageHeader], frames: Sequence[tuple[int, int]], *, axial: bool
) -> Stacks:
    """`frames` in stacks.

    Args:
        headers: by index among the files asked for.
        frames: those that a model is meant for, as (file, frame).
        axial: axial slices alone.

    Raises:
        NotAnalysed: `outside_intended_use_view` when nothing suitable is left.
    """
    places = [place_of(headers[file], file, frame) for file, frame in frames]
    if axial:
        # Without geometry (a secondary capture) the plane is taken on trust.
        places = [place for place in places if place.plane is None or place.plane.axial >= _AXIAL]
    if not places:
        raise NotAnalysed(Reason.OUTSIDE_VIEW)
    return stacks_of(places)


def stacks_of(places: Sequence[Place]) -> Stacks:
    """`places` in stacks; what has no place among those that have one is left out.

    Another pass between the places of the first is a stack of its own. Frames at equal places are
    another acquisition, or were sent twice: the second of each place goes to a second stack, by
    the sender's numbers, which the first one fills up: so each stack is as long, and is judged
    alike. Without any places, all are one stack, in the order of those numbers.
    """
    placed = [place for place in places if place.position is not None]
    if not placed:
        return Stacks([sorted(places, key=lambda place: place.order)])
    shapes = {place.shape for place in placed}
    lost = sum(place.position is None and place.shape in shapes for place in places)
    stacks = [
        layer for group in _alike(placed) for one in passes_of(group) for layer in _layers(one)
    ]
    return Stacks(sorted(stacks, key=lambda stack: (-len(stack), stack[0].order)), lost)


def _alike(placed: Sequence[Place]) -> list[list[Place]]:
    """Places of one plane, size and spacing together, each measured along the first's normal."""
    groups: list[list[Place]] = []
    for place in sorted(placed, key=lambda place: place.order):
        group = next((one for one in groups if _same_plane(one[0], place)), None)
        if group is None:
            groups.append([place])
        else:
            group.append(replace(place, position=_along(group[0], place)))
    return groups


def _along(first: Place, place: Place) -> float | None:
    if first.plane is None or place.centre is None:
        return None
    return float(first.plane.normal @ place.centre)


def _same_plane(one: Place, other: Place) -> bool:
    if one.plane is None or other.plane is None or one.shape != other.shape:
        return False
    if one.spacing and other.spacing and not np.allclose(one.spacing, other.spacing, rtol=0.02):
        return False
    turned = (one.plane.transposed, one.plane.flipped) == (
        other.plane.transposed,
        other.plane.flipped,
    )
    return (
        turned
        and float(one.plane.normal @ other.plane.normal) >= _SAME_TURN
        and float(one.plane.across @ other.plane.across) >= _SAME_TURN
    )


def _layers(group: Sequence[Place]) -> list[list[Place]]:
    layers: list[list[Place]] = []
    last, depth = -np.inf, 0
    for place in sorted(group, key=lambda place: (place.position or 0.0, place.order)):
        position = place.position or 0.0
        depth = depth + 1 if position - last <= SAME_PLACE_MM else 0
        last = last if depth else position
        if depth == len(layers):
            layers.append([])
        layers[depth].append(place)
    return [layers[0], *(_filled(layers[0], layer) for layer in layers[1:])]


def _filled(first: Sequence[Place], layer: Sequence[Place]) -> list[Place]:
    """`layer`, with the places of `first` where it has none."""
    heights = np.array([place.position or 0.0 for place in first])
    whole = list(first)
    for place in layer:
        whole[int(np.argmin(np.abs(heights - (place.position or 0.0))))] = place
    return whole
