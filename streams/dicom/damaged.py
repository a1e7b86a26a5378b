"""What is damaged and still names its study is listed, *not analysed*: a header of what is left."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Literal

from streams.dicom import gate
from streams.dicom.elements import Bytes, Syntax, Walker
from streams.dicom.gate import Header, Values
from streams.dicom.patients import BIRTH_DATE, CHARSET, NAME
from streams.errors import Reason, Refuse

_SEARCHED = 1024 * 1024  # bytes: headers of single-frame objects are a tenth of it
_WHOSE = {
    CHARSET: b"CS",
    gate.ACCESSION: b"SH",
    gate.PATIENT_ID: b"LO",
    NAME: b"PN",
    BIRTH_DATE: b"DA",
}
_UIDS = (gate.SOP_CLASS, gate.SOP_INSTANCE, gate.STUDY, gate.SERIES)


def salvage(
    data: Bytes, transfer_syntax: str, *, sop_class: str, sop_instance: str, why: Refuse
) -> Header:
    """The header of an object that the gate refused for `why`, as far as it can be read.

    Values before the damage are read as ever. UIDs that lie behind it are searched for, and
    believed only where all that is found says the same: another's may stand in a sequence. Class
    and instance that are nowhere are those of the request.

    Raises:
        Refuse: `why`, where it is no damage, or where the object does not name its study.
    """
    if why.reason is not Reason.BAD_DICOM:
        raise why
    if transfer_syntax in gate.DEFLATED:
        try:
            data, _ = gate.inflate(data)
        except Refuse:
            raise why from None
    syntax = gate.written(data, transfer_syntax)
    values: Values = {}
    items: dict[int, list[Values]] = {}
    with suppress(Refuse):
        gate.collect(Walker(data, syntax), data, values, items)
    requested = {gate.SOP_CLASS: sop_class.encode(), gate.SOP_INSTANCE: sop_instance.encode()}
    for tag in _UIDS:
        if tag not in values:
            found = _found(data, tag, syntax)
            values[tag] = found or requested.get(tag, b"")
    # Whose it is, and which order it belongs to: an urgent one must not wait for a healthy image.
    for tag, vr in _WHOSE.items():
        if tag not in values and (found := _found(data, tag, syntax, vr)):
            values[tag] = found
    try:
        uids = {tag: gate.uid(values.get(tag, b""), f"{tag:08X}") for tag in _UIDS}
    except Refuse:
        raise why from None
    if uids[gate.SOP_CLASS] != sop_class or uids[gate.SOP_INSTANCE] != sop_instance:
        raise why
    return Header(
        transfer_syntax,
        sop_class,
        sop_instance,
        uids[gate.STUDY],
        uids[gate.SERIES],
        has_pixels=True,  # it is not known, and an image must not be missed
        frames=1,
        values=values,
        items=items,
        damaged=True,
    )


def _found(data: Bytes, tag: int, syntax: Syntax, vr: bytes = b"UI") -> bytes:
    """The only value that elements of `tag` have anywhere near the beginning; empty where there are
    several or none. Without VR only UIDs are searched for: other bytes may look like anything.
    """
    order: Literal["big", "little"] = "big" if syntax.big_endian else "little"
    name = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)
    head = bytes(data[:_SEARCHED])
    bare = rb"|(..)\0\0" if vr == b"UI" else rb"|(?!)(..)"
    values = {
        head[match.end() : match.end() + length].strip(b"\0 ")
        for match in re.finditer(re.escape(name) + b"(?:" + vr + rb"(..)" + bare + b")", head, re.S)
        if 0 < (length := int.from_bytes(match[1] or match[2], order)) <= 64
    }
    return values.pop() if len(values) == 1 else b""
