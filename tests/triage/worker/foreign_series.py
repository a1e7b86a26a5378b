"""Series that are what they say, and series that only say so, as DICOM files; and what a package
says of them, through jail and judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset

from streams.errors import Reason
from tests.triage.decoding.heads import slice_of, written
from triage.decoding.frames import Frame
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.inference.opening import Opened
from triage.packages.load import Package
from triage.worker.loaded_model import Verdict
from triage.worker.loading import loaded_model
from triage.worker.series import images_of, verdict_of

MakeCt = Callable[..., FileDataset]
Planes = Sequence[NDArray[np.float32]]


def as_slices(make_ct: MakeCt, hounsfield: Planes, lies: str = "supine") -> list[FileDataset]:
    """Axial CT slices 5 mm apart that say they are of a head."""
    made = []
    for number, plane in enumerate(hounsfield):
        stored = np.clip(np.round(plane) + 1024, 0, 4095).astype(np.int16)
        dataset = slice_of(make_ct, stored, 5.0 * number, number, lies=lies, side_mm=0.9)
        dataset.BodyPartExamined, dataset.SliceThickness = "HEAD", 5.0
        made.append(dataset)
    return made


def as_film(make_ct: MakeCt, picture: NDArray[np.float32], number: int = 1) -> FileDataset:
    """A film, 0 to 1, that says it is of a child's chest."""
    stored = np.round(np.clip(picture, 0, 1) * 4095).astype(np.int16)
    dataset = make_ct(*stored.shape, number=number)
    for name in ("RescaleSlope", "RescaleIntercept", "ImagePositionPatient"):
        delattr(dataset, name)
    del dataset.ImageOrientationPatient, dataset.WindowCenter, dataset.WindowWidth
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "AP"
    dataset.PatientAge, dataset.ImageType = "003Y", ["ORIGINAL", "PRIMARY"]
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dataset.PixelData = stored.astype(np.uint16).tobytes()
    return dataset


def as_said(make_ct: MakeCt, package: Package, frames: Sequence[Frame]) -> list[FileDataset]:
    """`frames` as files of what the package is meant for, in its unit."""
    if package.input.kind == "head_ct":
        return as_slices(make_ct, [in_hounsfield(frame) for frame in frames])
    return [as_film(make_ct, windowed(frame)) for frame in frames[:1]]


def in_hounsfield(frame: Frame) -> NDArray[np.float32]:
    if frame.unit == "hu":
        return frame.pixels
    return frame.pixels * np.float32(1400) - np.float32(1000)


def windowed(frame: Frame) -> NDArray[np.float32]:
    if frame.unit == "display":
        return frame.pixels
    return np.clip((frame.pixels + 160) / 400, 0, 1).astype(np.float32)


def brain_window(file: Path) -> NDArray[np.float32]:
    """A slice that was shown from -20 to 100 HU, in HU again: white is bone, black is air."""
    grey = np.asarray(Image.open(file).convert("L"), np.float32)
    inside = grey * np.float32(120 / 255) - 20
    # JPEG leaves white a little less than white.
    return np.where(grey >= 250, 900, np.where(grey <= 5, -1000, inside)).astype(np.float32)


def picture(file: Path) -> NDArray[np.float32]:
    return np.asarray(Image.open(file).convert("L"), np.float32) / 255


def said(
    package: Package, network: Opened, series: Sequence[Sequence[FileDataset]]
) -> Iterator[Verdict]:
    """The verdict on each series, as the worker comes to it."""
    model = loaded_model(package, network)
    pool = DecoderPool(1)
    try:
        for datasets in series:
            with TemporaryDirectory(prefix="vigie-foreign-") as folder:
                paths = written(datasets, Path(folder))
                found = pool.decode(Request(paths, model.wanted))
            seen = images_of(model, found)
            yield replace(verdict_of(model, model.network(seen.images), seen), read=found.read)
    finally:
        pool.close()


def foreign_share(verdicts: Iterator[Verdict]) -> float:
    """Of the series, those of which it is said that they are unlike what was learned from."""
    return float(np.mean([one.reason is Reason.OUT_OF_DISTRIBUTION for one in verdicts]))
