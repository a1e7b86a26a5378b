"""What one image's header claims, checked before any pixel is decoded."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from streams.errors import Reason
from triage.decoding.limits import Limits
from triage.errors import NotAnalysed

PHOTOMETRICS = frozenset(
    {
        "MONOCHROME1",
        "MONOCHROME2",
        "RGB",
        "PALETTE COLOR",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_ICT",
        "YBR_RCT",
    }
)
#: What pydicom and the decoders raise on bytes that are not what they claim to be, but for
#: MemoryError.
BROKEN = (
    ValueError,
    RuntimeError,
    AttributeError,
    TypeError,
    LookupError,
    EOFError,
    OSError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    struct.error,
    zlib.error,
    InvalidDicomError,
    BytesLengthException,
)


@dataclass(frozen=True)
class ImageHeader:
    """One file: its dataset without pixels (inflated ones: with), and the facts that were checked.

    Attributes:
        rows, columns: 1 to 65,535.
        frames: 1 to `Limits.frames`.
        samples: 1 or 3.
        bits: bits allocated, one of 1, 8, 16, 32, 64.
        inflated: the file was deflated as a whole, and `dataset` holds its pixels already.
    """

    path: Path
    dataset: Dataset
    rows: int
    columns: int
    frames: int
    samples: int
    bits: int
    photometric: str
    inflated: bool = False

    def group(self, frame: int, name: str) -> Dataset:
        """The item that states `name` for `frame`.

        Its own functional group comes first, then the shared one, then the top level.
        """
        for holder in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
            items = self.dataset.get(holder) or []
            place = frame if holder.startswith("Per") else 0
            if place < len(items) and (found := items[place].get(name)):
                item: Dataset = found[0]
                return item
        return self.dataset

    def numbers(self, source: Dataset, name: str, count: int) -> NDArray[np.float64] | None:
        """The first `count` values of `name`, float64 [count].

        None where they are missing, no numbers, or not finite.
        """
        try:
            value = source.get(name)
            if value is None or value == "":
                return None
            many = np.atleast_1d(np.asarray(value, dtype=np.float64))
        except (ValueError, TypeError, BytesLengthException):
            return None
        return (
            many[:count] if len(many) >= count and bool(np.isfinite(many[:count]).all()) else None
        )


def read_header(path: Path, limits: Limits) -> ImageHeader:
    """The header of `path`.

    Raises:
        NotAnalysed: `undecodable_pixels` (no DICOM file), `no_pixels`, `bad_geometry`,
            `decode_limit`, `unsupported_photometric`, `store_missing`.
    """
    dataset, inflated = _open_dataset(path, limits)
    try:
        return _checked(path, dataset, limits, inflated)
    except BROKEN:
        raise NotAnalysed(Reason.BAD_GEOMETRY) from None


def _open_dataset(path: Path, limits: Limits) -> tuple[Dataset, bool]:
    try:
        if _transfer_syntax(path) == DeflatedExplicitVRLittleEndian:
            return _inflate(path, limits.frame_bytes), True
        return dcmread(path, stop_before_pixels=True), False
    except FileNotFoundError:
        raise NotAnalysed(Reason.STORE_MISSING) from None
    except BROKEN:
        raise NotAnalysed(Reason.UNDECODABLE_PIXELS) from None


def _transfer_syntax(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    at = head.find(b"\x02\x00\x10\x00UI", 132)
    if at < 0 or at + 8 > len(head):
        return ""
    (length,) = struct.unpack_from("<H", head, at + 6)
    return head[at + 8 : at + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")


def _inflate(path: Path, cap: int) -> Dataset:
    # pydicom inflates without a bound (612 kB became 1.25 GB): we do it, and stop at `cap`.
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<L", raw, 140)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(raw[144 + length :], cap)
    if inflater.unconsumed_tail:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    if not inflater.eof:
        raise NotAnalysed(Reason.UNDECODABLE_PIXELS)
    dataset = read_dataset(BytesIO(plain), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _checked(path: Path, dataset: Dataset, limits: Limits, inflated: bool) -> ImageHeader:
    # For a file that was cut pydicom returns an empty dataset, with no more than a warning.
    if "Rows" not in dataset or "Columns" not in dataset or "BitsAllocated" not in dataset:
        raise NotAnalysed(Reason.NO_PIXELS)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        raise NotAnalysed(Reason.NO_DECODER)
    rows, columns, bits, samples = (
        _integer(dataset, name, default)
        for name, default in (
            ("Rows", 0),
            ("Columns", 0),
            ("BitsAllocated", 0),
            ("SamplesPerPixel", 1),
        )
    )
    frames = (
        1 if dataset.get("NumberOfFrames") in (None, "") else _integer(dataset, "NumberOfFrames", 1)
    )
    if rows == 0 or columns == 0 or frames == 0:
        raise NotAnalysed(Reason.NO_PIXELS)
    if not (1 <= rows <= 65535 and 1 <= columns <= 65535 and frames > 0):
        raise NotAnalysed(Reason.BAD_GEOMETRY)
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if photometric not in PHOTOMETRICS or samples not in (1, 3) or bits not in (1, 8, 16, 32, 64):
        raise NotAnalysed(Reason.UNSUPPORTED_PHOTOMETRIC)
    if rows * columns * samples * max(1, bits // 8) > limits.frame_bytes or frames > limits.frames:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    return ImageHeader(path, dataset, rows, columns, frames, samples, bits, photometric, inflated)


def _integer(dataset: Dataset, name: str, default: int) -> int:
    value = dataset.get(name, default)
    if not isinstance(value, int):
        raise NotAnalysed(Reason.BAD_GEOMETRY, name)
    return int(value)
