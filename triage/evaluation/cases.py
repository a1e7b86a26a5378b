"""One labelled case, file to prepared images: as it is served, or as near to it as there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.image_header import BROKEN, ImageHeader, read_header
from triage.decoding.limits import Limits
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.errors import NotAnalysed
from triage.inputs.common import within_bounds
from triage.inputs.picture import read_picture
from triage.inputs.prepare import prepare
from triage.packages.eligibility import SeriesFacts
from triage.packages.load import Package

#: What of a case may be outside the intended use, beside a package's own reasons.
PICTURE, PLANE, WINDOWED = "picture", "plane", "windowed"
_SOFT_TISSUE_HU = (-160.0, 240.0)
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def is_dicom(file: Path) -> bool:
    """Whether it is a DICOM file, or a folder: of one DICOM series, then."""
    if file.is_dir():
        return True
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_case(
    package: Package, decoders: DecoderPool | None, file: Path
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """What the network reads of `file`, [n, c, h, w], and what of it is outside the intended use.

    That is read all the same.

    Args:
        decoders: for DICOM; None where there is none to decode.

    Raises:
        NotAnalysed: DICOM that cannot be decoded.
        ValueError: a picture that cannot be.
    """
    if decoders is None or not is_dicom(file):
        frames, outside = [read_picture(file)], [PICTURE]
    else:
        frames, outside = _dicom(package, decoders, file)
    return prepare(
        [Frame(within_bounds(frame.pixels), frame.unit) for frame in frames], package.input
    ), tuple(outside)


def _dicom(package: Package, decoders: DecoderPool, file: Path) -> tuple[list[Frame], list[str]]:
    spec = package.input
    paths = sorted(path for path in file.iterdir() if path.is_file()) if file.is_dir() else [file]
    reason = package.why_ineligible(series_facts(_first_header(paths)))
    outside: list[str] = [] if reason is None else [reason]
    request = Request(tuple(map(str, paths)), spec.max_frames, spec.axial, spec.min_side_px)
    try:
        frames = decoders.decode(request)
    except NotAnalysed as error:
        if error.reason is not Reason.OUTSIDE_VIEW:
            raise
        frames = decoders.decode(replace(request, axial=False))
        outside.append(PLANE)
    if spec.kind == "chest_film" and any(frame.unit == "hu" for frame in frames):
        frames = [_windowed(frame) for frame in frames]
        outside.append(WINDOWED)
    return frames, outside


def _first_header(paths: Sequence[Path]) -> ImageHeader:
    """Of the first file that has one.

    Raises NotAnalysed, as the first file did, when none has.
    """
    first = NotAnalysed(Reason.NO_PIXELS)
    for number, path in enumerate(paths):
        try:
            return read_header(path, Limits())
        except NotAnalysed as error:
            first = error if number == 0 else first
    raise first


def series_facts(header: ImageHeader) -> SeriesFacts:
    """What a header says of its series, as far as a package's intended use asks for it."""
    text = partial(_text, header.dataset)
    return SeriesFacts(
        modality=text("Modality"),
        body_part=text("BodyPartExamined"),
        description=f"{text('StudyDescription')} {text('SeriesDescription')}",
        age_years=_age(header.dataset),
        view=text("ViewPosition") or None,
        sop_class=text("SOPClassUID"),
    )


def _text(dataset: Dataset, name: str) -> str:
    """The value as text; empty where there is none, or none that can be read."""
    try:
        return str(dataset.get(name) or "").strip()
    except BROKEN:
        return ""


def _age(dataset: Dataset) -> float | None:
    """Years, from the age that is stated, else from the dates of birth and study."""
    if match := _AGE.fullmatch(_text(dataset, "PatientAge")):
        return int(match[1]) / _PER_YEAR[match[2]]
    try:
        born, seen = (
            datetime.strptime(_text(dataset, name), "%Y%m%d").replace(tzinfo=UTC)
            for name in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    return (seen - born).days / 365.25


def _windowed(frame: Frame) -> Frame:
    """A CT slice in a soft-tissue window, as a viewer shows it; other frames as they are."""
    if frame.unit != "hu":
        return frame
    low, high = _SOFT_TISSUE_HU
    return Frame(
        np.clip((frame.pixels - np.float32(low)) / np.float32(high - low), 0, 1),
        "display",
        frame.position_mm,
    )
