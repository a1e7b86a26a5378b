"""Frames of one enhanced image are told apart by what each is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedCTImageStorage

from tests.triage.decoding.heads import MakeCt, head, slice_of, written
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series
from triage.errors import NotAnalysed
from triage.packages.load import load_package
from triage.settings import shipped_models

HEAD = load_package(shipped_models() / "head-ct-ich").wanted


def enhanced(make_ct: MakeCt, slices: int = 8) -> FileDataset:
    """One file of frames 5 mm apart."""
    volume = head(slices)
    made = slice_of(make_ct, volume[0], 0.0, 1)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.BodyPartExamined, made.NumberOfFrames = "HEAD", slices
    made.PixelData = np.ascontiguousarray(volume).tobytes()
    groups = []
    for z in range(slices):
        group = Dataset()
        group.PlanePositionSequence, group.CTImageFrameTypeSequence = [Dataset()], [Dataset()]
        group.CTReconstructionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 5.0 * z]
        group.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        group.CTReconstructionSequence[0].ConvolutionKernel = "SOFT"
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    del made.ImagePositionPatient
    return made


def counted(dataset: FileDataset, folder: Path) -> tuple[int, int, bool]:
    read = read_series(Request(written([dataset], folder), HEAD), Limits()).read
    return read.read, read.there, read.primary


def test_frames_of_the_plain_kind_are_read(make_ct: MakeCt, tmp_path: Path) -> None:
    assert counted(enhanced(make_ct), tmp_path) == (8, 8, True)


def test_frames_that_were_reckoned_from_others_are_not_primary(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    dataset = enhanced(make_ct)
    groups = dataset.PerFrameFunctionalGroupsSequence
    for group in groups[5:]:
        group.CTImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    assert counted(dataset, tmp_path) == (5, 8, True)
    for group in groups:
        group.CTImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    with pytest.raises(NotAnalysed, match="outside_intended_use_image"):
        counted(dataset, tmp_path)


def test_a_bone_kernel_from_the_second_frame_on_is_seen(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = enhanced(make_ct)
    for group in dataset.PerFrameFunctionalGroupsSequence[3:]:
        group.CTReconstructionSequence[0].ConvolutionKernel = "BONE"
    assert counted(dataset, tmp_path) == (3, 8, True)
