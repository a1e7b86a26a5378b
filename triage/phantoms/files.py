"""Phantoms as DICOM files, for references and benches: chest films and CT slices."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from triage.phantoms.films import chest_film
from triage.phantoms.series import phantom_series

FILM_SOP_CLASS = str(DigitalXRayImageStorageForPresentation)
_FIELD_MM = 256.0  # a head's: drawn heads are then 160 to 220 mm long


def write_phantom(folder: Path, kind: Literal["head_ct", "chest_film"], seed: int) -> list[Path]:
    """Files in `folder` of what `phantom_series` gives as frames for that seed."""
    frames, _ = phantom_series(np.random.default_rng(seed), kind)
    if kind == "head_ct":
        uid = generate_uid(entropy_srcs=[kind, str(seed)])
        planes = [frame.pixels.astype(np.int16) for frame in frames]
        return [
            write_slice(folder, plane, index, uid, compressed=False)[0]
            for index, plane in enumerate(planes)
        ]
    file = folder / "film.dcm"
    file.write_bytes(_film((frames[0].pixels * 4095).round().astype("<u2"), seed))
    return [file]


def film_file(seed: int, side: int = 2048) -> bytes:
    """A DICOM file: a chest phantom of `side`² pixels, 12 of 16 bits, uncompressed."""
    pixels = chest_film(np.random.default_rng(seed), bool(seed % 2), side)
    return _film(pixels.astype("<u2"), seed)


def _film(pixels: NDArray[np.uint16], seed: int) -> bytes:
    dataset = _image(pixels, bits_stored=12)
    dataset.SOPClassUID = FILM_SOP_CLASS
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(seed)])
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PatientAge = "003Y"  # the shipped package is for children alone
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def write_slice(
    folder: Path, hounsfield: NDArray[np.int16], index: int, series: str, *, compressed: bool
) -> tuple[Path, bytes]:
    """One CT slice as a file, as it is or in JPEG 2000; with it its pixel data alone."""
    dataset = _image((hounsfield.astype(np.int32) + 1024).clip(0, 4095).astype("<u2"), 16)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.SeriesInstanceUID, dataset.InstanceNumber = series, index + 1
    dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "CT", 1, -1024
    dataset.BodyPartExamined, dataset.ImageType = "HEAD", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [0, 0, 5 * index]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [round(_FIELD_MM / len(hounsfield), 4)] * 2
    stream = dataset.PixelData
    if compressed:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    file = folder / f"{'j2k' if compressed else 'raw'}{index}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file, stream


def _image(pixels: NDArray[np.uint16], bits_stored: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 16, bits_stored
    dataset.HighBit, dataset.PixelRepresentation = bits_stored - 1, 0
    dataset.PixelData = pixels.tobytes()
    return dataset
