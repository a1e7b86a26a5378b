"""Uncompressed grey pixels, read where they lie: pydicom would read the whole header once more."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from streams.errors import Reason
from triage.decoding.image_header import ImageHeader
from triage.errors import NotAnalysed

_PIXEL_DATA = b"\xe0\x7f\x10\x00"


def is_native(header: ImageHeader, syntax: str) -> bool:
    """Whether `native` reads such a file: little endian, one sample of 8 or 16 bits."""
    return (
        syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        and not header.inflated
        and header.samples == 1
        and header.bits in (8, 16)
        and header.photometric.startswith("MONOCHROME")
    )


def native(
    header: ImageHeader, frames: Sequence[int], syntax: str
) -> Iterator[NDArray[np.generic]]:
    """The stored values of `frames`, [rows, columns] each, read-only.

    Raises NotAnalysed (`no_pixels`), ValueError where they are cut off, and OSError.
    """
    kind = ("i" if header.value("PixelRepresentation") else "u") + str(header.bits // 8)
    size = header.rows * header.columns * header.bits // 8
    with header.path.open("rb", buffering=0) as file:
        at = header.pixels_at
        head = os.pread(file.fileno(), 12, at)
        if len(head) < 12 or head[:4] != _PIXEL_DATA:
            raise NotAnalysed(Reason.NO_PIXELS)
        explicit = syntax == ExplicitVRLittleEndian
        (length,) = struct.unpack_from("<L", head, 8 if explicit else 4)
        at += 12 if explicit else 8
        for frame in frames:
            raw = os.pread(file.fileno(), size, at + frame * size)
            if len(raw) < size or (frame + 1) * size > length:
                raise ValueError("fewer pixels than the header counts")
            yield np.frombuffer(raw, f"<{kind}").reshape(header.rows, header.columns)
