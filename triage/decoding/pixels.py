"""Stored pixels become frames: HU for CT, display values for the rest, as the header's
transformations say.

Order of PS3.3 C.11: stored value (bits stored, sign) → modality LUT or rescale → VOI LUT or window
→ MONOCHROME1 inverted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEGExtended12Bit, RLELossless

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.headers import BROKEN, Header, Limits, read_header
from triage.decoding.slices import position_mm, sort_frames
from triage.errors import NotAnalysed

AIR_HU = -1024.0
#: Rec. 601, as DICOM's own YBR_FULL.
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def read_frames(path: Path, limits: Limits | None = None) -> list[Frame]:
    """All frames of one file, in order along the stack where it has one.

    For the workshop, which trusts its files; the agent goes through `decode`, which jails the same
    code.

    Raises:
        NotAnalysed: as `read_header` and `stored`.
    """
    header = read_header(path, limits or Limits())
    wanted = sort_frames([header])
    arrays = dict(
        zip(
            sorted(p.frame for p in wanted),
            stored(header, sorted(p.frame for p in wanted)),
            strict=True,
        )
    )
    return [to_frame(arrays[place.frame], header, place.frame) for place in wanted]


def stored(header: Header, frames: Sequence[int]) -> Iterator[NDArray[np.generic]]:
    """The decoded stored values of `frames`, ascending: [rows, columns], or [rows, columns, 3] as
    RGB; perhaps read-only.

    Raises:
        NotAnalysed: `no_decoder` for a transfer syntax that nothing here reads, `no_pixels`,
            `undecodable_pixels`, `decode_limit` when memory ran out.
    """
    syntax = UID(str(header.dataset.file_meta.TransferSyntaxUID))
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise NotAnalysed(Reason.NO_DECODER)
    if syntax == JPEGExtended12Bit and int(header.dataset.get("BitsStored") or 0) > 8:
        raise NotAnalysed(
            Reason.NO_DECODER
        )  # the only wheel that reads 12-bit JPEG is under the GPL
    if header.inflated and "PixelData" not in header.dataset:
        raise NotAnalysed(Reason.NO_PIXELS)
    # Of native pixels pydicom makes three copies by default; the file's own bytes are enough.
    plain: dict[str, Any] = (
        {} if syntax.is_encapsulated else {"view_only": True, "correct_unused_bits": False}
    )
    try:
        for array in iter_pixels(
            header.dataset if header.inflated else header.path, indices=list(frames), **plain
        ):
            if array.shape[:2] != (header.rows, header.columns):
                raise NotAnalysed(Reason.BAD_GEOMETRY)
            # Only these leave the bits above BitsStored as they were sent; codecs give the value
            # itself.
            yield _own_bits(array, header) if plain or syntax == RLELossless else array
    except NotImplementedError:
        raise NotAnalysed(Reason.NO_DECODER) from None
    except MemoryError:
        raise NotAnalysed(Reason.DECODE_LIMIT) from None
    except BROKEN as error:
        lacks = isinstance(error, AttributeError) and "no pixel data" in str(error)
        raise NotAnalysed(Reason.NO_PIXELS if lacks else Reason.UNDECODABLE_PIXELS) from None


def _own_bits(array: NDArray[np.generic], header: Header) -> NDArray[np.generic]:
    """`array` without what old scanners hide above BitsStored (overlays), its sign kept."""
    kept = header.dataset.get("BitsStored")
    if not isinstance(kept, int) or array.dtype.kind not in "iu" or not 1 < kept < header.bits:
        return array
    low = int(header.dataset.get("HighBit") or kept - 1) - kept + 1
    up = header.bits - kept - max(0, low)
    first = -(1 << (kept - 1)) if array.dtype.kind == "i" else 0
    if up < 0 or (low <= 0 and array.min() >= first and array.max() < first + (1 << kept)):
        return array
    shifted = np.left_shift(array, array.dtype.type(up))
    moved: NDArray[np.generic] = np.right_shift(shifted, array.dtype.type(header.bits - kept))
    return moved


def is_hounsfield(header: Header) -> bool:
    """Whether the rescaled values are Hounsfield units: CT, not a capture of a screen, a rescale
    given, more than 8 bits.
    """
    dataset = header.dataset
    transform = header.group(0, "PixelValueTransformationSequence")
    return (
        dataset.get("Modality") == "CT"
        and not str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE)
        and header.samples == 1
        and header.photometric.startswith("MONOCHROME")
        and int(dataset.get("BitsStored") or header.bits) > 8
        and header.numbers(transform, "RescaleIntercept", 1) is not None
        and str(transform.get("RescaleType") or "HU").strip() in ("HU", "US")
    )


def to_frame(array: NDArray[np.generic], header: Header, frame: int, side: int = 0) -> Frame:
    """Stored values as a `Frame`: float32 [rows, columns], in HU, or "display" from 0 (black) to 1
    (white).

    Args:
        side: as `step`; 0 leaves every pixel as it is.

    Raises:
        NotAnalysed: `undecodable_pixels` when a lookup table of the header is broken.
    """
    try:
        hounsfield, by = is_hounsfield(header), step(array, header, side)
        if array.ndim == 3 or header.photometric == "PALETTE COLOR":
            return Frame(
                _grey(block_mean(array, by), header), "display", position_mm(header, frame)
            )
        padding = _padding(array, header)
        if by > 1:
            array, padding = _reduced(array, padding, by)
        values = _rescaled(array, header, frame)
        if hounsfield:
            # Scanners write -2000 and less outside their field of view: air, as the padding is.
            if padding is not None:
                values[padding] = AIR_HU
            return Frame(
                np.maximum(values, np.float32(AIR_HU), out=values), "hu", position_mm(header, frame)
            )
        shown = _windowed(values, padding, header, frame)
        if header.photometric == "MONOCHROME1":
            np.subtract(np.float32(1), shown, out=shown)
        if padding is not None:
            shown[padding] = 0
        return Frame(shown, "display", position_mm(header, frame))
    except BROKEN:
        raise NotAnalysed(Reason.UNDECODABLE_PIXELS) from None


def step(array: NDArray[np.generic], header: Header, side: int) -> int:
    """Side of the square of pixels that becomes one, so that the short side keeps at least `side`
    pixels; 1: none does.

    A mean is taken of stored values, so only of those that are linear in what they show: no
    palette, no modality LUT, no floats. A stack in HU is left alone up to twice `side`: its noise
    is part of what a model learned.
    """
    short = min(array.shape[:2])
    if side <= 0 or array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        return 1
    if header.photometric == "PALETTE COLOR" or header.dataset.get("ModalityLUTSequence"):
        return 1
    return 1 if is_hounsfield(header) and short <= 2 * side else max(1, short // side)


def block_mean(array: NDArray[np.generic], by: int) -> NDArray[np.generic]:
    """The mean of each square of `by` pixels, float32; what is left over at the far edges goes.
    `array` itself when `by` is 1.
    """
    return array if by == 1 else _block_sum(array, by) / np.float32(by * by)


def _block_sum(array: NDArray[np.generic], by: int) -> NDArray[np.int32]:
    # Whole rows are added, then columns: five times faster than a sum over two axes of a view.
    rows, columns = (size // by * by for size in array.shape[:2])
    total = array[0:rows:by, :columns].astype(np.int32)  # 16 bits, and `by` ≤ 128, fit
    for at in range(1, by):
        np.add(total, array[at:rows:by, :columns], out=total)
    summed = total[:, 0::by].copy()
    for at in range(1, by):
        summed += total[:, at::by]
    return summed


def _reduced(
    array: NDArray[np.generic], padding: NDArray[np.bool_] | None, by: int
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
    """As `block_mean`, of what is no padding; a square that is nothing else stays padding."""
    if padding is None:
        return block_mean(array, by), None
    seen = _block_sum(~padding, by)
    total = _block_sum(np.where(padding, array.dtype.type(0), array), by)
    return total / np.maximum(seen, 1).astype(np.float32), seen == 0


def _grey(array: NDArray[np.generic], header: Header) -> NDArray[np.float32]:
    bits = int(header.dataset.get("BitsStored") or header.bits)
    if array.ndim == 2:
        array = apply_color_lut(array, header.dataset)
        bits = array.dtype.itemsize * 8
    top = np.float32(2.0**bits - 1)
    grey: NDArray[np.float32] = np.clip((array.astype(np.float32) @ _LUMINANCE) / top, 0, 1)
    return grey


def _padding(array: NDArray[np.generic], header: Header) -> NDArray[np.bool_] | None:
    """Where the scanner wrote nothing: bool [rows, columns]; None: nowhere."""
    first = header.numbers(header.dataset, "PixelPaddingValue", 1)
    if first is None or array.dtype.kind not in "iu":
        return None
    last = header.numbers(header.dataset, "PixelPaddingRangeLimit", 1)
    ends = [int(first[0]), int(first[0] if last is None else last[0])]
    # A padding value of 63536 in a signed image is -2000: the VR and the pixels disagree in many
    # files.
    span = 1 << header.bits
    signed = array.dtype.kind == "i"
    ends = sorted((end + span // 2) % span - span // 2 if signed else end % span for end in ends)
    found: NDArray[np.bool_] = np.greater_equal(array, ends[0]) & np.less_equal(array, ends[1])
    return found if found.any() else None


def _rescaled(array: NDArray[np.generic], header: Header, frame: int) -> NDArray[np.float32]:
    if header.dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(array, header.dataset), dtype=np.float32)
    transform = header.group(frame, "PixelValueTransformationSequence")
    slope = header.numbers(transform, "RescaleSlope", 1)
    intercept = header.numbers(transform, "RescaleIntercept", 1)
    values = array.astype(np.float32)  # a copy: what follows is done in place
    if slope is not None and slope[0] not in (0, 1):
        values *= np.float32(slope[0])
    if intercept is not None:
        values += np.float32(intercept[0])
    if array.dtype.kind != "f" or np.isfinite(values).all():
        return values
    return np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _windowed(
    values: NDArray[np.float32], padding: NDArray[np.bool_] | None, header: Header, frame: int
) -> NDArray[np.float32]:
    """`values` through the first window, else the VOI LUT, else their whole range: float32 in [0,
    1].
    """
    voi = header.group(frame, "FrameVOILUTSequence")
    centre, width = header.numbers(voi, "WindowCenter", 1), header.numbers(voi, "WindowWidth", 1)
    if centre is not None and width is not None and width[0] >= 1:
        return _window(
            values, float(centre[0]), float(width[0]), str(voi.get("VOILUTFunction") or "LINEAR")
        )
    if header.dataset.get("VOILUTSequence"):
        looked = np.asarray(
            apply_voi(np.rint(values).astype(np.int32), header.dataset), dtype=np.float32
        )
        bits = int(header.dataset.VOILUTSequence[0].LUTDescriptor[2])
        return _unit(looked, 0, 2.0**bits - 1, 0)
    low, high = _range(values, padding, header)
    return _unit(values, low, max(high - low, 1e-6), 0)


def _window(
    values: NDArray[np.float32], centre: float, width: float, function: str
) -> NDArray[np.float32]:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, output from 0 to 1."""
    if function == "SIGMOID":
        shown: NDArray[np.float32] = 1 / (
            1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60))
        )
        return shown.astype(np.float32)
    if function == "LINEAR_EXACT":
        return _unit(values, centre, width, 0.5)
    return _unit(values, centre - 0.5, max(width - 1, 1e-6), 0.5)


def _unit(
    values: NDArray[np.float32], zero: float, span: float, plus: float
) -> NDArray[np.float32]:
    """``(values - zero) / span + plus``, clipped to 0–1, in place: a film is 16 MB, and fresh
    memory costs more than the sum.
    """
    values -= np.float32(zero)
    values /= np.float32(span)
    if plus:
        values += np.float32(plus)
    return np.clip(values, 0, 1, out=values)


def _range(
    values: NDArray[np.float32], padding: NDArray[np.bool_] | None, header: Header
) -> tuple[float, float]:
    bits = int(header.dataset.get("BitsStored") or header.bits)
    if bits <= 8 and not header.dataset.get("PixelRepresentation"):
        return 0.0, 2.0**bits - 1
    seen = values if padding is None else values[~padding]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
