"""A door on loopback with a real broker protocol behind it, and small DICOM objects."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

from streams.dicom.door import DicomDoor
from streams.errors import Reason, Refuse
from streams.events import Event, Parked, decode
from streams.identity.seal import KeyRing
from streams.kafka import topics
from streams.kafka.produce import Publisher
from streams.senders.authorities import Authorities
from streams.settings import StreamsSettings

CT, DX, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Sender:
    name: str = "ct1"
    certificates: tuple[str, ...] = ()
    issuer: str = "HOSP"
    authority: str = "RIS1"
    kind: Literal["modality", "archive", "mixed"] = "modality"
    site: str = "north"
    timezone: str = "Europe/Paris"
    charset: str = "ISO-8859-1"


class Site:
    """Knows everybody but one."""

    authorities = Authorities.model_validate({"authority": {"HOSP": {"names": ["CHU", "1.2.250"]}}})

    def sender_for_ae(self, ae_title: str, address: str) -> Sender:
        if ae_title == "STRANGER":
            raise Refuse(Reason.UNKNOWN_SENDER)
        return Sender()


def image(
    number: int = 1,
    *,
    series: str = "1.2.3.4",
    study: str = "1.2.3",
    sop_class: str = CT,
    modality: str = "CT",
    **more: object,
) -> Dataset:
    """A tiny image: 4×4, 16 bit."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.StudyDate, ds.StudyTime = "20260314", "101500"
    ds.AccessionNumber, ds.Modality = "A1", modality
    ds.PatientName, ds.PatientID, ds.PatientAge = "LEFÈVRE^Zoé", "P1", "045Y"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = bytes(range(32))
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def file_of(ds: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    """`ds` as a DICOM file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    out = io.BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


class Tap:
    """What arrived on topic `series` since the tap was opened."""

    def __init__(self, broker: str) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": f"t{time.monotonic_ns()}",
                "auto.offset.reset": "earliest",
            }
        )
        # Not `subscribe`: joining a group takes the mock cluster three seconds.
        self.consumer.assign(
            [
                TopicPartition("series", partition, 0)
                for partition in range(topics.SERIES.partitions)
            ]
        )
        self.events: list[Event | Parked] = []
        self.keys: list[str] = []

    def until(
        self, enough: Callable[[list[Event | Parked]], bool], timeout_s: float = 20.0
    ) -> list[Event | Parked]:
        """The events, once there are enough."""
        end = time.monotonic() + timeout_s
        while not enough(self.events):
            assert time.monotonic() < end, f"only {len(self.events)} events"
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                self.events.append(decode(message.value()))
                self.keys.append(message.key().decode())
        return self.events


def settings_for(root: Path, broker: str, **more: object) -> StreamsSettings:
    values: dict[str, object] = {
        "kafka": broker,
        "kafka_mock": True,
        "store": root / "store",
        "dicom_port": 0,
        "quiet_s": 0.5,
        "confirm_s": 5.0,
        "store_min_free": 0.0,
    }
    return StreamsSettings(**(values | more))  # type: ignore[arg-type]


@pytest.fixture
def own_broker() -> Iterator[str]:
    """A mock cluster of one test's own, so that topics start empty."""
    producer = Producer({"test.mock.num.brokers": 1})
    yield ",".join(f"{b.host}:{b.port}" for b in producer.list_topics(timeout=5).brokers.values())
    del producer


@pytest.fixture
def door(tmp_path: Path, own_broker: str, ring: KeyRing) -> Iterator[DicomDoor]:
    settings = settings_for(tmp_path, own_broker)
    publisher = Publisher(settings)
    door = DicomDoor(settings, Site(), ring, publisher)
    door.start()
    yield door
    door.stop()
    publisher.close()


@pytest.fixture
def tap(own_broker: str) -> Iterator[Tap]:
    tap = Tap(own_broker)
    yield tap
    tap.consumer.close()


@pytest.fixture(scope="session")
def dicom() -> SimpleNamespace:
    """The makers above, for tests that must not import a conftest."""
    return SimpleNamespace(
        image=image, file_of=file_of, settings=settings_for, Site=Site, Sender=Sender, CT=CT, DX=DX
    )
