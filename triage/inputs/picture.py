"""PNG and JPEG of any kind as one grey frame."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from triage.decoding.frames import Frame
from triage.inputs.common import LONGEST, within_bounds

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
    zlib.error,
)
_ORIENTATION = 0x0112


def read_picture(file: Path) -> Frame:
    """The picture as a viewer shows it: turned as its EXIF says, transparent parts black.

    Grey runs from 0 to 1. A picture of more than 8 bits is as bright as its bits in use allow: 12
    bits in a file of 16 are no dark image.

    Raises:
        ValueError: neither PNG nor JPEG, damaged, or of more pixels than Pillow takes for a
            picture (179 million).
    """
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            if picture.format == "JPEG" and max(picture.size) > LONGEST:
                picture.draft("L", (LONGEST, LONGEST))  # decodes at half the size, or less
            return Frame(within_bounds(_grey(_upright(picture))), "display")
    except Image.DecompressionBombError:
        raise ValueError("more pixels than a picture has") from None
    except _BROKEN:
        raise ValueError("neither DICOM, PNG nor JPEG, or damaged") from None


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()
    try:
        turned = picture.getexif().get(_ORIENTATION, 1) != 1
    except _BROKEN:  # a broken EXIF block says nothing; the pixels are there
        return picture
    return ImageOps.exif_transpose(picture) if turned else picture


def _grey(picture: Image.Image) -> NDArray[np.float32]:
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, np.float32)
        top = 2.0 ** max(8, int(values.max()).bit_length()) - 1
        return np.asarray(np.clip(values / np.float32(top), 0, 1), np.float32)
    if picture.has_transparency_data:
        whole = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", whole.size, (0, 0, 0, 255)), whole)
    if picture.mode not in ("L", "1"):
        picture = picture.convert("RGB")
    picture = picture.convert("L")
    if (times := -(-max(picture.size) // LONGEST)) > 1 and min(picture.size) >= times:
        picture = picture.reduce(times)  # before it takes four bytes a pixel
    return np.asarray(picture, np.float32) / np.float32(255)
