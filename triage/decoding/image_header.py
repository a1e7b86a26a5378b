"""What one image's header claims, checked before any pixel is decoded."""

from __future__ import annotations

import errno
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from streams.errors import Reason
from triage.decoding.limits import Limits
from triage.eligibility.elements import BROKEN_VALUE, numbers_of, value_of
from triage.eligibility.header_facts import group_of
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
    *BROKEN_VALUE,
    RuntimeError,
    EOFError,
    AssertionError,
    zlib.error,
    InvalidDicomError,
)


#: What a store that is away for a while answers, where a broken file gives something else.
_AWAY = frozenset(
    {
        errno.ENOENT,
        errno.ESTALE,
        errno.EIO,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.ENXIO,
        errno.ENODEV,
        errno.EACCES,
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
    }
)


def why_unread(error: BaseException) -> Reason:
    """`store_missing` where the store did not give the bytes, else `undecodable_pixels`."""
    away = isinstance(error, OSError) and error.errno in _AWAY
    return Reason.STORE_MISSING if away else Reason.UNDECODABLE_PIXELS


@dataclass(frozen=True)
class ImageHeader:
    """One file: its dataset without pixels (inflated ones: with), and the facts that were checked.

    Attributes:
        rows, columns: 1 to 65,535.
        frames: 1 to `Limits.frames`.
        samples: 1 or 3.
        bits: bits allocated, one of 1, 8, 16, 32, 64.
        bits_stored: those of them that hold a value; all where the header says nothing that can be.
        inflated: the file was deflated as a whole, and `dataset` holds its pixels already.
        pixels_at: where in the file the element with the pixels begins; nothing where inflated.
    """

    path: Path
    dataset: Dataset
    rows: int
    columns: int
    frames: int
    samples: int
    bits: int
    bits_stored: int
    photometric: str
    inflated: bool = False
    pixels_at: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as it is stored uncompressed."""
        return -(-self.rows * self.columns * self.samples * self.bits // 8)

    def group(self, frame: int, name: str) -> Dataset:
        """The item that states `name` for `frame`; else the top level."""
        return group_of(self.dataset, frame, name)

    def numbers(self, source: Dataset, name: str, count: int) -> NDArray[np.float64] | None:
        """The first `count` values of `name`, float64 [count].

        None where they are missing, no numbers, or not finite.
        """
        try:
            many = numbers_of(source, name)
        except BROKEN:
            return None
        if many is None or len(many) < count or not np.isfinite(many[:count]).all():
            return None
        return many[:count]

    def value(self, name: str, default: Any = None) -> Any:
        """Of the top level; `default` where it is missing."""
        return value_of(self.dataset, name, default)


def read_header(path: Path, limits: Limits) -> ImageHeader:
    """The header of `path`.

    Raises:
        NotAnalysed: `undecodable_pixels` (no DICOM file), `no_pixels`, `bad_geometry`,
            `decode_limit`, `unsupported_photometric`, `store_missing`.
    """
    return check_header(path, open_dataset(path, limits), limits)


@dataclass(frozen=True)
class Opened:
    """A dataset, as `ImageHeader` has it, not yet believed."""

    dataset: Dataset
    inflated: bool
    pixels_at: int


def check_header(path: Path, opened: Opened, limits: Limits) -> ImageHeader:
    """The header of what `open_dataset` gave. Raises NotAnalysed, as `read_header`."""
    try:
        return _checked(path, opened, limits)
    except BROKEN:
        raise NotAnalysed(Reason.BAD_GEOMETRY) from None


def open_dataset(path: Path, limits: Limits) -> Opened:
    """The dataset of `path`. Raises NotAnalysed, as `read_header`."""
    try:
        if _transfer_syntax(path) == DeflatedExplicitVRLittleEndian:
            return Opened(_inflate(path, limits.frame_bytes), True, 0)
        with path.open("rb") as file:
            dataset = dcmread(file, stop_before_pixels=True)  # leaves the file at the element
            return Opened(dataset, False, file.tell())
    except BROKEN as error:
        raise NotAnalysed(why_unread(error)) from None
    except MemoryError:  # an element that says it has gigabytes: the other files may be sound
        raise NotAnalysed(Reason.DECODE_LIMIT) from None


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


def _checked(path: Path, opened: Opened, limits: Limits) -> ImageHeader:
    dataset = opened.dataset
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
    counted = value_of(dataset, "NumberOfFrames")
    frames = 1 if counted in (None, "") else _integer(dataset, "NumberOfFrames", 1)
    if rows == 0 or columns == 0 or frames == 0:
        raise NotAnalysed(Reason.NO_PIXELS)
    if not (1 <= rows <= 65535 and 1 <= columns <= 65535 and frames > 0):
        raise NotAnalysed(Reason.BAD_GEOMETRY)
    photometric = str(value_of(dataset, "PhotometricInterpretation", "")).strip()
    if photometric not in PHOTOMETRICS or samples not in (1, 3) or bits not in (1, 8, 16, 32, 64):
        raise NotAnalysed(Reason.UNSUPPORTED_PHOTOMETRIC)
    if rows * columns * samples * max(1, bits // 8) > limits.frame_bytes or frames > limits.frames:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    return ImageHeader(
        path,
        dataset,
        rows,
        columns,
        frames,
        samples,
        bits,
        _bits_stored(dataset, bits),
        photometric,
        opened.inflated,
        opened.pixels_at,
    )


def _bits_stored(dataset: Dataset, bits: int) -> int:
    if value_of(dataset, "BitsStored") in (None, ""):
        return bits
    stored = _integer(dataset, "BitsStored", bits)
    return stored if 1 <= stored <= bits else bits


def _integer(dataset: Dataset, name: str, default: int) -> int:
    value = value_of(dataset, name, default)
    if not isinstance(value, int):
        raise NotAnalysed(Reason.BAD_GEOMETRY, name)
    return int(value)
