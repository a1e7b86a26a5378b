"""The process on the mock broker: series become findings, a poison event is parked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from streams.errors import Reason
from streams.events import (
    Finding,
    FindingsMade,
    Number,
    OrderChanged,
    Parked,
    SeriesReceived,
    Version,
    decode,
    encode,
)
from streams.identity.seal import KeyRing, write_ring
from streams.instances import pack
from streams.process import Process, run_process
from streams.storage.store import Store
from triage.decoding.frames import Frame
from triage.decoding.protocol import Wanted
from triage.judging.bodies import Unlike
from triage.settings import TriageSettings
from triage.worker.constancy import ReferenceSeries
from triage.worker.loaded_model import LoadedModel, Verdict
from triage.worker.process import Triage

CT = "1.2.840.10008.5.1.4.1.1.2"


def brightness(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images.mean(axis=(1, 2, 3))


def prepare(frames: Sequence[Frame]) -> NDArray[np.float32]:
    return np.stack([frame.pixels[None, :32, :32] for frame in frames])


def judge(scores: NDArray[np.float32], _unlike: Unlike | None) -> Verdict:
    flagged = bool(scores.max() > 40)
    finding = Finding(
        code="X", name="bright", flagged=flagged, probability=0.9 if flagged else 0.1, threshold=0.5
    )
    return Verdict("flagged" if flagged else "not_flagged", None, (finding,))


def only_ct(series: SeriesReceived) -> Reason | None:
    return None if series.modality == "CT" else Reason.OUTSIDE_MODALITY


MODEL = LoadedModel("bright", "1", only_ct, Wanted(axial=True), prepare, brightness, judge)


def series_event(
    study: str, store: Store, datasets: Sequence[bytes], modality: str = "CT"
) -> SeriesReceived:
    reference = store.folder(study, f"{study}.1")
    for number, data in enumerate(datasets):
        store.put(reference, f"{number:016x}", data, lambda _: b"")
    now = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
    return SeriesReceived(
        event_id="ab" * 16,
        sender="ct1",
        received_at=now,
        version=Version(time=now, message_time=now, digest="cd" * 8),
        numbers=(Number(kind="accession", value=f"A{study}"),),
        study_uid=study,
        series_uid=f"{study}.1",
        gateway="g",
        reference=reference,
        instances=pack(store.instances(reference)),
        sop_class=CT,
        modality=modality,
    )


@pytest.fixture
def settings(tmp_path: Path, ring: KeyRing) -> TriageSettings:
    write_ring(ring, tmp_path / "keys.json")
    return TriageSettings(
        keys=tmp_path / "keys.json",
        store=tmp_path / "store",
        decoders=1,
        kafka_mock=True,
        ready_file=tmp_path / "ready",
        store_min_free=0.0,
        metrics_port=0,
    )


def read(consumer: Consumer, count: int) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(600):
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(message.value() or b"")
        if len(found) >= count:
            break
    return found


async def test_series_become_findings_and_poison_is_parked(
    settings: TriageSettings, tmp_path: Path, ct_file: FileDataset, ring: KeyRing
) -> None:
    broker = Producer({"test.mock.num.brokers": 1})
    address = ",".join(
        f"{b.host}:{b.port}" for b in broker.list_topics(timeout=10).brokers.values()
    )
    settings = settings.model_copy(update={"kafka": address})
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store", min_free=0.0)
    bright, dark = ct_bytes(ct_file, 60, tmp_path), ct_bytes(ct_file, 20, tmp_path)
    now = datetime.now(UTC)
    order = OrderChanged(
        event_id="ef" * 16,
        sender="ris",
        received_at=now,
        priority="stat",
        numbers=(Number(kind="accession", value="A1.2.1"),),
        version=Version(time=now, message_time=now, digest="ab" * 8),
    )
    events = [
        encode(series_event("1.2.1", store, [bright] * 3)),
        b"\xff not an event",
        encode(series_event("1.2.2", store, [dark])),
        encode(series_event("1.2.3", store, [b"no DICOM"])),
        encode(series_event("1.2.4", store, [dark], modality="MR")),
    ]
    client = Producer({"bootstrap.servers": address})
    client.produce("orders", encode(order), b"k", partition=0)
    for topic in ("findings", "parked"):
        client.produce(topic, b"{}", b"k", partition=0)
    for event in events:
        client.produce("series", event, b"k", partition=0)
    client.flush(10)

    def write(folder: Path) -> list[Path]:
        (folder / "bright.dcm").write_bytes(bright)
        return [folder / "bright.dcm"]

    reference = ReferenceSeries("bright", write, (60.0,), 0.01, frozenset(("flagged",)))
    started: list[Triage] = []

    async def main(process: Process) -> None:
        started.append(Triage(process, settings, [MODEL], [reference]))
        await started[0].run()

    running = asyncio.create_task(run_process(settings, main))
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["findings", "parked"])
    values = await asyncio.to_thread(read, consumer, 2 + 5)
    consumer.close()
    triage = started[0]
    intake = triage.intake
    assert intake is not None
    for _ in range(100):
        if len(intake) == 0:
            break
        await asyncio.sleep(0.05)
    assert len(intake) == 0  # all acknowledged, the poison among them
    triage.process.end()
    assert await running == 0
    assert (tmp_path / "ready").exists()

    decoded = [decode(value) for value in values if value != b"{}"]
    found = {event.study_uid: event for event in decoded if isinstance(event, FindingsMade)}
    assert {study: (event.outcome, event.reason) for study, event in found.items()} == {
        "1.2.1": ("flagged", None),
        "1.2.2": ("not_flagged", None),
        "1.2.3": ("not_analysed", Reason.UNDECODABLE_PIXELS),
        "1.2.4": ("not_analysed", Reason.OUTSIDE_MODALITY),
    }
    assert found["1.2.4"].package == ""
    parked = [event for event in decoded if isinstance(event, Parked)]
    assert [(event.reason, event.offset) for event in parked] == [(Reason.BAD_EVENT, 1)]
    assert ring.open(parked[0].original) == events[1]


def ct_bytes(dataset: FileDataset, hounsfield: int, folder: Path) -> bytes:
    dataset.PixelData = np.full(
        (dataset.Rows, dataset.Columns), hounsfield + 1024, dtype=np.int16
    ).tobytes()
    dataset.save_as(folder / "one.dcm", enforce_file_format=True)
    return (folder / "one.dcm").read_bytes()
