"""Stored values become what they stand for: Hounsfield units for CT, display values for the rest.

Order of PS3.3 C.11: stored value (bits stored, sign) → modality LUT or rescale → VOI LUT or window
→ MONOCHROME1 inverted.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from streams.errors import Reason
from triage.decoding.image_header import BROKEN, ImageHeader
from triage.decoding.reduction import block_mean, masked_block_mean
from triage.eligibility.elements import value_of
from triage.eligibility.header_facts import values_of
from triage.errors import NotAnalysed

Unit = Literal["hu", "display"]
AIR_HU = -1024.0
#: With both ends numpy clips three times as fast as `np.maximum` takes the larger.
_AIR, _ENDLESS = np.float32(AIR_HU), np.float32(np.inf)
#: What scanners write; a slope below zero or of 100 is a fault of somebody on the way.
_SLOPES, _INTERCEPTS = (0.1, 10.0), (-33000.0, 1100.0)
_MOST_PADDING_HU = -900.0  # padding that is denser may be tissue: it is read as what it is
_NARROWEST = 0.1  # of the range of most values; real windows of films hold half of it and more
#: Rec. 601, as DICOM's own YBR_FULL.
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CT_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.2{part}" for part in ("", ".1", ".2"))
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def is_hounsfield(header: ImageHeader, frame: int = 0) -> bool:
    """Whether the rescaled values are Hounsfield units.

    So it is for CT with a whole rescale that can be, and more than 8 bits, that is no capture of a
    screen.
    """
    transform = header.group(frame, "PixelValueTransformationSequence")
    slope = header.numbers(transform, "RescaleSlope", 1)
    intercept = header.numbers(transform, "RescaleIntercept", 1)
    return (
        header.value("Modality") == "CT"
        and not str(header.value("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE)
        and header.samples == 1
        and header.photometric.startswith("MONOCHROME")
        and header.bits_stored > 8
        and _possible(intercept, _INTERCEPTS)
        and _possible(slope, _SLOPES)
        and not header.value("ModalityLUTSequence")  # beside a rescale it says something else
        and str(value_of(transform, "RescaleType") or "HU").strip() in ("HU", "US")
    )


def _possible(value: NDArray[np.float64] | None, among: tuple[float, float]) -> bool:
    return value is not None and among[0] <= float(value[0]) <= among[1]


def _is_ct_slice(header: ImageHeader) -> bool:
    """CT Image Storage, enhanced or not, that is no picture made of another image."""
    return (
        header.value("Modality") == "CT"
        and str(header.value("SOPClassUID", "")) in _CT_CLASSES
        and values_of(header.dataset, "ImageType")[1:2] != ("SECONDARY",)
    )


def to_values(
    array: NDArray[np.generic], header: ImageHeader, frame: int, min_side_px: int = 0
) -> tuple[NDArray[np.float32], Unit, int]:
    """Stored values in HU, or from 0 (black) to 1 (white) for "display".

    Args:
        array: [rows, columns], or [rows, columns, 3] as RGB.
        min_side_px: as `reduction_factor`; 0 leaves every pixel as it is.

    Returns:
        float32 [rows, columns] as they are stored, their unit, and how many pixels became one.

    Raises:
        NotAnalysed: `undecodable_pixels` when a lookup table of the header is broken,
            `no_hounsfield` when a CT slice has no rescale that can be read.
    """
    try:
        hounsfield = is_hounsfield(header, frame)
        if not hounsfield and _is_ct_slice(header):
            raise NotAnalysed(Reason.NO_HOUNSFIELD)  # read as a picture it would look calm
        factor = reduction_factor(array, header, min_side_px)
        if array.ndim == 3 or header.photometric == "PALETTE COLOR":
            return _grey(block_mean(array, factor), header), "display", factor
        padding = _padding(array, header)
        if padding is not None and hounsfield:
            padding &= _rescaled(array, header, frame) <= _MOST_PADDING_HU
        if factor > 1:
            array, padding = masked_block_mean(array, padding, factor)
        values = _rescaled(array, header, frame)
        if hounsfield:
            # Scanners write -2000 and less outside their field of view: air, as the padding is.
            if padding is not None:
                values[padding] = AIR_HU
            return np.clip(values, _AIR, _ENDLESS, out=values), "hu", factor
        shown = _windowed(values, padding, header, frame)
        if header.photometric == "MONOCHROME1":
            np.subtract(np.float32(1), shown, out=shown)
        if padding is not None:
            shown[padding] = 0
        return shown, "display", factor
    except BROKEN:
        raise NotAnalysed(Reason.UNDECODABLE_PIXELS) from None


def reduction_factor(array: NDArray[np.generic], header: ImageHeader, min_side_px: int) -> int:
    """Side of the square of pixels that becomes one; 1: the frame stays as it is.

    The short side keeps at least `min_side_px` pixels. A mean is taken of stored values, so only of
    those that are linear in what they show: no palette, no modality LUT, no floats. A stack in HU
    is left alone up to twice `min_side_px`: its noise is part of what a model learned.
    """
    short = min(array.shape[:2])
    if min_side_px <= 0 or array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        return 1
    if header.photometric == "PALETTE COLOR" or header.value("ModalityLUTSequence"):
        return 1
    return 1 if is_hounsfield(header) and short <= 2 * min_side_px else max(1, short // min_side_px)


def _grey(array: NDArray[np.generic], header: ImageHeader) -> NDArray[np.float32]:
    bits = header.bits_stored
    if array.ndim == 2:
        array = apply_color_lut(array, header.dataset)
        bits = array.dtype.itemsize * 8
    top = np.float32(2.0**bits - 1)
    grey: NDArray[np.float32] = np.clip((array.astype(np.float32) @ _LUMINANCE) / top, 0, 1)
    return grey


def _padding(array: NDArray[np.generic], header: ImageHeader) -> NDArray[np.bool_] | None:
    """Where the scanner wrote nothing: bool [rows, columns]; None: nowhere."""
    first = header.numbers(header.dataset, "PixelPaddingValue", 1)
    if first is None or array.dtype.kind not in "iu":
        return None
    last = header.numbers(header.dataset, "PixelPaddingRangeLimit", 1)
    ends = [int(first[0]), int(first[0] if last is None else last[0])]
    # In many files the VR and the pixels disagree: 63536 in a signed image is -2000.
    span = 1 << header.bits
    signed = array.dtype.kind == "i"
    ends = sorted((end + span // 2) % span - span // 2 if signed else end % span for end in ends)
    found: NDArray[np.bool_] = np.greater_equal(array, ends[0]) & np.less_equal(array, ends[1])
    return found if found.any() else None


def _rescaled(array: NDArray[np.generic], header: ImageHeader, frame: int) -> NDArray[np.float32]:
    if header.value("ModalityLUTSequence"):
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
    values: NDArray[np.float32], padding: NDArray[np.bool_] | None, header: ImageHeader, frame: int
) -> NDArray[np.float32]:
    """`values` through the first window, else the VOI LUT, else their whole range.

    float32 from 0 to 1. A window so narrow that the image becomes black and white is none.
    """
    voi = header.group(frame, "FrameVOILUTSequence")
    centre, width = header.numbers(voi, "WindowCenter", 1), header.numbers(voi, "WindowWidth", 1)
    if centre is not None and width is not None and width[0] >= 1:
        step = max(1, min(values.shape) // 128)
        low, high = np.percentile(values[::step, ::step], (1, 99))  # letters apart
        if width[0] >= _NARROWEST * float(high - low):
            function = str(value_of(voi, "VOILUTFunction") or "LINEAR")
            return _window(values, float(centre[0]), float(width[0]), function)
    if header.value("VOILUTSequence"):
        return look_up(values, header.dataset.VOILUTSequence[0])
    low, high = _value_range(values, padding, header)
    return _to_unit_range(values, low, max(high - low, 1e-6), 0)


def look_up(values: NDArray[np.float32], lut: Dataset) -> NDArray[np.float32]:
    """`values` through a lookup table (PS3.3 §C.11.2.1.1), from 0 to 1.

    Entries of 8 bits come as bytes, or each in a word of its own, whatever the descriptor says.
    Raises ValueError where the table is not as long as it says.
    """
    count, first, bits = (int(one) for one in lut.LUTDescriptor)
    count = count or 65536
    data = lut.LUTData
    if isinstance(data, bytes):
        words = np.frombuffer(data, np.uint8 if len(data) < 2 * count else "<u2")
    else:
        words = np.asarray(data, np.uint16)
        if len(words) < count:  # two entries in a word
            words = words.astype("<u2").view(np.uint8)
    if not 0 < bits <= 16 or len(words) < count:
        raise ValueError("a lookup table shorter than it says")
    first = first - 65536 if first > 32767 and values.min() < 0 else first
    at = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    found: NDArray[np.float32] = words[at].astype(np.float32)
    return _to_unit_range(found, 0, 2.0**bits - 1, 0)


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
        return _to_unit_range(values, centre, width, 0.5)
    return _to_unit_range(values, centre - 0.5, max(width - 1, 1e-6), 0.5)


def _to_unit_range(
    values: NDArray[np.float32], zero: float, span: float, plus: float
) -> NDArray[np.float32]:
    """``(values - zero) / span + plus``, clipped to 0–1, in place.

    A film is 16 MB, and fresh memory costs more than the sum.
    """
    values -= np.float32(zero)
    values /= np.float32(span)
    if plus:
        values += np.float32(plus)
    return np.clip(values, 0, 1, out=values)


def _value_range(
    values: NDArray[np.float32], padding: NDArray[np.bool_] | None, header: ImageHeader
) -> tuple[float, float]:
    bits = header.bits_stored
    if bits <= 8 and not header.value("PixelRepresentation"):
        return 0.0, 2.0**bits - 1
    seen = values if padding is None else values[~padding]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
