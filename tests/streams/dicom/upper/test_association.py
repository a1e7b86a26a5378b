"""Any bytes of a caller end an association in one of the ways that there are."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.dicom.upper import commands, pdu
from streams.dicom.upper.admission import Place
from streams.dicom.upper.association import Association, Peer
from streams.dicom.upper.commands import Answer, Command
from streams.dicom.upper.pdu import Context, Request
from streams.dicom.upper.wire import Closed, Wire
from streams.errors import Refuse
from tests.streams.dicom.upper.caller import request


class Door:
    """Takes everything, and remembers what is open."""

    def __init__(self) -> None:
        self.admitted = self.gone = self.begun = self.answered = self.cancelled = 0
        self.held = bytearray()

    def admits(self, request: Request, peer: Peer) -> str:
        self.admitted += 1
        return request.calling

    def agrees(self, proposed: Context) -> tuple[int, str]:
        return pdu.ACCEPTED, next(iter(proposed.transfers), "1.2")

    def takes(self, caller: str, command: Command, context: Context) -> Door:
        self.begun += 1
        return self

    def write(self, chunk: memoryview) -> None:
        self.held += chunk

    def end(self) -> Answer:
        self.answered += 1
        return Answer(0)

    def cancel(self) -> None:
        self.cancelled += 1

    def over(self, caller: str) -> None:
        """Nothing to do."""

    def ended(self, caller: str) -> None:
        self.gone += 1


@contextmanager
def serving(door: Any) -> Iterator[tuple[socket.socket, list[BaseException]]]:
    ours, theirs = socket.socketpair()
    errors: list[BaseException] = []

    def serve() -> None:
        wire = Wire(ours, 5.0)
        try:
            Association(wire, Peer(Place("local", lambda: None)), door, 5.0).serve()
        except (Refuse, Closed, OSError):
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            wire.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield theirs, errors
    finally:
        with suppress(OSError):
            theirs.shutdown(socket.SHUT_WR)
        while theirs.recv(65536):
            pass
        thread.join()
        theirs.close()


def store(data: bytes, *, last: int = 2, context: int = 1) -> bytes:
    """A C-STORE of `data`, in one PDU each."""
    body = b"".join(
        struct.pack("<HHL", 0, number, len(value)) + value
        for number, value in (
            (0x0002, b"1.2\0"),
            (0x0100, struct.pack("<H", commands.STORE)),
            (0x0110, b"\1\0"),
            (0x0800, b"\1\0"),
            (0x1000, b"1.3\0"),
        )
    )
    value = struct.pack(">LBB", len(data) + 2, context, last) + data
    return pdu.command(1, body, 0) + pdu.HEAD.pack(pdu.DATA, len(value)) + value


RELEASE = pdu.HEAD.pack(pdu.RELEASE, 4) + bytes(4)


def test_messages_are_answered_in_their_order_and_the_release_last() -> None:
    door = Door()
    with serving(door) as (caller, errors):
        caller.sendall(request() + store(b"one") + store(b"two") + RELEASE)
    assert errors == []
    assert (door.answered, door.cancelled, bytes(door.held)) == (2, 0, b"onetwo")
    assert door.gone == 1


def test_a_data_set_that_breaks_off_is_cancelled_and_never_answered() -> None:
    door = Door()
    with serving(door) as (caller, errors):
        caller.sendall(request() + store(b"one", last=0))
    assert errors == []
    assert (door.answered, door.cancelled, door.gone) == (0, 1, 1)


_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([RELEASE, store(b"x" * 10), store(b"", context=3), store(b"y", last=1)]),
    st.builds(
        lambda kind, body: pdu.HEAD.pack(kind, len(body)) + body,
        st.integers(0, 9),
        st.binary(max_size=30),
    ),
)


@given(st.booleans(), st.lists(_PIECES, max_size=6))
def test_any_bytes_end_an_association_and_nothing_stays_open(
    asked: bool, pieces: list[bytes]
) -> None:
    door = Door()
    with serving(door) as (caller, errors), suppress(BrokenPipeError, ConnectionResetError):
        caller.sendall((request() if asked else b"") + b"".join(pieces))
    assert errors == []
    assert door.gone == door.admitted
    assert door.begun == door.answered + door.cancelled
