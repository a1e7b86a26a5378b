"""*Not flagged* needs a head that is there as a whole: none that the field of view cuts, no neck
with the half of one, no cylinder that has a ring of bone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.errors import Reason
from tests.triage.decoding.heads import MakeCt, slice_of
from tests.triage.judging.whole_heads import read
from triage.phantoms.heads import head_ct
from triage.phantoms.shapes import grid

pytestmark = pytest.mark.slow

SIDE_MM = 1.8
HEAD = head_ct(np.random.default_rng(0), None, 28, 128)  # lies on no table
XS, YS = grid(128)


def said(make_ct: MakeCt, folder: Path, planes: NDArray[np.int16]) -> Reason | None:
    made = []
    for number, plane in enumerate(planes):
        stored = np.ascontiguousarray(plane + np.int16(1024))
        dataset = slice_of(make_ct, stored, 5.0 * number, number, side_mm=SIDE_MM)
        dataset.BodyPartExamined, dataset.SliceThickness = "HEAD", 5.0
        made.append(dataset)
    return read(made, folder)[1]


def box(planes: NDArray[np.int16]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the head."""
    rows, columns = np.nonzero(planes[len(planes) // 2] > 200)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_a_head_in_a_field_of_view_that_just_holds_it_is_whole(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    top, bottom, left, right = box(HEAD)
    assert said(make_ct, tmp_path, HEAD) is None
    # The skin is cut at each side, and a little of the bone.
    assert said(make_ct, tmp_path, HEAD[:, top + 1 : bottom, left + 1 : right]) is None


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5])
@pytest.mark.parametrize("side", ["front", "back", "left", "right"])
def test_a_head_that_is_partly_outside_the_field_of_view_is_never_not_flagged(
    make_ct: MakeCt, tmp_path: Path, side: str, share: float
) -> None:
    top, bottom, left, right = box(HEAD)
    down, across = round(share * (bottom - top)), round(share * (right - left))
    seen = {
        "front": HEAD[:, top + down :],
        "back": HEAD[:, : bottom - down],
        "left": HEAD[:, :, left + across :],
        "right": HEAD[:, :, : right - across],
    }[side]
    assert said(make_ct, tmp_path, seen) is Reason.INCOMPLETE


@pytest.mark.parametrize("slices", [slice(0, 28), slice(10, 15)], ids=["all", "five"])
@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("side", ["front", "back", "left"])
def test_a_head_whose_slices_came_in_part_and_were_filled_up_is_never_not_flagged(
    make_ct: MakeCt, tmp_path: Path, side: str, share: float, slices: slice
) -> None:
    top, bottom, left, right = box(HEAD)
    down, across = round(share * (bottom - top)), round(share * (right - left))
    filled = HEAD.copy()
    rows, columns = {
        "front": (slice(0, top + down), slice(None)),
        "back": (slice(bottom - down, None), slice(None)),
        "left": (slice(None), slice(0, left + across)),
    }[side]
    filled[slices, rows, columns] = -1024
    assert said(make_ct, tmp_path, filled) is Reason.INCOMPLETE


@pytest.mark.parametrize("of_head", [12, 16, 20])
def test_a_cervical_spine_with_half_a_head_is_never_not_flagged(
    make_ct: MakeCt, tmp_path: Path, of_head: int
) -> None:
    neck = np.where(np.hypot(XS / 0.45, YS / 0.5) < 1, 45, -1000)
    neck = np.where(np.hypot(XS, YS - 0.1) < 0.12, 500, neck).astype(np.int16)
    below = np.repeat(neck[None], 16, axis=0)
    assert said(make_ct, tmp_path, np.concatenate([below, HEAD])) is None
    assert said(make_ct, tmp_path, np.concatenate([below, HEAD[:of_head]])) is Reason.INCOMPLETE


def test_a_physicist_s_cylinder_with_a_ring_of_bone_is_never_not_flagged(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    away = np.hypot(XS, YS)
    water = np.where(away < 0.7, np.where(away > 0.6, 990, 40), -1000).astype(np.int16)
    cylinder = np.repeat(water[None], 28, axis=0)
    assert said(make_ct, tmp_path, cylinder) is Reason.INCOMPLETE


@pytest.mark.parametrize("step", [2, 3], ids=["twins", "mother and newborn"])
def test_two_heads_in_one_image_are_never_not_flagged(
    make_ct: MakeCt, tmp_path: Path, step: int
) -> None:
    large, small = HEAD[:, ::2, ::2], HEAD[:, ::step, ::step]
    beside = np.full_like(large, -1000)
    beside[:, : small.shape[1], : small.shape[2]] = small
    assert said(make_ct, tmp_path, np.concatenate([large, beside], axis=2)) is Reason.INCOMPLETE
