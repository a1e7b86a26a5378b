"""Protocol data units of PS3.8 §9.3: a request is read from any bytes, answers are built."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from streams.errors import Reason, Refuse

ASSOCIATE, DATA, RELEASE, ABORT = 0x01, 0x04, 0x05, 0x07
RELEASED = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
#: Bytes of a P-DATA-TF that we ask for; twice as much is still read.
MAX_DATA = 128 * 1024
#: An association request is at most so long: 128 contexts of many transfer syntaxes.
MAX_REQUEST = 256 * 1024
HEAD = struct.Struct(">BxL")
_ITEM = struct.Struct(">BxH")
_FIXED = 68  # bytes of a request before its items
_CONTEXT_NAME = b"1.2.840.10008.3.1.1.1"
_APPLICATION, _CONTEXT, _USER = 0x10, 0x20, 0x50
_ABSTRACT, _TRANSFER, _LENGTH = 0x30, 0x40, 0x51
#: Ours, from a UUID (PS3.5 §B.2), so that a file and an association say who wrote them.
IMPLEMENTATION_UID = "2.25.163012830247194411503117893245306147121"
IMPLEMENTATION = "VIGIE"
ACCEPTED, NO_ABSTRACT, NO_TRANSFER = 0, 3, 4


@dataclass(frozen=True)
class Context:
    """One presentation context: what is proposed, or what was agreed on (one transfer syntax)."""

    number: int
    abstract: str
    transfers: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """An A-ASSOCIATE-RQ. Titles without padding; what is not ASCII in them became ``?``.

    Attributes:
        max_data: the longest P-DATA-TF that the caller reads, bytes; 0: any.
    """

    called: str
    calling: str
    contexts: tuple[Context, ...]
    max_data: int


def read_request(body: bytes | memoryview) -> Request:
    """The request in `body`, which has no PDU header. Raises Refuse `not_dicom`."""
    data = bytes(body)
    if len(data) < _FIXED or not int.from_bytes(data[:2], "big") & 1:
        raise Refuse(Reason.NOT_DICOM, "association request")
    contexts: list[Context] = []
    longest = 0
    for kind, value in _items(data[_FIXED:]):
        if kind == _CONTEXT:
            contexts.append(_context(value))
        elif kind == _USER:
            lengths = [inner for sub, inner in _items(value) if sub == _LENGTH and len(inner) == 4]
            longest = int.from_bytes(lengths[0], "big") if lengths else 0
    return Request(_title(data[4:20]), _title(data[20:36]), tuple(contexts), longest)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + _ITEM.size > len(data):
            raise Refuse(Reason.NOT_DICOM, "association item")
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if at + length > len(data):
            raise Refuse(Reason.NOT_DICOM, "association item")
        yield kind, data[at : at + length]
        at += length


def _context(value: bytes) -> Context:
    if len(value) < 4:
        raise Refuse(Reason.NOT_DICOM, "presentation context")
    abstract, transfers = "", list[str]()
    for kind, inner in _items(value[4:]):
        if kind == _ABSTRACT:
            abstract = _name(inner)
        elif kind == _TRANSFER:
            transfers.append(_name(inner))
    return Context(value[0], abstract, tuple(transfers))


def _name(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode("ascii", "replace")


def _title(raw: bytes) -> str:
    """An AE title as it may stand in a log line: printable ASCII (PS3.5 §6.2, AE)."""
    text = raw.strip(b"\0 ")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in text)


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return HEAD.pack(kind, len(body)) + body


def accept(called: bytes, results: dict[int, tuple[int, str]]) -> bytes:
    """An A-ASSOCIATE-AC.

    Args:
        called: bytes 4–67 of the request, which are sent back as they came.
        results: context number → its result and, where accepted, its transfer syntax.
    """
    contexts = b"".join(
        _item(
            0x21,
            bytes([number, 0, result, 0])
            + _item(_TRANSFER, (transfer or "1.2.840.10008.1.2").encode()),
        )
        for number, (result, transfer) in results.items()
    )
    user = _item(_LENGTH, MAX_DATA.to_bytes(4, "big"))
    user += _item(0x52, IMPLEMENTATION_UID.encode()) + _item(0x55, IMPLEMENTATION.encode())
    items = _item(_APPLICATION, _CONTEXT_NAME) + contexts + _item(_USER, user)
    return _pdu(0x02, b"\x00\x01\x00\x00" + called.ljust(64, b"\0")[:64] + items)


def reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    return _pdu(0x03, bytes([0, result, source, reason]))


def abort(reason: int) -> bytes:
    """An A-ABORT of the provider (PS3.8 Table 9-26)."""
    return _pdu(0x07, bytes([0, 0, 2, reason]))


def command(context: int, body: bytes, longest: int) -> bytes:
    """A command set as P-DATA-TF, in pieces where the caller reads no longer ones."""
    most = max(16, longest - 6) if longest else len(body)
    pieces = [body[at : at + most] for at in range(0, len(body), most)]
    return b"".join(
        _pdu(
            DATA,
            struct.pack(">LBB", len(piece) + 2, context, 3 if piece is pieces[-1] else 1) + piece,
        )
        for piece in pieces
    )
