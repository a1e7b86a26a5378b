"""Association requests, byte by byte."""

from __future__ import annotations

import struct

_CT, _EXPLICIT = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.2.1"


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def context(number: int, abstract: bytes = _CT, *transfers: bytes) -> bytes:
    names = b"".join(item(0x40, name) for name in transfers or (_EXPLICIT,))
    return item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract) + names)


def request(
    called: bytes = b"VIGIE".ljust(16),
    calling: bytes = b"CT1".ljust(16),
    contexts: bytes = context(1),
    user: bytes = b"",
) -> bytes:
    body = b"\x00\x01\x00\x00" + called + calling + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + contexts
    body += item(0x50, item(0x51, struct.pack(">L", 16384)) + user)
    return struct.pack(">BxL", 1, len(body)) + body
