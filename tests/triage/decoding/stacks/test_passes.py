"""Two passes over one head are two stacks: a bleed in one is not thinned out by the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from tests.triage.decoding.heads import MakeCt, head, read, slice_of
from triage.decoding.frames import Decoded


def one_pass(
    make_ct: MakeCt, count: int = 40, spacing: float = 1.0, away: float = 0.0, brighter: int = 0
) -> list[FileDataset]:
    return [
        slice_of(make_ct, image + np.int16(brighter), spacing * z + away, z + 1)
        for z, image in enumerate(head(count))
    ]


def stacks(decoded: Decoded) -> list[list[bytes]]:
    count = max(frame.stack for frame in decoded.frames) + 1
    return [
        [frame.pixels.tobytes() for frame in decoded.frames if frame.stack == number]
        for number in range(count)
    ]


def _by_acquisition(datasets: list[FileDataset]) -> None:
    for at, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = 1 + at // 40


def _by_instance(datasets: list[FileDataset]) -> None:
    for at, dataset in enumerate(datasets):
        dataset.InstanceNumber = at + 1


def _numbers_begin_anew(_datasets: list[FileDataset]) -> None:
    """As they were made."""


@pytest.mark.parametrize("told", [_by_acquisition, _by_instance, _numbers_begin_anew])
@pytest.mark.parametrize("away", [0.1, 0.5])
def test_two_passes_at_other_places_are_never_averaged(
    make_ct: MakeCt, tmp_path: Path, told: Callable[[list[FileDataset]], None], away: float
) -> None:
    first, second = one_pass(make_ct), one_pass(make_ct, away=away, brighter=50)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    alone = [*stacks(read(first, tmp_path / "first")), *stacks(read(second, tmp_path / "second"))]
    told(both := [*first, *second])
    decoded = read(both, tmp_path)
    assert stacks(decoded) == alone
    assert decoded.read.read == 80
    assert decoded.read.spacing_mm == pytest.approx(1.0)
    assert decoded.read.largest_gap_mm is not None
    assert decoded.read.largest_gap_mm <= 1.0


def test_base_and_vertex_one_after_the_other_are_one_stack(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = one_pass(make_ct, 20)
    for at, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = 1 + at // 10
    assert len(stacks(read(datasets, tmp_path))) == 1


def test_an_acquisition_for_each_slice_is_one_stack(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = one_pass(make_ct, 20)
    for at, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = (7 * at) % 20
    assert len(stacks(read(datasets, tmp_path))) == 1


def test_slices_without_numbers_are_one_stack(make_ct: MakeCt, tmp_path: Path) -> None:
    datasets = one_pass(make_ct, 7)
    for dataset in datasets:
        del dataset.InstanceNumber
    order = np.random.default_rng(3).permutation(7)
    assert len(stacks(read([datasets[at] for at in order], tmp_path))) == 1
