"""The PROXY protocol, version 2 (HAProxy): whom a balancer speaks for."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from streams.errors import Reason, Refuse

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = 16
_MOST = 1024  # bytes after the head: addresses and what else a balancer tells
#: Transport byte → bytes of an address.
_ADDRESSES = {0x11: 4, 0x21: 16}


async def origin(connection: socket.socket, balancer: str) -> str:
    """The address that a listed balancer says it speaks for; its own where it speaks for itself.

    Reads the header and not a byte more: TLS may follow.

    Raises:
        Refuse: `not_hl7` where it says something else.
    """
    head = await _exactly(connection, _HEAD)
    length = int.from_bytes(head[14:16], "big")
    if not head.startswith(_SIGNATURE) or head[12] >> 4 != 2 or length > _MOST:
        raise Refuse(Reason.NOT_HL7, "PROXY")
    rest = await _exactly(connection, length)
    if head[12] & 0xF == 0:  # LOCAL: the balancer looks whether we live
        return balancer
    size = _ADDRESSES.get(head[13])
    if head[12] & 0xF != 1 or size is None or length < 2 * size + 4:
        raise Refuse(Reason.NOT_HL7, "PROXY")
    return str(ipaddress.ip_address(rest[:size]))


async def _exactly(connection: socket.socket, count: int) -> bytes:
    loop, found = asyncio.get_running_loop(), b""
    while len(found) < count:
        more = await loop.sock_recv(connection, count - len(found))
        if not more:
            raise Refuse(Reason.NOT_HL7, "PROXY")
        found += more
    return found
