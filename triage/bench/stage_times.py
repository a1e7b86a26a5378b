"""One chest film's way through the first shop in its parts, each alone: what ``vigie bench
image-to-rank`` adds up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from streams.events import SeriesReceived
from triage.decoding.child import Request
from triage.decoding.pool import Jail
from triage.packages.loaded import load_residents
from triage.phantoms.images import chest_film
from triage.settings import TriageSettings
from triage.worker.series import Resident

SOP_CLASS = str(DigitalXRayImageStorageForPresentation)
_SIDE = 2048


@dataclass(frozen=True)
class Parts:
    """Seconds that each step takes when nothing else runs."""

    decode: float
    prepare: float
    forward: float

    @property
    def total(self) -> float:
        """Of all three, in seconds."""
        return self.decode + self.prepare + self.forward


def film(seed: int, side: int = _SIDE) -> bytes:
    """A DICOM file: a phantom of `side`² pixels, 12 of 16 bits, uncompressed."""
    rng = np.random.default_rng(seed)
    pixels = chest_film(rng, bool(seed % 2), side)
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = SOP_CLASS, generate_uid(entropy_srcs=[str(seed)])
    one.Modality, one.BodyPartExamined, one.ViewPosition = "DX", "CHEST", "PA"
    one.Rows, one.Columns = pixels.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.WindowCenter, one.WindowWidth = 2048, 4096
    one.PixelData = pixels.astype("<u2").tobytes()
    file = BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


@contextmanager
def parts(
    series: SeriesReceived, files: Sequence[Path], repeats: int
) -> Iterator[Callable[[], Parts]]:
    """Gives what measures the steps: the median of `repeats` films, one after the other.

    Raises LookupError when no package of the site is meant for `series`.
    """
    residents, _ = load_residents(TriageSettings())
    fit = [resident for resident in residents if resident.eligible(series) is None]
    if not fit:
        raise LookupError(
            "no model package is meant for chest films: VIGIE_MODELS names another folder"
        )
    jail = Jail(1)
    try:
        yield lambda: _measure(fit[0], jail, files, repeats)
    finally:
        jail.close()


def _measure(resident: Resident, jail: Jail, files: Sequence[Path], repeats: int) -> Parts:
    times: list[tuple[float, float, float]] = []
    for number in range(repeats + 1):
        request = Request(
            (str(files[number % len(files)]),), resident.most, resident.axial, resident.side
        )
        begun = time.perf_counter()
        frames = jail.decode(request)
        decoded = time.perf_counter()
        images = resident.prepare(frames)
        prepared = time.perf_counter()
        resident.network(images)
        times.append((decoded - begun, prepared - decoded, time.perf_counter() - prepared))
    decode, prepare, forward = (
        statistics.median(column) for column in zip(*times[1:], strict=True)
    )  # the first warms
    return Parts(decode, prepare, forward)
