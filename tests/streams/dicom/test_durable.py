"""Promise 1 at the DICOM door: a broker that is away or a gateway that is killed loses nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom import AE

from streams import metrics
from streams.dicom import headers, part10, publishing
from streams.dicom.door import DicomDoor
from streams.dicom.upper.wire import BUFFER
from streams.identity.seal import KeyRing
from streams.kafka.produce import Publisher
from streams.storage.durable import Arriving
from tests.streams.dicom.senders import send, with_meta


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
    assert len(event.names()) == 3
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
    tap.until(lambda events: any(len(event.names()) == 3 for event in events))
    door.stop()
    publisher.close()
    assert list(door.store.unpublished()) == []
    road.close()


GATEWAY = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from streams.senders.authorities import Authorities
from streams.dicom.door import DicomDoor
from streams.dicom.upper.wire import BUFFER
from streams.storage.durable import Arriving
from streams.kafka.produce import Publisher
from streams.identity.seal import KeyRing
from streams.settings import StreamsSettings
from streams.senders.site import Sender
settings = StreamsSettings(
    kafka="127.0.0.1:1", store=Path(sys.argv[1]), dicom_port=0, confirm_s=1, store_min_free=0
)
sender = Sender(name="ct1", issuer="H", site="n")
site = SimpleNamespace(sender_for_ae=lambda title, address: sender, authorities=Authorities())
ring = KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32)
door = DicomDoor(settings, site, ring, Publisher(settings))
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
    association = ae.associate("127.0.0.1", ae_title="VIGIE", port=int(gateway.stdout.readline()))
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
    assert len(event.names()) == 7
    door.stop()
    publisher.close()


def test_images_one_association_each_are_not_one_event_each(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    for number in range(1, 13):
        assert send(door.port, with_meta(dicom, dicom.image(number))) == [0]
    events = tap.until(lambda events: any(len(event.names()) == 12 for event in events))
    assert len(events) < 12


def test_a_late_image_makes_a_larger_fragment_whose_times_are_the_new_image_s(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    """What both fragments name was first received with the first: only the new image is late."""
    send(door.port, *(with_meta(dicom, dicom.image(number)) for number in (1, 2)))
    tap.until(lambda events: len(events) == 1)
    late = (dicom.image(number, StudyTime="102000") for number in (3, 4))
    send(door.port, *(with_meta(dicom, image) for image in late))
    first, second = tap.until(lambda events: len(events) == 2)
    assert set(first.names()) < set(second.names())
    assert first.event_id != second.event_id
    assert second.version_key() > first.version_key()
    assert second.received_at > first.received_at
    assert second.acquired_at - first.acquired_at == timedelta(minutes=5)
    assert first.reference == second.reference


def test_the_same_images_again_are_the_same_fragment(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    for count in (1, 2):
        send(door.port, *(with_meta(dicom, dicom.image(number)) for number in (1, 2)))
        tap.until(lambda events, count=count: len(events) == count)
    first, again = tap.events
    assert first.event_id == again.event_id


def test_the_time_of_acquisition_of_a_fragment_is_the_earliest(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    images = [dicom.image(number, StudyTime=f"10{number}000") for number in (3, 1, 2)]
    send(door.port, *(with_meta(dicom, image) for image in images))
    (event,) = tap.until(lambda events: len(events) == 1)
    assert event.acquired_at.isoformat() == "2026-03-14T09:10:00+00:00"


def test_two_patients_in_one_series_are_two_fragments(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    images = [
        dicom.image(1),
        dicom.image(2, PatientID="P9"),
        dicom.image(3, PatientBirthDate="19610402"),
        dicom.image(4, PatientID="P1^^^HOSP"),  # the first one, with all its authority
        dicom.image(5, PatientName="OTHER^SPELLING"),
    ]
    send(door.port, *(with_meta(dicom, image) for image in images))
    events = tap.until(lambda events: len(events) == 3)
    assert sorted(len(event.names()) for event in events) == [1, 1, 3]
    assert len({event.patient for event in events}) == 2
    assert len({event.reference for event in events}) == 3
    assert len({(event.study_uid, event.series_uid) for event in events}) == 1
    for event in events:
        assert list(event.names()) == door.store.instances(event.reference)


def test_an_image_that_is_sent_again_under_its_right_patient_is_another_patient_s_too(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    for count, number in enumerate(("P9", "P1"), 1):
        send(door.port, with_meta(dicom, dicom.image(1, PatientID=number)))
        tap.until(lambda events, count=count: len(events) == count)
    first, second = tap.events
    assert first.names() == second.names()
    assert first.patient != second.patient
    assert not second.other_bytes


def test_other_bytes_under_a_known_uid_are_kept_beside_marked_and_published(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    send(door.port, with_meta(dicom, dicom.image(1)))
    tap.until(lambda events: len(events) == 1)
    send(door.port, with_meta(dicom, dicom.image(1, PixelData=bytes(32))))
    first, second = tap.until(lambda events: len(events) == 2)
    assert (first.other_bytes, second.other_bytes) == (False, True)
    assert set(first.names()) < set(second.names())
    paths = [door.store.path(second.reference, name) for name in second.names()]
    assert len({path.read_bytes() for path in paths}) == 2


def test_a_series_larger_than_one_event_is_several_fragments(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MOST_INSTANCES", 2)
    send(door.port, *(with_meta(dicom, dicom.image(number)) for number in range(1, 6)))
    events = tap.until(lambda events: len(events) == 3)
    assert [len(event.names()) for event in events] == [2, 2, 1]
    assert len({name for event in events for name in event.names()}) == 5
    assert len({event.event_id for event in events}) == 3


def test_a_series_that_no_event_can_hold_holds_up_no_other_series(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace, ring: KeyRing
) -> None:
    made = headers.facts(
        part10.header_of_file(dicom.file_of(dicom.image(1, series="1.2.9"))),
        dicom.Sender(),
        dicom.Site.authorities,
        ring,
        datetime(2026, 3, 14, tzinfo=UTC),
    )
    bad = made.model_copy(update={"sender": "x" * 65})
    reference = door.series.reference(bad)
    door.store.put(reference, "ab" * 8, b"x", lambda _: bad.model_dump_json().encode())
    door.series.added(bad, "ab" * 8, reference=reference)
    door.series.finished(reference)
    send(door.port, with_meta(dicom, dicom.image(1)))
    (event,) = tap.until(lambda events: len(events) == 1)
    assert event.series_uid == "1.2.3.4"
    assert door.alive
    assert [marker.reference for marker in door.store.unpublished()] == [reference]


def test_the_announced_number_publishes_before_the_association_ends(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    ae = AE()
    ae.add_requested_context(dicom.CT, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
    for number in (1, 2):
        association.send_c_store(
            with_meta(dicom, dicom.image(number, NumberOfSeriesRelatedInstances=2))
        )
    (event,) = tap.until(lambda events: len(events) == 1)
    assert (len(event.names()), event.announced) == (2, 2)
    association.release()


def test_a_tomosynthesis_goes_to_the_disk_as_it_comes_and_is_never_held(
    door: DicomDoor, dicom: SimpleNamespace
) -> None:
    """The door's own thread is watched: this process also holds what it sends."""
    size = 64 * 1024 * 1024
    held: list[int] = []
    write = Arriving.write

    def watched(file: Arriving, chunk: Any) -> None:
        held.append(len(chunk))
        write(file, chunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Arriving, "write", watched)
        large = dicom.image(1, Rows=8192, Columns=4096, PixelData=bytes(size))
        assert send(door.port, with_meta(dicom, large)) == [0]
    assert max(held) <= BUFFER
    assert sum(held) > size


def test_a_disk_that_fills_up_within_an_image_is_out_of_resources(
    door: DicomDoor, dicom: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    full = threading.Event()

    def written(handle: int, data: Any) -> int:
        if len(data) > 50_000 and not full.is_set():
            full.set()
            raise OSError(errno.EDQUOT, "quota")
        return write(handle, data)

    monkeypatch.setattr("streams.storage.durable.os.write", written)
    large = dicom.image(1, PixelData=bytes(400_000))
    assert send(door.port, with_meta(dicom, large), with_meta(dicom, dicom.image(2))) == [0xA700, 0]


def test_a_store_that_was_away_for_a_while_ends_neither_publishing_nor_upkeep(
    tap: Any,
    dicom: SimpleNamespace,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "_SWEEP_S", 0.0)
    monkeypatch.setattr("streams.dicom.door._UPKEEP_S", 0.05)
    door: DicomDoor = request.getfixturevalue("door")
    root = tmp_path / "store"
    root.rename(root.with_name("away"))  # as a share that is not mounted
    time.sleep(1.5)
    root.with_name("away").rename(root)
    assert door.alive
    assert send(door.port, with_meta(dicom, dicom.image(1))) == [0]
    tap.until(lambda events: len(events) == 1)


def test_files_and_folders_of_the_store_are_their_owner_s_alone(
    door: DicomDoor, dicom: SimpleNamespace
) -> None:
    before = os.umask(0)
    try:
        assert send(door.port, with_meta(dicom, dicom.image())) == [0]
    finally:
        os.umask(before)
    found = list(door.store._root.rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}
