"""Thin slices become slabs of about one thickness, and what was read of a stack is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage.decoding.frames import Read
from triage.decoding.geometry import Vector
from triage.decoding.stacks.slices import Place

#: A distance between neighbours over so many usual ones is a hole: nothing is averaged across it.
HOLE = 1.5
_SAME_PLACE_MM = 0.05
_BESIDE = 0.75  # of a slice: what lies so near to one is of its place
_USUAL_MM = 5.0  # of a slice whose header does not say
_MOST_THICK_MM = 12.0  # of a slice: what claims more is no thickness


@dataclass(frozen=True)
class Slab:
    """Neighbouring places that become one frame.

    Attributes:
        stack: index among the stacks of its series.
        position: of its middle, mm; None where its only place has none.
    """

    places: tuple[Place, ...]
    stack: int
    position: float | None


def slabs_of(stack: Sequence[Place], number: int, slab_mm: float) -> list[Slab]:
    """All places of `stack` in slabs as near to `slab_mm` as whole slices come.

    A slice that is thicker than that stays alone, so does one without a position, and every one
    where `slab_mm` is 0.
    """
    positions = [place.position for place in stack]
    if slab_mm <= 0 or len(stack) < 2 or any(position is None for position in positions):
        return [Slab((place,), number, place.position) for place in stack]
    step = usual_spacing(stack)
    slabs: list[list[Place]] = [[stack[0]]]
    for place in stack[1:]:
        before = _thickness(slabs[-1], step)
        after = _thickness([*slabs[-1], place], step)
        hole = _distance(slabs[-1][-1], place) > HOLE * step
        if hole or (before + after) / 2 >= slab_mm:
            slabs.append([place])
        else:
            slabs[-1].append(place)
    rest = len(slabs) > 1 and _thickness(slabs[-1], step) < slab_mm / 2
    if rest and _distance(slabs[-2][-1], slabs[-1][0]) <= HOLE * step:
        slabs[-2:] = [slabs[-2] + slabs[-1]]
    return [Slab(tuple(slab), number, _middle(slab)) for slab in slabs]


def usual_spacing(stack: Sequence[Place]) -> float:
    """The median distance between neighbours, mm; 0 for a single place."""
    positions = [place.position for place in stack if place.position is not None]
    return float(np.median(np.diff(positions))) if len(positions) > 1 else 0.0


def _distance(one: Place, other: Place) -> float:
    return (other.position or 0.0) - (one.position or 0.0)


def _thickness(slab: Sequence[Place], step: float) -> float:
    """From the lower face of the first slice to the upper face of the last, mm."""
    return _distance(slab[0], slab[-1]) + (slab[0].thickness or step)


def _middle(slab: Sequence[Place]) -> float:
    return float(np.mean([place.position or 0.0 for place in slab]))


def measure_read(
    stacks: Sequence[Sequence[Place]],
    read: Sequence[Place],
    unread: int,
    left_out: Sequence[Place] = (),
    blank: Sequence[Place] = (),
) -> Read:
    """What of the series was read.

    Args:
        stacks: all places that were to be read.
        read: those that were.
        unread: further slices that are here and cannot be.
        left_out: axial images of the series that the model is not meant for: they are missed where
            nothing was read.
        blank: those of `read` that show no body. Above and below it they are air; between two that
            show it they were not read.
    """
    there = _once(place for stack in stacks for place in stack)
    read = _once(read)
    body = _without(read, blank)
    if blank and body:
        read = _without(read, _between(blank, body))
    found = Read(len(read), len(there) + unread)
    main = next((place for place in there if place.plane is not None), None)
    if main is None or main.plane is None or not read:
        return found
    # Along one normal, of the largest stack: stacks of another tilt are measured with it.
    normal = main.plane.normal
    reached, usual = (
        _heights([float(normal @ place.centre) for place in places if place.centre is not None])
        for places in (read, there)
    )
    if not len(reached):
        return found
    step = float(np.median(np.diff(usual))) if len(usual) > 1 else (main.thickness or 0.0)
    # Passes that lie between each other make no finer stack.
    step = max(step, usual_spacing(stacks[0]))
    near_mm = _BESIDE * min(step or _USUAL_MM, main.thickness or _USUAL_MM)
    there_too = found.there + _missed(reached, near_mm, [_along(normal, one) for one in left_out])
    if len(reached) < 2:
        return Read(found.read, there_too, step, step or None)
    thick = _thickness_at(read, normal)
    gap, of = _largest_gap(reached, step, thick)
    shown = [float(normal @ place.centre) for place in body if place.centre is not None]
    extent = max(shown) - min(shown) + step if shown else 0.0
    return Read(found.read, there_too, extent, of, gap, *_against_thickness(reached, thick))


def _along(normal: Vector, place: Place) -> float:
    return np.inf if place.centre is None else float(normal @ place.centre)


def _missed(reached: NDArray[np.float64], near_mm: float, heights: Sequence[float]) -> int:
    """How many places, of images that were left out, are farther than `near_mm` from all read."""
    known = [at for at in heights if np.isfinite(at)]
    return sum(bool(np.abs(reached - at).min() > near_mm) for at in _heights(known))


def _without(places: Sequence[Place], others: Sequence[Place]) -> list[Place]:
    gone = {(place.file, place.frame) for place in others}
    return [place for place in places if (place.file, place.frame) not in gone]


def _between(blank: Sequence[Place], body: Sequence[Place]) -> list[Place]:
    heights = [place.position for place in body if place.position is not None]
    return [
        place
        for place in blank
        if place.position is None or (heights and min(heights) < place.position < max(heights))
    ]


def _once(places: Iterable[Place]) -> list[Place]:
    """Each frame once, whatever stacks it is in."""
    return list({(place.file, place.frame): place for place in places}.values())


def _heights(positions: Sequence[float]) -> NDArray[np.float64]:
    """Ascending, those of one place once."""
    ordered = np.sort(np.asarray(positions, np.float64))
    new = np.diff(ordered, prepend=-np.inf) > _SAME_PLACE_MM
    found: NDArray[np.float64] = ordered[new]
    return found


def _thickness_at(read: Sequence[Place], normal: Vector) -> dict[float, float]:
    """By height rounded to a tenth of a mm, the thickness that is stated there."""
    return {
        round(float(normal @ place.centre), 1): place.thickness
        for place in read
        if place.centre is not None and place.thickness is not None
    }


def _stated(heights: NDArray[np.float64], at: int, thickness: dict[float, float]) -> float | None:
    """The larger thickness of the two slices beside gap `at`; None where it cannot be believed."""
    beside = (thickness.get(round(float(heights[end]), 1), 0.0) for end in (at, at + 1))
    return found if 0.0 < (found := max(beside)) <= _MOST_THICK_MM else None


def _against_thickness(
    heights: NDArray[np.float64], thickness: dict[float, float]
) -> tuple[float | None, float | None]:
    """As `Read` has them: the largest gap in thicknesses, and the largest without any, mm."""
    stated, unstated = list[float](), list[float]()
    for at, gap in enumerate(np.diff(heights)):
        thick = _stated(heights, at, thickness)
        if thick is None:
            unstated.append(float(gap))
        else:
            stated.append(float(gap) / thick)
    return max(stated, default=None), max(unstated, default=None)


def _largest_gap(
    heights: NDArray[np.float64], step: float, thickness: dict[float, float]
) -> tuple[float, float]:
    """The gap that is largest against what is usual there, and what is usual there, mm.

    Many heads are scanned in thin slices at the base and thick ones above: where slices are as
    thick as they lie apart, and a neighbouring gap is as wide, that is usual, and no hole.
    """
    gaps = np.diff(heights)
    usual = np.full(len(gaps), step)
    for at in np.flatnonzero(gaps > HOLE * step):
        beside = [gaps[near] for near in (at - 1, at + 1) if 0 <= near < len(gaps)]
        thick = max(thickness.get(round(float(heights[end]), 1), 0.0) for end in (at, at + 1))
        if thick >= 0.9 * gaps[at] and any(gaps[at] <= HOLE * near for near in beside):
            usual[at] = gaps[at]
    worst = int(np.argmax(gaps / np.maximum(usual, 1e-6)))
    return float(gaps[worst]), float(usual[worst])
