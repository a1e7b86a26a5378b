"""Uncompressed pixels read where they lie: the same values as pydicom gives, or a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from streams.errors import Reason
from triage.decoding.image_header import read_header
from triage.decoding.limits import Limits
from triage.decoding.native import is_native, native
from triage.decoding.stored import stored
from triage.errors import NotAnalysed

MakeCt = Callable[..., FileDataset]


def written(dataset: FileDataset, path: Path, syntax: str) -> Path:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (16, 0), (16, 1)])
def test_each_frame_is_as_pydicom_reads_it(
    tmp_path: Path, make_ct: MakeCt, syntax: str, bits: int, signed: int
) -> None:
    dataset = make_ct(12, 10)
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, signed
    dataset.NumberOfFrames = 3
    noise = np.random.default_rng(1).integers(0, 256, 3 * 12 * 10 * bits // 8, dtype=np.uint8)
    dataset.PixelData = noise.tobytes()
    header = read_header(written(dataset, tmp_path / "a", syntax), Limits())
    assert is_native(header, syntax)
    ours = list(native(header, [0, 2], syntax))
    theirs = list(iter_pixels(header.path, indices=[0, 2], raw=True))
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, JPEG2000Lossless])
def test_what_lies_there_in_another_way_is_left_to_pydicom(
    tmp_path: Path, make_ct: MakeCt, syntax: str
) -> None:
    header = read_header(written(make_ct(), tmp_path / "a", ExplicitVRLittleEndian), Limits())
    assert not is_native(header, syntax)


def test_a_file_that_was_cut_is_undecodable(tmp_path: Path, make_ct: MakeCt) -> None:
    path = written(make_ct(), tmp_path / "a", ExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[:-1])
    header = read_header(path, Limits())
    with pytest.raises(NotAnalysed) as refused:
        list(stored(header, [0]))
    assert refused.value.reason is Reason.UNDECODABLE_PIXELS
