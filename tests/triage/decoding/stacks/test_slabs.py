"""Thin slices become slabs, every slice in one of them; and what was read is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triage.decoding.heads import MakeCt, head, measured, read, slice_of
from triage.decoding.frames import Read
from triage.decoding.stacks.slabs import Slab, slabs_of
from triage.decoding.stacks.slices import Place


def stack_at(positions: list[float], thickness: float | None = None) -> list[Place]:
    return [
        Place(number, 0, (8, 8), None, None, at, None, thickness, (0.0, float(number)))
        for number, at in enumerate(positions)
    ]


def counts(slabs: list[Slab]) -> list[int]:
    return [len(slab.places) for slab in slabs]


@pytest.mark.parametrize(
    ("spacing", "each"),
    [(0.5, 10), (0.625, 8), (1.0, 5), (1.25, 4), (2.0, 2), (2.5, 2), (3.0, 2), (4.0, 1), (5.0, 1)],
)
def test_slabs_come_as_near_to_five_millimetres_as_whole_slices_do(
    spacing: float, each: int
) -> None:
    slabs = slabs_of(stack_at([spacing * at for at in range(4 * each)]), 0, 5.0)
    assert counts(slabs) == [each] * 4


@given(
    st.lists(st.sampled_from((0.5, 0.6, 1.0, 2.5, 5.0, 7.5, 40.0)), max_size=80),
    st.sampled_from((None, 0.6, 2.5, 5.0)),
    st.sampled_from((0.0, 5.0)),
)
def test_each_slice_is_in_one_slab_whatever_the_spacing(
    steps: list[float], thickness: float | None, slab_mm: float
) -> None:
    stack = stack_at([0.0, *np.cumsum(steps).tolist()], thickness)
    slabs = slabs_of(stack, 3, slab_mm)
    assert [place for slab in slabs for place in slab.places] == stack
    assert {slab.stack for slab in slabs} == {3}
    if slab_mm == 0:
        assert counts(slabs) == [1] * len(stack)


def test_a_few_slices_left_over_join_the_last_slab() -> None:
    assert counts(slabs_of(stack_at([float(at) for at in range(17)]), 0, 5.0)) == [5, 5, 7]
    assert counts(slabs_of(stack_at([float(at) for at in range(18)]), 0, 5.0)) == [5, 5, 5, 3]


def test_thick_slices_that_overlap_stay_as_they_are() -> None:
    assert counts(slabs_of(stack_at([2.5 * at for at in range(6)], 5.0), 0, 5.0)) == [1] * 6


def test_nothing_is_averaged_across_a_hole() -> None:
    positions = [1.0 * at for at in (0, 1, 2, 9, 10, 11, 12, 13)]
    assert counts(slabs_of(stack_at(positions), 0, 5.0)) == [3, 5]


def test_a_thin_stack_is_the_thick_one(make_ct: MakeCt, tmp_path: Path) -> None:
    volume = head(40)
    thin = read(
        [slice_of(make_ct, image, 0.625 * z, z) for z, image in enumerate(volume)], tmp_path
    )
    assert len(thin.frames) == 5
    for number, frame in enumerate(thin.frames):
        mean = volume[8 * number : 8 * number + 8].mean(0) - 1024
        assert np.allclose(frame.pixels, mean, atol=1e-3)
        assert frame.position_mm == pytest.approx(0.625 * (8 * number + 3.5))
    assert measured(thin) == Read(40, 40, pytest.approx(25.0), 0.625, 0.625, unstated_gap_mm=0.625)


def test_a_bleed_on_one_thin_slice_is_seen_in_its_slab(make_ct: MakeCt, tmp_path: Path) -> None:
    volume = head(40)
    volume[17, 10:20, 10:20] += 800
    thin = read(
        [slice_of(make_ct, image, 0.625 * z, z) for z, image in enumerate(volume)], tmp_path
    )
    plain = head(40)[16:24].mean(0) - 1024
    assert np.allclose((thin.frames[2].pixels - plain)[10:20, 10:20], 100, atol=0.1)


def test_slices_of_a_tilted_gantry_are_shifted_before_they_are_averaged(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    # The table moves straight, the picture is cut at an angle: each slice lies lower by 1 pixel.
    image = head(1)[0]
    down = np.array([0, np.cos(np.deg2rad(26.565)), -np.sin(np.deg2rad(26.565))])
    datasets = []
    for z in range(4):
        dataset = slice_of(make_ct, np.roll(image, z, 0), 0.0, z, side_mm=0.5)
        dataset.ImageOrientationPatient = [1, 0, 0, *np.round(down, 5)]
        dataset.ImagePositionPatient = [0, 0, 1.118 * z]
        datasets.append(dataset)
    (frame,) = read(datasets, tmp_path).frames
    assert np.abs(frame.pixels[8:-8] - (image[8:-8].astype(np.float32) - 1024)).max() < 1e-3


def test_a_hole_in_the_stack_is_told(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(head(24))]
    decoded = read(datasets[:6] + datasets[22:], tmp_path)
    assert measured(decoded) == Read(8, 8, 120.0, 5.0, 85.0, unstated_gap_mm=85.0)


def test_thin_slices_at_the_base_and_thick_ones_above_are_no_hole(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    heights = [2.5 * z for z in range(16)] + [41.25 + 5.0 * z for z in range(12)]
    datasets = []
    for number, (height, image) in enumerate(zip(heights, head(28), strict=True)):
        dataset = slice_of(make_ct, image, height, number)
        dataset.SliceThickness = 2.5 if number < 16 else 5.0
        datasets.append(dataset)
    whole = read(datasets, tmp_path)
    assert whole.read.largest_gap_mm is not None
    assert whole.read.spacing_mm is not None
    assert whole.read.largest_gap_mm <= 1.5 * whole.read.spacing_mm
    holed = read(datasets[:20] + datasets[21:], tmp_path).read
    assert (holed.largest_gap_mm, holed.spacing_mm) == (10.0, 2.5)


def test_a_single_slice_has_no_more_than_its_thickness(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = slice_of(make_ct, head(1)[0], 30.0, 1)
    dataset.SliceThickness = 5
    assert measured(read([dataset], tmp_path)) == Read(1, 1, 5.0, 5.0)
