"""Promise 1 at the DICOM door: with real senders, answered means durable, and everything durable is
published.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, _config

from streams import metrics
from streams.dicom import part10
from streams.dicom.door import DicomDoor
from streams.errors import Refuse
from streams.events import ExamProgressed, SeriesReceived
from streams.kafka.produce import Publisher
from streams.seal import KeyRing

MPPS, COMMITMENT = "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.1.20.1"
ENV = os.environ | {"TCP_NODELAY": "1"}


def storescu(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["storescu", "-aec", "VIGIE", "-v", *arguments[:-1], "127.0.0.1", str(port), arguments[-1]],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def send(
    port: int, *datasets: Dataset, context: str | None = None, title: str = "SCU"
) -> list[int]:
    """C-STORE of each in one association; the statuses."""
    ae = AE(ae_title=title)
    for sop_class in {str(ds.SOPClassUID) for ds in datasets} if context is None else {context}:
        ae.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", port)
    assert association.is_established
    statuses = [association.send_c_store(ds).Status for ds in datasets]
    association.release()
    return statuses


def with_meta(dicom: SimpleNamespace, ds: Dataset) -> Dataset:
    dicom.file_of(ds)
    return ds


@pytest.mark.needs("echoscu")
def test_echo(door: DicomDoor) -> None:
    result = subprocess.run(
        ["echoscu", "127.0.0.1", str(door.port)],
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
    assert len(event.instances) == 5
    assert list(event.instances) == door.store.instances(event.reference)
    assert (event.modality, event.age_years, event.accessions, event.site) == (
        "CT",
        45.0,
        ("A1",),
        "north",
    )
    assert event.acquired_at is not None
    assert event.acquired_at.isoformat() == "2026-03-14T09:15:00+00:00"  # Paris, in winter
    assert event.identity is not None
    identity = ring.open_identity(event.identity)
    assert (identity.name, identity.patient_id, identity.issuer) == ("LEFÈVRE^Zoé", "P1", "HOSP")
    assert "LEF" not in tap.keys[0]
    stored = door.store.path(event.reference, event.instances[0]).read_bytes()
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
    if (
        option != "-xi"
    ):  # storescu has read and may have rewritten the group lengths of a native one
        assert headers[0].transfer_syntax == sent.transfer_syntax


def test_promise_1_broker_down_is_still_durable_and_published_after_recovery(
    tmp_path: Path, own_broker: str, tap: Any, dicom: SimpleNamespace, ring: KeyRing
) -> None:
    """The first gateway never reaches a broker and is gone; the next one of the same store
    publishes all.
    """
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings = dicom.settings(tmp_path, f"127.0.0.1:{closed.getsockname()[1]}", confirm_s=0.5)
        publisher = Publisher(settings)
        door = DicomDoor(settings, dicom.Site(), ring, publisher)
        door.start()
        statuses = send(door.port, *(with_meta(dicom, dicom.image(number)) for number in (1, 2, 3)))
        door.stop()
        publisher.close(0.1)
    assert statuses == [0, 0, 0]
    assert len(list(door.store.unpublished())) == 3
    settings = dicom.settings(tmp_path, own_broker)
    publisher = Publisher(settings)
    second = DicomDoor(settings, dicom.Site(), ring, publisher)
    second.start()
    (event,) = tap.until(lambda events: len(events) >= 1)
    assert len(event.instances) == 3
    second.stop()
    publisher.close()
    assert list(second.store.unpublished()) == []


class Road(threading.Thread):
    """A TCP road to the broker that is closed at first."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        host, _, port = target.partition(":")
        self.target = (host, int(port))
        self.open: list[socket.socket] = []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        self.listener.listen()
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(here)
            with contextlib.suppress(OSError):  # the broker has gone before its client
                there = socket.create_connection(self.target)
                self.open.append(there)
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self.listener.close()
        self.join()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def test_promise_1_a_broker_that_comes_back_gets_all_without_a_restart(
    tmp_path: Path, own_broker: str, tap: Any, dicom: SimpleNamespace, ring: KeyRing
) -> None:
    road = Road(own_broker)
    settings = dicom.settings(tmp_path, road.address, confirm_s=0.5)
    publisher = Publisher(settings)
    door = DicomDoor(settings, dicom.Site(), ring, publisher)
    door.start()
    assert send(door.port, *(with_meta(dicom, dicom.image(number)) for number in (1, 2, 3))) == [
        0,
        0,
        0,
    ]
    while not metrics.publish_failed.labels("series")._value.get():
        time.sleep(0.05)
    assert len(list(door.store.unpublished())) == 3
    road.start()
    tap.until(lambda events: any(len(event.instances) == 3 for event in events))
    door.stop()
    publisher.close()
    assert list(door.store.unpublished()) == []
    road.close()


GATEWAY = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from streams.dicom.door import DicomDoor
from streams.kafka.produce import Publisher
from streams.seal import KeyRing
from streams.settings import StreamsSettings
settings = StreamsSettings(kafka="127.0.0.1:1", store=Path(sys.argv[1]), dicom_port=0, confirm_s=1, store_min_free=0)
site = SimpleNamespace(sender_for_ae=lambda title, address: SimpleNamespace(name="ct1", issuer="H", site="n", timezone="UTC"))
door = DicomDoor(settings, site, KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32), Publisher(settings))
door.start()
print(door.port, flush=True)
time.sleep(60)
"""


def test_promise_1_a_gateway_killed_in_mid_association_loses_nothing_answered(
    tmp_path: Path, own_broker: str, tap: Any, dicom: SimpleNamespace, ring: KeyRing
) -> None:
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert gateway.stdout is not None
    ae = AE()
    ae.add_requested_context(dicom.CT, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", int(gateway.stdout.readline()))
    statuses = [
        association.send_c_store(with_meta(dicom, dicom.image(number))).Status
        for number in range(1, 8)
    ]
    connection = association.dul.socket.socket
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    association.abort()
    connection.close()  # pynetdicom forgets it when the other side was killed
    assert statuses == [0] * 7
    settings = dicom.settings(tmp_path, own_broker)
    publisher = Publisher(settings)
    door = DicomDoor(settings, dicom.Site(), ring, publisher)
    door.start()
    (event,) = tap.until(lambda events: len(events) >= 1)
    assert len(event.instances) == 7
    door.stop()
    publisher.close()


def test_images_one_association_each_are_not_one_event_each(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    for number in range(1, 13):
        assert send(door.port, with_meta(dicom, dicom.image(number))) == [0]
    events = tap.until(lambda events: any(len(event.instances) == 12 for event in events))
    assert len(events) < 12


def test_a_late_image_is_a_new_version_of_the_same_series(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    send(door.port, *(with_meta(dicom, dicom.image(number)) for number in (1, 2)))
    tap.until(lambda events: len(events) == 1)
    send(door.port, *(with_meta(dicom, dicom.image(number)) for number in (3, 4)))
    first, second = tap.until(lambda events: len(events) == 2)
    assert set(first.instances) < set(second.instances)
    assert second.version.key() > first.version.key()
    assert first.received_at == second.received_at
    assert first.reference == second.reference


def test_the_announced_number_publishes_before_the_association_ends(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    ae = AE()
    ae.add_requested_context(dicom.CT, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", door.port)
    for number in (1, 2):
        association.send_c_store(
            with_meta(dicom, dicom.image(number, NumberOfSeriesRelatedInstances=2))
        )
    (event,) = tap.until(lambda events: len(events) == 1)
    assert event.complete
    association.release()


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


def test_a_stranger_is_not_authorised(door: DicomDoor, dicom: SimpleNamespace) -> None:
    assert send(door.port, with_meta(dicom, dicom.image()), title="STRANGER") == [0x0124]


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
    association = ae.associate("127.0.0.1", door.port)
    assert [str(context.abstract_syntax) for context in association.rejected_contexts] == [
        COMMITMENT
    ]
    association.release()


def step(status: str, **more: Any) -> Dataset:
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def test_mpps_says_in_progress_and_completed(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    scheduled, performed, reference = Dataset(), Dataset(), Dataset()
    scheduled.StudyInstanceUID, scheduled.AccessionNumber = "1.2.3", "A1"
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = dicom.CT, "1.2.3.4.1"
    performed.SeriesInstanceUID, performed.ReferencedImageSequence = "1.2.3.4", [reference]
    ae = AE()
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", door.port)
    first = step(
        "IN PROGRESS",
        ScheduledStepAttributesSequence=[scheduled],
        PatientID="P1",
        PatientName="X^Y",
    )
    assert association.send_n_create(first, MPPS, "1.9.1")[0].Status == 0
    last = step("COMPLETED", PerformedSeriesSequence=[performed])
    assert association.send_n_set(last, MPPS, "1.9.1")[0].Status == 0
    assert association.send_n_set(last, MPPS, "1.9.2")[0].Status == 0x0112
    association.release()
    began, done = tap.until(lambda events: len(events) == 2)
    assert isinstance(began, ExamProgressed)
    assert isinstance(done, ExamProgressed)
    assert (began.status, done.status, done.announced_instances) == ("in_progress", "completed", 1)
    assert done.study_uids == ("1.2.3",)
    assert done.accessions == ("A1",)
    assert done.patient == began.patient is not None
    send(door.port, with_meta(dicom, dicom.image(1)))
    event = tap.until(lambda events: len(events) == 3)[-1]
    assert event.complete
    assert len(set(tap.keys)) == 1


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


def test_more_connections_than_allowed_are_closed(
    tmp_path: Path, own_broker: str, dicom: SimpleNamespace, ring: KeyRing
) -> None:
    settings = dicom.settings(tmp_path, own_broker, dicom_connections=1)
    publisher = Publisher(settings)
    door = DicomDoor(settings, dicom.Site(), ring, publisher)
    door.start()
    silent = [socket.create_connection(("127.0.0.1", door.port), timeout=5) for _ in range(2)]
    while door._server is not None and len(door._server.active_associations) < 2:
        time.sleep(0.02)
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as third:
        assert third.recv(1) == b""
    for connection in silent:
        connection.close()
    door.stop()
    publisher.close()


@pytest.mark.needs("corpora")
def test_every_file_of_the_corpora_is_stored_or_clearly_refused(
    door: DicomDoor, corpora_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sender would send them, byte for byte, where the file itself can be taken apart."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)
    stored = refused = apart = 0
    by_context: dict[tuple[str, str], list[tuple[part10.File, bytes]]] = {}
    for path in sorted((corpora_dir / "dicom").glob("*.dcm")):
        data = path.read_bytes()
        try:
            file = part10.unwrap(data)
        except Refuse:
            apart += 1
            continue
        by_context.setdefault((file.sop_class, file.transfer_syntax), []).append(
            (file, data[file.start :])
        )
    for context, files in by_context.items():
        ae = AE()
        ae.add_requested_context(*context)
        association = ae.associate("127.0.0.1", door.port)
        if not association.accepted_contexts:  # a DICOMDIR is not sent by C-STORE
            apart += len(files)
        else:
            for file, data in files:
                status = raw_store(association, file, data)
                assert status in (0, 0xA900, 0xC000)
                stored, refused = stored + (status == 0), refused + (status != 0)
        association.release()
    assert stored > 190
    assert refused + apart < 60


def raw_store(association: Any, file: part10.File, data: bytes) -> int:
    """C-STORE of bytes as they are, which pynetdicom's own sender would decode and encode anew."""
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = file.sop_class, file.sop_instance
    request.DataSet = BytesIO(data if len(data) % 2 == 0 else data + b"\0")
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)
