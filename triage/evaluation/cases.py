"""One labelled case, file to prepared images: as it is served, or as near to it as there is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.eligibility.rule import NEAREST
from triage.errors import NotAnalysed
from triage.inputs.common import within_bounds
from triage.inputs.picture import read_picture
from triage.inputs.prepare import prepare
from triage.judging.bodies import Unlike, unlike_stacks
from triage.packages.load import Package

#: What of a case may be outside the intended use, beside a package's own reasons.
PICTURE, WINDOWED = "picture", "windowed"
_SOFT_TISSUE_HU = (-160.0, 240.0)


@dataclass(frozen=True)
class Case:
    """One labelled case, ready for the network.

    Attributes:
        images: [n, c, h, w].
        outside: what of it is outside the intended use.
        unlike: what told that all of it is another part of a body; None where nothing did.
    """

    images: NDArray[np.float32]
    outside: tuple[str, ...]
    unlike: Unlike | None


def is_dicom(file: Path) -> bool:
    """Whether it is a DICOM file, or a folder: of one DICOM series, then."""
    if file.is_dir():
        return True
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_case(package: Package, decoders: DecoderPool | None, file: Path) -> Case:
    """`file` as the network reads it; what is outside the intended use is read all the same.

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
    frames = [replace(frame, pixels=within_bounds(frame.pixels)) for frame in frames]
    unlike = unlike_stacks(package.manifest.body, frames)
    every = len(unlike) == len({frame.stack for frame in frames})
    return Case(
        prepare(frames, package.input),
        tuple(outside),
        next(iter(unlike.values())) if every else None,
    )


def _dicom(package: Package, decoders: DecoderPool, file: Path) -> tuple[list[Frame], list[str]]:
    spec = package.input
    paths = sorted(path for path in file.iterdir() if path.is_file()) if file.is_dir() else [file]
    request = Request(tuple(map(str, paths)), package.wanted)
    outside: list[str] = []
    try:
        frames = decoders.decode(request).frames
    except NotAnalysed as error:
        if error.reason not in NEAREST:
            raise
        outside.append(error.reason)
        frames = _read_anyway(decoders, request)
    if spec.kind == "chest_film" and any(frame.unit == "hu" for frame in frames):
        frames = [_windowed(frame) for frame in frames]
        outside.append(WINDOWED)
    return frames, outside


def _read_anyway(decoders: DecoderPool, request: Request) -> list[Frame]:
    """Whatever the package is meant for: axial slices if there are any, else every image."""
    wanted = replace(request.wanted, rule=None)
    try:
        return decoders.decode(replace(request, wanted=wanted)).frames
    except NotAnalysed as error:
        if error.reason is not Reason.OUTSIDE_VIEW:
            raise
        return decoders.decode(replace(request, wanted=replace(wanted, axial=False))).frames


def _windowed(frame: Frame) -> Frame:
    """A CT slice in a soft-tissue window, as a viewer shows it; other frames as they are."""
    if frame.unit != "hu":
        return frame
    low, high = _SOFT_TISSUE_HU
    pixels = np.clip((frame.pixels - np.float32(low)) / np.float32(high - low), 0, 1)
    return replace(frame, pixels=pixels, unit="display")
