"""How many frames a file's pixel data holds, whatever its header counts."""

from __future__ import annotations

import struct
from typing import BinaryIO

from triage.decoding.image_header import ImageHeader

_UNDEFINED = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_LONG = (b"OB", b"OW", b"OF", b"OD", b"UN")
#: How a codestream begins: JPEG and JPEG-LS, JPEG 2000, JPEG XL.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0c")
#: How one of JPEG or JPEG-LS ends.
_END = b"\xff\xd9"
_SIGN_AT = 42  # from the start of a JPEG 2000 codestream: Ssiz (ISO 15444-1 §A.5.1)
_MOST_BEFORE = 4096  # bytes in which that is, boxes included


def frames_there(header: ImageHeader) -> int:
    """Whole frames in the pixel data of a file that is not deflated; 0 where there is none.

    Of fragments those count that a codestream begins in: a frame may have several (PS3.5 §A.4).
    """
    with header.path.open("rb") as file:
        file.seek(header.pixels_at)
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
            return 0
        big_endian = head[:2] == b"\x7f\xe0"
        at = 8 if head[4:6] in _LONG else 4
        file.seek(at + 4 - len(head), 1)
        (length,) = struct.unpack(">L" if big_endian else "<L", head[at : at + 4])
        return _fragments(file) if length == _UNDEFINED else int(length // header.frame_bytes)


def cut_frames(header: ImageHeader) -> set[int]:
    """Frames of JPEG or JPEG-LS whose codestream has no end: a decoder may read on for seconds."""
    with header.path.open("rb") as file:
        file.seek(header.pixels_at + 12)
        table = _item(file)
        if table is None:
            return set()
        file.seek(table, 1)
        ended: list[bool] = []
        while (length := _item(file)) is not None:
            data = file.read(length)
            if data.startswith(_STARTS) or not ended:
                ended.append(False)
            ended[-1] = data.rstrip(b"\0\xff").endswith(_END)  # some pad with FF
    return {frame for frame, whole in enumerate(ended) if not whole}


def says_signed(header: ImageHeader) -> bool:
    """Whether the first codestream of a JPEG 2000 file says that its values have a sign."""
    with header.path.open("rb") as file:
        file.seek(header.pixels_at + 12)
        table = _item(file)
        if table is None:
            return False
        file.seek(table, 1)
        length = _item(file) or 0
        data = file.read(min(length, _MOST_BEFORE))
    at = data.find(b"\xff\x4f\xff\x51")  # behind the boxes of a JP2 file, or first
    return 0 <= at < len(data) - _SIGN_AT and bool(data[at + _SIGN_AT] & 0x80)


def _fragments(file: BinaryIO) -> int:
    """Fragments that begin a frame, the offset table apart."""
    table = _item(file)
    if table is None:
        return 0
    file.seek(table, 1)
    begun = others = 0
    while (length := _item(file)) is not None:
        start = file.read(min(4, length))
        begun += start.startswith(_STARTS)
        others += not start.startswith(_STARTS)
        file.seek(length - len(start), 1)
    # RLE has no marker: each fragment is a frame.
    return begun or others


def _item(file: BinaryIO) -> int | None:
    """The length of the item that begins here; None where none does."""
    head = file.read(8)
    if len(head) < 8 or head[:4] != _ITEM:
        return None
    (length,) = struct.unpack("<L", head[4:])
    return None if length == _UNDEFINED else int(length)
