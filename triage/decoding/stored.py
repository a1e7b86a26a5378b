"""From a file to its stored values: each transfer syntax through its decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEGExtended12Bit, RLELossless

from streams.errors import Reason
from triage.decoding.image_header import BROKEN, ImageHeader
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
    if syntax == JPEGExtended12Bit and int(header.dataset.get("BitsStored") or 0) > 8:
        # The only wheel that reads 12-bit JPEG is under the GPL.
        raise NotAnalysed(Reason.NO_DECODER)
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
            # Codecs give the value itself; these two leave the bits above BitsStored as sent.
            yield _without_hidden_bits(array, header) if plain or syntax == RLELossless else array
    except NotImplementedError:
        raise NotAnalysed(Reason.NO_DECODER) from None
    except MemoryError:
        raise NotAnalysed(Reason.DECODE_LIMIT) from None
    except BROKEN as error:
        lacks = isinstance(error, AttributeError) and "no pixel data" in str(error)
        raise NotAnalysed(Reason.NO_PIXELS if lacks else Reason.UNDECODABLE_PIXELS) from None


def _without_hidden_bits(array: NDArray[np.generic], header: ImageHeader) -> NDArray[np.generic]:
    """`array` without what old scanners hide above BitsStored (overlays), its sign kept."""
    kept = header.dataset.get("BitsStored")
    if not isinstance(kept, int) or array.dtype.kind not in "iu" or not 1 < kept < header.bits:
        return array
    below = int(header.dataset.get("HighBit") or kept - 1) - kept + 1
    above = header.bits - kept - max(0, below)
    lowest = -(1 << (kept - 1)) if array.dtype.kind == "i" else 0
    clean = below <= 0 and array.min() >= lowest and array.max() < lowest + (1 << kept)
    if above < 0 or clean:
        return array
    # Up to the top and down again: the hidden bits fall out, the sign is spread.
    upwards = np.left_shift(array, array.dtype.type(above))
    moved: NDArray[np.generic] = np.right_shift(upwards, array.dtype.type(header.bits - kept))
    return moved
