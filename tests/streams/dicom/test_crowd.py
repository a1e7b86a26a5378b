"""A gateway's memory is bounded, whoever calls and whatever they send; bombs stop nobody else."""

from __future__ import annotations

import socket
import struct
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from pynetdicom import AE

from infra.bench.process import process
from infra.demo.site import make_site
from infra.embedded import MockKafka, free_port
from streams.dicom import part10
from streams.dicom.door import DicomDoor
from streams.dicom.upper import pdu
from streams.identity.seal import KeyRing
from tests.streams.dicom import crowd
from tests.streams.dicom.senders import raw_store, send, with_meta
from tests.streams.dicom.upper.caller import request

MOST_MIB = 200


@pytest.mark.slow
def test_idle_callers_and_large_images_take_no_memory(tmp_path: Path, ring: KeyRing) -> None:
    """300 idle associations, 20 senders, two images of 300 MB among theirs. By hand: 500, 50 and
    1 GB, 148 MiB.
    """
    broker, port = MockKafka(), free_port()
    settings: dict[str, object] = {
        "site": make_site(tmp_path / "site", historic=True, token="t"),
        "dicom_port": port,
        "mllp_port": 0,
        "http_port": 0,
        "store": tmp_path / "store",
        "store_min_free": 0,
    }
    with process("gateway", tmp_path, broker.address, ring, settings):
        (gateway,) = [
            child.pid
            for child in psutil.Process().children(recursive=True)
            if child.cmdline()[-1:] == ["gateway"]
        ]
        peak, over = [0.0], threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                peak.append(crowd.resident_mib(gateway))

        statuses: list[int] = []

        def act(number: int) -> None:
            size = 300_000_000 if number < 2 else 525_000
            with crowd.associated(port, f"ACT{number}") as connection:
                statuses.append(crowd.store(connection, f"1.2.3.4.{number}", size))

        with crowd.idle(port, 300):
            threads = [threading.Thread(target=watch)]
            threads += [threading.Thread(target=act, args=(number,)) for number in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads[1:]:
                thread.join()
            over.set()
            threads[0].join()
    broker.stop()
    assert statuses == [0] * 20
    assert max(peak) < MOST_MIB


def deflated(size: int) -> bytes:
    """A data set whose end inflates to so many zeros."""
    head = crowd._header(b"1.2.3.4.9", size)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(head) + packer.compress(bytes(size)) + packer.flush()


BOMBS: dict[str, tuple[str, Any]] = {
    "deflate": ("1.2.840.10008.1.2.1.99", lambda _dicom: deflated(500_000_000)),
    "dimensions": (
        "1.2.840.10008.1.2.4.90",
        lambda dicom: dicom.image(9, Rows=65535, Columns=65535, BitsAllocated=64),
    ),
    "frames": (
        "1.2.840.10008.1.2.5",
        lambda dicom: dicom.image(9, NumberOfFrames=2**31 - 1, Rows=512, Columns=512),
    ),
    "depth": (
        "1.2.840.10008.1.2.1",
        lambda _dicom: (
            b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
        ),
    ),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_is_refused_while_an_honest_sender_is_served(
    door: DicomDoor, dicom: SimpleNamespace, name: str
) -> None:
    syntax, make = BOMBS[name]
    made = make(dicom)
    if not isinstance(made, bytes):
        file = dicom.file_of(made)
        made = file[part10.unwrap(file).start :]
    before = crowd.resident_mib(psutil.Process().pid)
    answers: list[int] = []

    def bomb() -> None:
        ae = AE(ae_title="BOMB")
        ae.add_requested_context(dicom.CT, syntax)
        association = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
        what = part10.File(syntax, dicom.CT, "1.2.3.4.9", 0)
        answers.append(raw_store(association, what, made))
        association.release()

    thread = threading.Thread(target=bomb)
    thread.start()
    assert send(door.port, with_meta(dicom, dicom.image(1))) == [0]
    thread.join()
    assert answers == [0xC000]
    assert crowd.resident_mib(psutil.Process().pid) - before < 100
    assert list(door.store._root.glob("arriving/*")) == []


def test_a_thousand_sockets_keep_nobody_out(door: DicomDoor) -> None:
    """The honest sender is a bare one: pynetdicom's `select` reads no file descriptor over 1023."""
    held = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(1000)]
    began = time.monotonic()
    with crowd.associated(door.port, "HONEST") as honest:
        assert crowd.store(honest, "1.2.3.4.1", 100_000) == 0
    assert time.monotonic() - began < 10
    for connection in held:
        connection.close()


@pytest.mark.parametrize("length", [0, 1, 7, 2**32 - 1])
def test_lengths_that_nobody_may_claim_end_the_association_alone(
    door: DicomDoor, dicom: SimpleNamespace, length: int
) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as liar:
        liar.sendall(request())
        assert liar.recv(4096)[:1] == b"\x02"
        liar.sendall(pdu.HEAD.pack(pdu.DATA, length) + struct.pack(">LBB", 2**31, 1, 3) + b"x" * 64)
        rest = b""
        while piece := liar.recv(4096):
            rest += piece
        assert rest == pdu.abort(6)
    assert send(door.port, with_meta(dicom, dicom.image())) == [0]
