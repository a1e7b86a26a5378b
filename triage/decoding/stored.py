"""From a file to its stored values: each transfer syntax through its decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from streams.errors import Reason
from triage.decoding.image_header import BROKEN, ImageHeader, why_unread
from triage.decoding.native import is_native, native
from triage.decoding.pixel_element import cut_frames, frames_there, says_signed
from triage.errors import NotAnalysed


def stored(header: ImageHeader, frames: Sequence[int]) -> Iterator[NDArray[np.generic]]:
    """The decoded stored values of `frames`, which are ascending.

    Each is [rows, columns], or [rows, columns, 3] as RGB; it may be read-only.

    Raises:
        NotAnalysed: `no_decoder` for a transfer syntax that nothing here reads, `no_pixels`,
            `undecodable_pixels`, `decode_limit` when memory ran out.
    """
    syntax = UID(str(header.dataset.file_meta.TransferSyntaxUID))
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise NotAnalysed(Reason.NO_DECODER)
    if syntax == JPEGExtended12Bit and header.bits_stored > 8:
        # The only wheel that reads 12-bit JPEG is under the GPL.
        raise NotAnalysed(Reason.NO_DECODER)
    if header.inflated and "PixelData" not in header.dataset:
        raise NotAnalysed(Reason.NO_PIXELS)
    if not header.inflated and frames_there(header) > header.frames:
        # Frames that the header does not count would never be looked at.
        raise NotAnalysed(Reason.BAD_GEOMETRY)
    # Of native pixels pydicom makes three copies by default; the file's own bytes are enough.
    plain: dict[str, Any] = (
        {} if syntax.is_encapsulated else {"view_only": True, "correct_unused_bits": False}
    )
    try:
        cut = cut_frames(header) if syntax in JPEGLSTransferSyntaxes else set()
        signed = not header.value("PixelRepresentation") and _codec_says_signed(header, syntax)
        whole = list(takewhile(lambda frame: frame not in cut, frames))
        for array in (
            native(header, frames, syntax)
            if is_native(header, syntax)
            else iter_pixels(
                header.dataset if header.inflated else header.path, indices=whole, **plain
            )
            if whole
            else ()
        ):
            if array.shape[:2] != (header.rows, header.columns):
                raise NotAnalysed(Reason.BAD_GEOMETRY)
            if signed:
                array = array.view(f"i{array.dtype.itemsize}")
            # Codecs give the value at its place; these two leave it as sent, at HighBit.
            as_sent = bool(plain) or syntax == RLELossless
            yield _without_hidden_bits(array, header, as_sent=as_sent)
        if len(whole) < len(frames):
            raise NotAnalysed(Reason.UNDECODABLE_PIXELS)
    except NotImplementedError:
        raise NotAnalysed(Reason.NO_DECODER) from None
    except MemoryError:
        raise NotAnalysed(Reason.DECODE_LIMIT) from None
    except BROKEN as error:
        lacks = isinstance(error, AttributeError) and "no pixel data" in str(error)
        raise NotAnalysed(Reason.NO_PIXELS if lacks else why_unread(error)) from None


def _codec_says_signed(header: ImageHeader, syntax: UID) -> bool:
    """A codestream knows better than the header what it holds (PS3.5 §8.2.4).

    Not so one without a sign under a header with one: some encoders put two's complement there.
    """
    return syntax in JPEG2000TransferSyntaxes and header.samples == 1 and says_signed(header)


def _without_hidden_bits(
    array: NDArray[np.generic], header: ImageHeader, *, as_sent: bool
) -> NDArray[np.generic]:
    """`array` without what old scanners hide above BitsStored (overlays), its sign kept."""
    kept, bits = header.bits_stored, array.dtype.itemsize * 8
    if array.dtype.kind not in "iu" or not 1 < kept < bits:
        return array
    high = header.value("HighBit") if as_sent else None
    below = int(high or kept - 1) - kept + 1
    above = bits - kept - max(0, below)
    lowest = -(1 << (kept - 1)) if array.dtype.kind == "i" else 0
    clean = below <= 0 and array.min() >= lowest and array.max() < lowest + (1 << kept)
    if above < 0 or clean:
        return array
    # Up to the top and down again: the hidden bits fall out, the sign is spread.
    upwards = np.left_shift(array, array.dtype.type(above))
    moved: NDArray[np.generic] = np.right_shift(upwards, array.dtype.type(bits - kept))
    return moved
