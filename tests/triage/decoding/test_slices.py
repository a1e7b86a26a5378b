"""Which slices are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from triage.decoding.image_header import ImageHeader
from triage.decoding.slices import choose, is_bone_kernel, position_mm

MakeCt = Callable[..., FileDataset]


def header(dataset: FileDataset) -> ImageHeader:
    return ImageHeader(Path("x"), dataset, dataset.Rows, dataset.Columns, 1, 1, 16, "MONOCHROME2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.permutations(range(40)), st.integers(1, 24))
def test_any_order_of_files_gives_the_same_evenly_spaced_stack(
    make_ct: MakeCt, order: list[int], max_frames: int
) -> None:
    headers = [header(make_ct(8, 8, z=2.5 * z, number=100 - z)) for z in order]
    places = choose(headers, max_frames=max_frames, axial=True)
    heights = [place.position for place in places]
    assert heights == [2.5 * z for z in np.linspace(0, 39, max_frames).round()]


def test_a_tilted_gantry_is_sorted_along_its_normal(make_ct: MakeCt) -> None:
    tilt = np.deg2rad(20)
    headers = []
    for step in (2, 0, 1):
        dataset = make_ct(8, 8)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))]
        dataset.ImagePositionPatient = [0, 0, step * 5.0]
        headers.append(header(dataset))
    assert [place.file for place in choose(headers, max_frames=9, axial=True)] == [1, 2, 0]


def test_without_positions_the_instance_number_orders(make_ct: MakeCt) -> None:
    headers = []
    for number in (3, 1, 2):
        dataset = make_ct(8, 8, number=number)
        del dataset.ImagePositionPatient
        headers.append(header(dataset))
    assert [place.file for place in choose(headers, max_frames=9, axial=True)] == [1, 2, 0]


@pytest.mark.parametrize("value", [[1, 0, 0, 1, 0, 0], [0] * 6, [float("nan")] * 6, [1, 0, 0]])
def test_an_orientation_that_is_none_gives_no_position(make_ct: MakeCt, value: list[float]) -> None:
    dataset = make_ct(8, 8)
    dataset.ImageOrientationPatient = value
    assert position_mm(header(dataset), 0) is None


@pytest.mark.parametrize(
    ("kernel", "bone"),
    [
        ("H60s", True),
        ("Hr68h", True),
        ("BONEPLUS", True),
        ("H30s", False),
        ("STANDARD", False),
        ("J40s", False),
        ("UB", False),
    ],
)
def test_bone_kernels(make_ct: MakeCt, kernel: str, bone: bool) -> None:
    dataset = make_ct(8, 8)
    dataset.ConvolutionKernel = kernel
    assert is_bone_kernel(header(dataset)) is bone
