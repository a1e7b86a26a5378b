"""Many callers at once, by raw sockets: idle associations, and images of any size."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from streams.dicom.upper import pdu
from tests.streams.dicom.upper.caller import request

_CT = b"1.2.840.10008.5.1.4.1.1.2"
_PIECE = 120 * 1024


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def _command(uid: bytes) -> bytes:
    body = _element(0x0002, _CT) + _element(0x0100, b"\1\0") + _element(0x0110, b"\1\0")
    body += _element(0x0700, b"\0\0") + _element(0x0800, b"\1\0") + _element(0x1000, uid)
    return _element(0x0000, struct.pack("<L", len(body))) + body


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return head + vr + struct.pack("<H", len(value)) + value


def _header(uid: bytes, pixels: int) -> bytes:
    return (
        _explicit(0x00080016, b"UI", _CT)
        + _explicit(0x00080018, b"UI", uid)
        + _explicit(0x00100020, b"LO", b"P1")
        + _explicit(0x0020000D, b"UI", b"1.2.3")
        + _explicit(0x0020000E, b"UI", b"1.2.3.4")
        + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, pixels)
    )


def associated(port: int, title: str) -> socket.socket:
    """A connection with an association."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.sendall(request(calling=title.encode().ljust(16)))
    kind, length = pdu.HEAD.unpack(_exactly(connection, 6))
    assert kind == 2, f"the answer to the request is {kind}"
    _exactly(connection, length)
    return connection


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        assert piece, "closed"
        data += piece
    return data


def store(connection: socket.socket, uid: str, size: int) -> int:
    """Sends an image of about `size` bytes; the status."""
    left = size - size % 2
    connection.sendall(pdu.command(1, _command(uid.encode()), 0))
    waiting, zeros = _header(uid.encode(), left), bytes(_PIECE)
    while True:
        take = min(left, _PIECE - len(waiting))
        waiting += zeros[:take]
        left -= take
        last = 2 if left == 0 else 0
        connection.sendall(
            pdu.HEAD.pack(pdu.DATA, len(waiting) + 6)
            + struct.pack(">LBB", len(waiting) + 2, 1, last)
            + waiting
        )
        waiting = b""
        if last:
            break
    _, length = pdu.HEAD.unpack(_exactly(connection, 6))
    answer = _exactly(connection, length)
    at = answer.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
    return int.from_bytes(answer[at : at + 2], "little")


@contextmanager
def idle(port: int, count: int) -> Iterator[None]:
    """`count` associations that say nothing."""
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(associated(port, f"IDLE{number % 50}"))
        yield


def resident_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
