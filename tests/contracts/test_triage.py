"""Two real `vigie triage` on a real Kafka: one joins, one is killed; every event has its finding,
and few have two.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pydicom.dataset import FileDataset

from infra.kafka import Kafka
from infra.processes import die_with_parent
from streams.errors import Reason
from streams.events import FindingsMade, SeriesReceived, Version, decode, encode
from streams.identity.seal import KeyRing, write_ring
from streams.instances import pack
from streams.kafka.admin import make_topics
from streams.kafka.topics import FINDINGS, SERIES
from streams.settings import StreamsSettings
from streams.storage.store import Store
from tests.triage.conftest import _make_ct as make_ct

NOW = datetime.now(UTC)  # what arrived long ago is late: that is told first, then screened
POOL = 128
BACKLOG = 3 * POOL
PIXELS_EACH = 50
_WAIT_S = 120.0
_GENERATION = re.compile(r"\bassigned\b.*\bgeneration=(\d+)")


class Worker:
    """A `vigie triage` of its own, ended by SIGTERM at the latest when the test does."""

    def __init__(self, folder: Path, name: str, settings: dict[str, object]) -> None:
        self.ready = folder / f"{name}.ready"
        self.log = folder / f"{name}.log"
        (folder / name).mkdir()
        own = {"name": name, "state": folder / name, "ready_file": self.ready, "metrics_port": 0}
        environment = {
            f"VIGIE_{key.upper()}": str(value) for key, value in (settings | own).items()
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", "triage"],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def loaded(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return "package_loaded" in self.log.read_text()

    def serves(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.ready.exists()

    def generations(self) -> set[int]:
        """Those of its group that gave it something to read."""
        return {int(number) for number in _GENERATION.findall(self.log.read_text())}

    def missed_a_commit(self) -> bool:
        return "last_commit_missed" in self.log.read_text()


@contextmanager
def workers() -> Iterator[list[Worker]]:
    running: list[Worker] = []
    try:
        yield running
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.wait(30)


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Findings:
    """What came out so far: how often each series was answered, and how."""

    def __init__(self, address: str) -> None:
        self.times: Counter[str] = Counter()
        self.reasons: dict[str, Reason | None] = {}
        self._consumer = Consumer(
            {"bootstrap.servers": address, "group.id": "test", "log_level": 0}
        )
        self._consumer.assign(
            [TopicPartition(FINDINGS.name, number, 0) for number in range(FINDINGS.partitions)]
        )

    def read(self) -> int:
        for message in self._consumer.consume(500, 0.1):
            event = decode(message.value() or b"")
            assert isinstance(event, FindingsMade)
            self.times[event.study_uid] += 1
            self.reasons[event.study_uid] = event.reason
        return len(self.times)

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Kafka]:
    with Kafka(tmp_path / "kafka") as running:
        make_topics(StreamsSettings(kafka=running.address))
        yield running


def event(number: int, store: Store, images: list[bytes]) -> SeriesReceived:
    """Most are MR, which no package reads: a finding without pixels. Each 50th is a little CT
    stack.
    """
    study, pixels = f"1.2.{number}", number % PIXELS_EACH == 0
    reference = store.folder(study, f"{study}.1")
    for at, image in enumerate(images if pixels else ()):
        store.put(reference, f"{at:016x}", image, lambda _: b"")
    return SeriesReceived(
        event_id=f"{number:08x}",
        sender="ct",
        received_at=NOW,
        version=Version(time=NOW, message_time=NOW, digest="cd" * 8),
        study_uid=study,
        series_uid=f"{study}.1",
        gateway="g",
        reference=reference,
        instances=pack(store.instances(reference)),
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        modality="CT" if pixels else "MR",
        body_part="HEAD",
        description="CT head",
    )


def publish(address: str, events: list[SeriesReceived]) -> None:
    producer = Producer(
        {"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "log_level": 0}
    )
    for one in events:
        producer.produce(SERIES.name, encode(one), one.study_uid.encode())
    assert producer.flush(30) == 0


def slices(make_ct: Callable[..., FileDataset], folder: Path) -> list[bytes]:
    images = []
    for at in range(3):
        image = make_ct(z=5.0 * at, number=at + 1)
        image.BodyPartExamined = "HEAD"  # as the event says
        image.save_as(folder / "one.dcm", enforce_file_format=True)
        images.append((folder / "one.dcm").read_bytes())
    return images


class Source:
    """What was sent so far."""

    def __init__(self, address: str, store: Store, images: list[bytes]) -> None:
        self._address, self._store, self._images = address, store, images
        self.sent: dict[str, SeriesReceived] = {}

    def send(self, count: int) -> int:
        """So many more; returns how many there are now."""
        events = [
            event(number, self._store, self._images)
            for number in range(len(self.sent), len(self.sent) + count)
        ]
        publish(self._address, events)
        self.sent |= {one.study_uid: one for one in events}
        return len(self.sent)


@pytest.mark.alone
@pytest.mark.needs("java", "mvn")
def test_a_worker_that_joins_repeats_a_pool_at_most_and_a_killed_one_loses_nothing(
    broker: Kafka, tmp_path: Path, ring: KeyRing
) -> None:
    write_ring(ring, tmp_path / "keys.json")
    source = Source(
        broker.address, Store(tmp_path / "store", min_free=0.0), slices(make_ct, tmp_path)
    )
    settings: dict[str, object] = {
        "kafka": broker.address,
        "keys": tmp_path / "keys.json",
        "store": tmp_path / "store",
        "store_min_free": 0,
        "read_ahead": POOL,
        "decoders": 1,
    }
    findings = Findings(broker.address)
    with workers() as running:
        running.append(Worker(tmp_path, "one", settings))
        until(running[0].serves, "the first worker does not serve")
        running.append(Worker(tmp_path, "two", settings))
        until(running[1].loaded, "the second worker loads no package")
        while not running[
            1
        ].serves():  # it joins in the midst of the work: more always waits than a pool holds
            source.send(max(0, findings.read() + BACKLOG - len(source.sent)))
        until(lambda: findings.read() >= len(source.sent), "events are lost when a worker joins")
        repeats = sum(findings.times.values()) - len(source.sent)
        # A machine that stands still may be put out of the group and join it anew.
        joins = len(running[0].generations() | running[1].generations()) - 1
        assert joins >= 1
        if not any(worker.missed_a_commit() for worker in running):
            told = "".join(worker.log.read_text()[-3000:] for worker in running)
            assert repeats <= joins * POOL, told

        before = source.send(0)
        source.send(2 * BACKLOG)
        until(lambda: findings.read() >= before + BACKLOG // 4, "nothing comes any more")
        running[0].process.kill()
        running.pop(0).process.wait()
        until(
            lambda: findings.read() >= len(source.sent), "events are lost when a worker is killed"
        )
    assert set(findings.times) == set(source.sent)
    unread = {Reason.OUTSIDE_MODALITY, Reason.OUTSIDE_BODY_PART, Reason.OUTSIDE_VIEW}
    assert all(
        (findings.reasons[name] in unread) == (one.modality == "MR")
        for name, one in source.sent.items()
    )
    findings.close()
