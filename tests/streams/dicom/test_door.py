"""Promise 1 at the DICOM door with real senders: what is answered is durable and is published."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom import AE

from streams.dicom import part10
from streams.dicom.door import DicomDoor
from streams.events import Number, SeriesReceived
from streams.identity.seal import KeyRing
from streams.kafka.produce import Publisher
from tests.streams.dicom.senders import ENV, send, storescu, with_meta

COMMITMENT = "1.2.840.10008.1.20.1"


@pytest.mark.needs("echoscu")
def test_echo(door: DicomDoor) -> None:
    result = subprocess.run(
        ["echoscu", "-aec", "VIGIE", "127.0.0.1", str(door.port)],
        env=ENV,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0
    assert door.alive


@pytest.mark.needs("storescu")
def test_promise_1_a_real_sender_s_series_is_durable_and_becomes_one_event(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace, tmp_path: Path, ring: KeyRing
) -> None:
    for number in range(1, 6):
        (tmp_path / f"{number}.dcm").write_bytes(dicom.file_of(dicom.image(number)))
    result = storescu(door.port, "+sd", str(tmp_path))
    assert result.returncode == 0, result.stderr
    (event,) = tap.until(lambda events: len(events) >= 1)
    assert isinstance(event, SeriesReceived)
    assert len(event.names()) == 5
    assert list(event.names()) == door.store.instances(event.reference)
    assert (event.modality, event.age_years, event.site, event.kind) == (
        "CT",
        45.0,
        "north",
        "modality",
    )
    assert event.numbers == (Number(kind="accession", authority="RIS1", value="A1"),)
    assert event.acquired_at is not None
    assert event.acquired_at.isoformat() == "2026-03-14T09:15:00+00:00"  # Paris, in winter
    assert event.identity is not None
    identity = ring.open_identity(event.identity)
    assert (identity.name, identity.patient_id, identity.issuer) == ("LEFÈVRE^Zoé", "P1", "HOSP")
    assert "LEF" not in tap.keys[0]
    stored = door.store.path(event.reference, event.names()[0]).read_bytes()
    assert part10.header_of_file(stored).series == "1.2.3.4"
    door.stop()  # what waits is published by now
    assert list(door.store.unpublished()) == []


@pytest.mark.needs("storescu", "corpora")
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("pydicom__693_J2KI", "-xw"),
        ("pydicom__MR_small_RLE", "-xr"),
        ("pydicom__ExplVR_BigEnd", "-xb"),
        ("pydicom__MR_small", "-xi"),
    ],
)
def test_every_transfer_syntax_is_stored_as_received(
    tmp_path: Path, door: DicomDoor, corpora_dir: Path, name: str, option: str
) -> None:
    path = corpora_dir / "dicom" / f"{name}.dcm"
    result = storescu(door.port, option, str(path))
    assert result.returncode == 0, result.stderr
    files = [file for file in (tmp_path / "store").glob("*/*/*") if file.is_file()]
    headers = [part10.header_of_file(file.read_bytes()) for file in files]
    sent = part10.unwrap(path.read_bytes())
    assert [header.sop_instance for header in headers] == [sent.sop_instance]
    if option != "-xi":  # storescu may rewrite the group lengths of a native one
        assert headers[0].transfer_syntax == sent.transfer_syntax


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"StudyInstanceUID": ""}, 0xC000),
        ({"Rows": 65535, "Columns": 65535, "BitsAllocated": 64}, 0xC000),
    ],
)
def test_refusals_have_their_status(
    door: DicomDoor, dicom: SimpleNamespace, change: dict[str, Any], status: int
) -> None:
    assert send(door.port, with_meta(dicom, dicom.image(1, **change))) == [status]
    assert list(door.store.unpublished()) == []


def test_a_full_disk_answers_out_of_resources(
    tmp_path: Path, own_broker: str, dicom: SimpleNamespace, ring: KeyRing
) -> None:
    settings = dicom.settings(tmp_path, own_broker, store_min_free=1.0)
    publisher = Publisher(settings)
    door = DicomDoor(settings, dicom.Site(), ring, publisher)
    door.start()
    assert send(door.port, with_meta(dicom, dicom.image())) == [0xA700]
    door.stop()
    publisher.close()


def test_private_sop_classes_are_stored(door: DicomDoor, dicom: SimpleNamespace) -> None:
    assert send(door.port, with_meta(dicom, dicom.image(sop_class="1.3.6.1.4.1.9999.1"))) == [0]


def test_storage_commitment_is_never_accepted(door: DicomDoor, dicom: SimpleNamespace) -> None:
    ae = AE()
    ae.add_requested_context(COMMITMENT)
    ae.add_requested_context(dicom.CT)
    association = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
    assert [str(context.abstract_syntax) for context in association.rejected_contexts] == [
        COMMITMENT
    ]
    association.release()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x04\x00\xff\xff\xff\xff" + b"x" * 4096,
        b"\x01\x00\xff\xff\xff\xf0",
    ],
)
def test_any_bytes_at_the_port_leave_the_door_alive(
    door: DicomDoor, dicom: SimpleNamespace, junk: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as connection:
        connection.sendall(junk)
    assert send(door.port, with_meta(dicom, dicom.image())) == [0]
