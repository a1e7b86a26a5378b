"""Datasets to frames, as the tests of this room need them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from triage.decoding.frames import Frame
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series


def read_frames(path: Path) -> list[Frame]:
    """All frames of one file, in order along the stack."""
    return read_series(Request((str(path),)), Limits()).frames


def frames(dataset: FileDataset, folder: Path) -> list[Frame]:
    path = folder / "x.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return read_frames(path)


def only(dataset: FileDataset, folder: Path) -> NDArray[np.float32]:
    return frames(dataset, folder)[0].pixels


def stored(dataset: FileDataset) -> NDArray[np.int16]:
    return np.frombuffer(dataset.PixelData, np.int16).reshape(dataset.Rows, dataset.Columns)


def film(dataset: FileDataset) -> FileDataset:
    dataset.Modality = "DX"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation
    )
    dataset.PixelRepresentation = 0
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.WindowCenter, dataset.WindowWidth = 1024, 2048
    return dataset


def corpus(corpora_dir: Path) -> list[dict[str, str]]:
    with (corpora_dir / "dicom" / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


#: pydicom reads these only when told to believe anything (no meta), or through a decoder under the
#: GPL.
NOT_READ = re.compile(r"JLS[LN]_RGB_ILV|SC_rgb_jpeg\.dcm$")
