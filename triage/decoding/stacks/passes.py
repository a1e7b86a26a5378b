"""Passes over the same stretch of a patient: slices of two are never averaged into one slab."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from triage.decoding.stacks.slices import Place

SAME_PLACE_MM = 0.05
_LEAST = 3  # slices of a pass that lie between those of another
_MOST_RUNS = 8  # more turns than these are no order of acquisition


def passes_of(group: Sequence[Place]) -> list[list[Place]]:
    """`group`, places of one plane, as one list for each pass.

    Not each acquisition is one: a scanner that moves its table counts one for each slice. It is,
    and so are a sender's numbers that begin anew, where they lie between slices of an earlier one.
    Base and vertex, scanned one after the other, are one pass, and so is what repeats the places.
    """
    by_acquisition: dict[float, list[Place]] = defaultdict(list)
    for place in sorted(group, key=lambda place: place.order):
        by_acquisition[place.number[0]].append(place)
    passes: list[list[Place]] = []
    for _, places in sorted(by_acquisition.items()):
        for run in _runs(places):
            at = next((one for one in passes if not _between(run, one)), None)
            if at is None:
                passes.append(list(run))
            else:
                at += run
    return passes


def _runs(places: Sequence[Place]) -> list[list[Place]]:
    """`places`, by the sender's numbers, wherever these begin anew or turn back along the patient.

    Without numbers nothing is known of any order.
    """
    counted: dict[float, int] = defaultdict(int)
    rounds: dict[int, list[Place]] = defaultdict(list)
    for place in places:
        # Frames of one file have its number.
        number = place.number[1] if place.frame == 0 else -float(place.frame)
        rounds[counted[number]].append(place)
        counted[number] += 1
    if len(counted) == 1:
        return [list(places)]
    return [run for _, ours in sorted(rounds.items()) for run in _turns(ours)]


def _turns(places: list[Place]) -> list[list[Place]]:
    ways = np.diff([place.position or 0.0 for place in places])
    main = np.sign(np.median(ways)) if len(ways) else 0.0
    turns = np.flatnonzero(ways * main < -SAME_PLACE_MM) + 1
    if main == 0.0 or len(turns) >= _MOST_RUNS:
        return [places]
    edges = [0, *turns.tolist(), len(places)]
    return [places[start:end] for start, end in pairwise(edges)]


def _between(run: Sequence[Place], other: Sequence[Place]) -> bool:
    """Whether some of `run` lie between those of `other`, at places that it has not."""
    mine, theirs = (
        np.array([place.position or 0.0 for place in places]) for places in (run, other)
    )
    inside = mine[(mine > theirs.min()) & (mine < theirs.max())]
    fresh = [at for at in inside if np.abs(theirs - at).min() > SAME_PLACE_MM]
    return len(fresh) >= _LEAST
