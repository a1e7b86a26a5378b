"""The file wrapper of PS3.10 §7: written around each stored data set, and read under the gate."""

from __future__ import annotations

from dataclasses import dataclass

from streams.dicom import gate
from streams.dicom.elements import Bytes, Syntax, Walker
from streams.dicom.upper.pdu import IMPLEMENTATION, IMPLEMENTATION_UID
from streams.errors import Reason, Refuse

_SYNTAX = Syntax(implicit=False)
_MAX_META = 64 * 1024  # bytes; real ones have some hundred
_CLASS, _INSTANCE, _TRANSFER = 0x00020002, 0x00020003, 0x00020010


@dataclass(frozen=True)
class File:
    """A DICOM file taken apart: what its meta information says, and where its data set starts."""

    transfer_syntax: str
    sop_class: str
    sop_instance: str
    start: int


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    long = (
        b"\0\0" + len(value).to_bytes(4, "little")
        if vr == b"OB"
        else len(value).to_bytes(2, "little")
    )
    return b"\x02\x00" + number.to_bytes(2, "little") + vr + long + value


def wrapper(transfer_syntax: str, sop_class: str, sop_instance: str) -> bytes:
    """Preamble and meta information for a data set. The same for the same instance, whoever sent it
    and when.
    """
    body = (
        _element(0x0001, b"OB", b"\0\1")
        + _element(0x0002, b"UI", sop_class.encode("ascii"))
        + _element(0x0003, b"UI", sop_instance.encode("ascii"))
        + _element(0x0010, b"UI", transfer_syntax.encode("ascii"))
        + _element(0x0012, b"UI", IMPLEMENTATION_UID.encode("ascii"))
        + _element(0x0013, b"SH", IMPLEMENTATION.encode("ascii"))
    )
    return bytes(128) + b"DICM" + _element(0x0000, b"UL", len(body).to_bytes(4, "little")) + body


def unwrap(data: Bytes) -> File:
    """Takes a file apart. A file without preamble or meta information is refused: nothing says how
    it is written.

    Raises:
        Refuse: `bad_dicom` or `bad_uid`, whatever the bytes.
    """
    if bytes(data[128:132]) != b"DICM":
        raise Refuse(Reason.BAD_DICOM, "preamble")
    head = data[132 : 132 + _MAX_META]
    walker = Walker(head, _SYNTAX)
    first = next(walker.elements(0, len(head)), None)
    if first is None or first.tag != 0x00020000 or first.end - first.start != 4:
        raise Refuse(Reason.BAD_DICOM, "meta length")
    end = first.end + int.from_bytes(head[first.start : first.end], "little")
    if end > len(head):
        raise Refuse(Reason.BAD_DICOM, "meta length")
    values = {
        element.tag: head[element.start : element.end]
        for element in walker.elements(first.end, end)
    }
    if any(tag >> 16 != 2 for tag in values):
        raise Refuse(Reason.BAD_DICOM, "meta length")
    uids = [gate.uid(values.get(tag, b""), f"{tag:08X}") for tag in (_TRANSFER, _CLASS, _INSTANCE)]
    return File(uids[0], uids[1], uids[2], 132 + end)


def header_of_file(data: Bytes) -> gate.Header:
    """The checked header of a whole file. Raises Refuse as `unwrap` and `gate.header`."""
    file = unwrap(data)
    return gate.header(
        memoryview(data)[file.start :],
        file.transfer_syntax,
        sop_class=file.sop_class,
        sop_instance=file.sop_instance,
    )
