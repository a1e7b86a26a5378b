"""Promise 1 at the DICOM door: a broker that is away or a gateway that is killed loses nothing."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pynetdicom import AE

from streams import metrics
from streams.dicom.door import DicomDoor
from streams.kafka.produce import Publisher
from streams.seal import KeyRing
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
settings = StreamsSettings(
    kafka="127.0.0.1:1", store=Path(sys.argv[1]), dicom_port=0, confirm_s=1, store_min_free=0
)
sender = SimpleNamespace(name="ct1", issuer="H", site="n", timezone="UTC")
site = SimpleNamespace(sender_for_ae=lambda title, address: sender)
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
