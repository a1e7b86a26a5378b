"""What is broken in a file takes away no more than itself, and no more time than a sound one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, JPEGLSTransferSyntaxes

from tests.triage.decoding.heads import SIDE_MM, MakeCt, head, read, slice_of
from triage.decoding.image_header import read_header
from triage.decoding.limits import Limits
from triage.decoding.pixel_element import cut_frames
from triage.errors import NotAnalysed


def enhanced(make_ct: MakeCt, syntax: UID, broken: int | None, slices: int = 8) -> FileDataset:
    """One file of compressed frames 5 mm apart; of `broken` the second half is missing."""
    volume = head(slices)
    streams = []
    for z, image in enumerate(volume):
        one = slice_of(make_ct, image, 5.0 * z, z)
        one.compress(syntax, generate_instance_uid=False)
        (stream,) = generate_frames(one.PixelData, number_of_frames=1)
        streams.append(stream[: len(stream) // 4 * 2] if z == broken else stream)
    made = slice_of(make_ct, volume[0], 0.0, 1)
    made.file_meta.TransferSyntaxUID = syntax
    made.NumberOfFrames = slices
    made.PixelData = encapsulate(streams)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.PerFrameFunctionalGroupsSequence = groups = []
    for z in range(slices):
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [
            *made.ImagePositionPatient[:2],
            5 * z,
        ]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.PixelSpacing = [SIDE_MM, SIDE_MM]
    del made.ImagePositionPatient
    return made


def test_one_broken_frame_leaves_the_others(make_ct: MakeCt, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = read([enhanced(make_ct, JPEGLSLossless, None)], tmp_path / "whole")
    broken = read([enhanced(make_ct, JPEGLSLossless, 3)], tmp_path)
    assert len(whole.frames) == 8
    assert (broken.read.read, broken.read.there) == (7, 8)
    rest = [*whole.frames[:3], *whole.frames[4:]]
    for one, other in zip(broken.frames, rest, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_a_broken_jpeg_2000_frame_leaves_the_others(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = enhanced(make_ct, JPEG2000Lossless, None)
    streams = list(generate_frames(dataset.PixelData, number_of_frames=8))
    streams[3] = streams[3][:8] + bytes(len(streams[3]) - 8)
    dataset.PixelData = encapsulate(streams)
    broken = read([dataset], tmp_path)
    assert (broken.read.read, broken.read.there) == (7, 8)


def test_cut_jpeg_ls_slices_are_told_from_whole_ones_before_they_are_decoded(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    # The decoder reads on behind the end of such a stream, for seconds each.
    datasets = []
    for z, image in enumerate(head(8)):
        one = slice_of(make_ct, image, 5.0 * z, z)
        one.compress(JPEGLSLossless, generate_instance_uid=False)
        if z in (2, 5):
            (stream,) = generate_frames(one.PixelData, number_of_frames=1)
            one.PixelData = encapsulate([stream[: len(stream) // 4 * 2]])
        datasets.append(one)
    found = read(datasets, tmp_path)
    assert (found.read.read, found.read.there) == (6, 8)


@pytest.mark.needs("corpora")
@pytest.mark.filterwarnings("ignore")
def test_no_real_jpeg_ls_stream_is_taken_for_a_cut_one(corpora_dir: Path) -> None:
    seen = 0
    for path in sorted((corpora_dir / "dicom").glob("*.dcm")):
        try:
            header = read_header(path, Limits())
        except NotAnalysed:
            continue
        if header.dataset.file_meta.TransferSyntaxUID in JPEGLSTransferSyntaxes:
            assert cut_frames(header) == set(), path.name
            seen += 1
    assert seen >= 20
