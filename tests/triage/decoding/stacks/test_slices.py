"""Which slices are read, and in which stacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from tests.triage.decoding.heads import MakeCt, head, read, slice_of
from triage.decoding.image_header import ImageHeader
from triage.decoding.stacks.slices import Stacks, choose


def header(dataset: FileDataset) -> ImageHeader:
    return ImageHeader(
        Path("x"), dataset, dataset.Rows, dataset.Columns, 1, 1, 16, 16, "MONOCHROME2"
    )


def chosen(datasets: Sequence[FileDataset]) -> Stacks:
    headers = dict(enumerate(map(header, datasets)))
    return choose(headers, [(file, 0) for file in headers], axial=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.permutations(range(40)))
def test_any_order_of_files_gives_the_same_whole_stack(make_ct: MakeCt, order: list[int]) -> None:
    found = chosen([make_ct(8, 8, z=2.5 * z, number=100 - z) for z in order])
    (stack,) = found.stacks
    assert [place.position for place in stack] == [2.5 * z for z in range(40)]
    assert [order[place.file] for place in stack] == list(range(40))


def test_a_tilted_gantry_is_sorted_along_its_normal(make_ct: MakeCt) -> None:
    tilt = np.deg2rad(20)
    datasets = []
    for step in (2, 0, 1):
        dataset = make_ct(8, 8)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))]
        dataset.ImagePositionPatient = [0, 0, step * 5.0]
        datasets.append(dataset)
    (stack,) = chosen(datasets).stacks
    assert [place.file for place in stack] == [1, 2, 0]


def test_without_any_position_the_instance_number_orders(make_ct: MakeCt) -> None:
    datasets = []
    for number in (3, 1, 2):
        dataset = make_ct(8, 8, number=number)
        del dataset.ImagePositionPatient
        datasets.append(dataset)
    found = chosen(datasets)
    assert [place.file for place in found.stacks[0]] == [1, 2, 0]
    assert found.unplaced == 0


def test_a_slice_that_lost_its_position_is_left_out_by_identity(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    volume = head(6)
    datasets = [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(volume)]
    del datasets[3].ImagePositionPatient
    decoded = read(datasets, tmp_path)
    assert [frame.file for frame in decoded.frames] == [0, 1, 2, 4, 5]
    assert (decoded.read.read, decoded.read.there) == (5, 6)
    assert decoded.read.largest_gap_mm == 10.0


def test_a_screenshot_of_another_size_is_no_slice(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(head(6))]
    shot = make_ct(64, 64, number=3)
    del shot.ImagePositionPatient, shot.ImageOrientationPatient
    decoded = read([*datasets, shot], tmp_path)
    assert (decoded.read.read, decoded.read.there) == (6, 6)


def test_a_second_acquisition_at_the_same_places_is_a_stack_of_its_own(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    volume = head(6)
    datasets = []
    for acquisition in (2, 1):
        for z, image in enumerate(volume):
            dataset = slice_of(make_ct, image + acquisition, 5.0 * z, z)
            dataset.AcquisitionNumber = acquisition
            datasets.append(dataset)
    decoded = read(datasets, tmp_path)
    assert [frame.stack for frame in decoded.frames] == [0] * 6 + [1] * 6
    # The first acquisition first, whatever the files are called.
    assert [frame.file for frame in decoded.frames] == [*range(6, 12), *range(6)]
    assert (decoded.read.read, decoded.read.there) == (12, 12)
    assert decoded.read.largest_gap_mm == decoded.read.spacing_mm == 5.0


def test_a_slice_sent_twice_makes_a_second_stack_that_is_as_long_as_the_first(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    datasets = [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(head(6))]
    decoded = read([*datasets, datasets[2]], tmp_path)
    assert [frame.stack for frame in decoded.frames] == [0] * 6 + [1] * 6
    assert [frame.file for frame in decoded.frames] == [*range(6), 0, 1, 6, 3, 4, 5]
    assert (decoded.read.read, decoded.read.there) == (7, 7)
    for one, other in zip(decoded.frames[:6], decoded.frames[6:], strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_a_base_of_another_tilt_is_read_too(make_ct: MakeCt, tmp_path: Path) -> None:
    volume = head(8)
    datasets = [slice_of(make_ct, image, 5.0 * z, z) for z, image in enumerate(volume)]
    for dataset in datasets[:3]:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.97, -0.243]
    decoded = read(datasets, tmp_path)
    assert [frame.stack for frame in decoded.frames] == [0] * 5 + [1] * 3
    assert decoded.read.read == decoded.read.there == 8
