"""Images of our own for the first shop's tests: a small CT slice, uncompressed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def _make_ct(rows: int = 64, columns: int = 64, *, z: float = 0.0, number: int = 1) -> FileDataset:
    """A CT slice of noise from 0 to 2,047 stored, signed 16 bits, at `z` mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [0.0, 0.0, z]
    dataset.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 1, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.WindowCenter, dataset.WindowWidth = 40, 80
    noise = np.random.default_rng(number).integers(0, 2048, (rows, columns), dtype=np.int16)
    dataset.PixelData = noise.tobytes()
    return dataset


@pytest.fixture
def ct_file() -> FileDataset:
    return _make_ct()


@pytest.fixture(scope="session")
def make_ct() -> Callable[..., FileDataset]:
    """Makes slices: rows, columns, z (mm), number."""
    return _make_ct
