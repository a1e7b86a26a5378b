"""Command sets of PS3.7 Annex E: a request is read from any bytes, its response is built."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from streams.errors import Reason, Refuse

STORE, ECHO, SET, CREATE, CANCEL = 0x0001, 0x0030, 0x0120, 0x0140, 0x0FFF
_RESPONSE = 0x8000
_NO_DATA = 0x0101
_CLASS, _CLASS_REQUESTED, _FIELD, _ID, _ANSWERED = 0x0002, 0x0003, 0x0100, 0x0110, 0x0120
_DATA_SET, _STATUS, _COMMENT, _ERROR_ID = 0x0800, 0x0900, 0x0902, 0x0903
_INSTANCE, _INSTANCE_REQUESTED = 0x1000, 0x1001
_COMMENT_CHARACTERS = 64  # LO
MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Command:
    """One request: what is asked (`field`), of which class and instance; as written, unchecked."""

    field: int
    message_id: int
    sop_class: str
    sop_instance: str
    has_data: bool


@dataclass(frozen=True)
class Answer:
    """What a request is answered.

    Attributes:
        comment: why, in words of ours (Error Comment); never a value.
        error_id: Error ID, where the service class has one.
        instance: the SOP Instance UID that was given out, where the request named none.
    """

    status: int
    comment: str = ""
    error_id: int = 0
    instance: str = ""


def read(data: bytes) -> Command:
    """The request in `data` (implicit VR little endian). Raises Refuse `not_dicom`."""
    values: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise Refuse(Reason.NOT_DICOM, "command")
        group, number, length = struct.unpack_from("<HHL", data, at)
        at += 8
        if group != 0 or at + length > len(data):
            raise Refuse(Reason.NOT_DICOM, "command")
        values[number] = data[at : at + length]
        at += length
    field, message = _number(values, _FIELD), _number(values, _ID)
    if field is None or message is None or field & _RESPONSE:
        raise Refuse(Reason.NOT_DICOM, "command")
    return Command(
        field=field,
        message_id=message,
        sop_class=_uid(values.get(_CLASS) or values.get(_CLASS_REQUESTED) or b""),
        sop_instance=_uid(values.get(_INSTANCE) or values.get(_INSTANCE_REQUESTED) or b""),
        has_data=_number(values, _DATA_SET) != _NO_DATA,
    )


def _number(values: dict[int, bytes], tag: int) -> int | None:
    raw = values.get(tag, b"")
    return int.from_bytes(raw, "little") if len(raw) == 2 else None


def _uid(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode("ascii", "replace")


def response(command: Command, answer: Answer) -> bytes:
    """The command set that answers `command`; without a data set."""
    elements = [
        _element(_CLASS, _text(command.sop_class, b"\0")),
        _element(_FIELD, struct.pack("<H", command.field | _RESPONSE)),
        _element(_ANSWERED, struct.pack("<H", command.message_id)),
        _element(_DATA_SET, struct.pack("<H", _NO_DATA)),
        _element(_STATUS, struct.pack("<H", answer.status)),
    ]
    if answer.comment:
        elements.append(_element(_COMMENT, _text(answer.comment[:_COMMENT_CHARACTERS], b" ")))
    if answer.error_id:
        elements.append(_element(_ERROR_ID, struct.pack("<H", answer.error_id)))
    if instance := answer.instance or command.sop_instance:
        elements.append(_element(_INSTANCE, _text(instance, b"\0")))
    body = b"".join(elements)
    return _element(0x0000, struct.pack("<L", len(body))) + body


def _text(text: str, padding: bytes) -> bytes:
    raw = text.encode("ascii", "replace")
    return raw + padding * (len(raw) % 2)


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value
