"""A study's path: the modules of ours that an order and a series enter from the doors to the page.

Each is a file that somebody reads who wants to know what becomes of a study. The list is printed,
and the test fails when it grows. A file that was merged only for the count would be a defect.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition
from pynetdicom import AE
from typer.testing import CliRunner

from infra.demo import dicom_files, hl7_messages
from infra.demo.case import EXPLICIT, Case, Patient
from infra.demo.site import make_site
from infra.embedded import MockKafka, Postgres
from streams.dicom.door import DicomDoor
from streams.hl7.door import MllpDoor
from streams.hl7.wire.framing import frame
from streams.identity.seal import KeyRing, write_ring
from streams.kafka import topics
from streams.kafka.consume import Fate, Origin, Settler
from streams.kafka.produce import Publisher
from streams.senders.site import load_site
from streams.settings import StreamsSettings
from tests.worklist.web_client import as_role, web_settings
from triage.commands import app as triage_command
from worklist.agent import Stage
from worklist.order.policy import load
from worklist.settings import WorklistSettings
from worklist.sql import policy_store
from worklist.sql.database import make_engine, migrate
from worklist.sql.writing.opening import Opener
from worklist.web.app import create_app

ROOT = Path(__file__).parents[2]
SITE = ROOT / "infra" / "site"
CASE = Case(
    number=1,
    accession="A1",
    study_uid="1.2.3",
    patient=Patient("P1", "DOE", "JO", "19660102", "F"),
    kind="head_ct",
    finding="subdural",
    priority="S",
    location="E",
    syntax=EXPLICIT,
    seed=1,
    age="060Y",
    read_s=60.0,
)

#: Of each stage the modules that it may have, and those that it has while that is still more: the
#: second rises only with a reason in decision 0025. The decoders' processes are not part of it.
BOUNDS = {
    "door of orders": (7, 18),
    "door of series": (7, 18),
    "stream": (5, 10),
    "screening": (12, 25),
    "record": (7, 28),
    "page": (7, 26),
}
#: What every module uses and nobody reads for a study's sake.
APART = {"settings", "errors", "metrics", "events", "sealed", "instances", "__init__"}
CHILD = "triage.decoding.child"


class Watch:
    """Which modules of ours are entered, by what is going on."""

    def __init__(self) -> None:
        self.entered: dict[str, set[str]] = {}
        self._now: set[str] | None = None
        self._names: dict[str, str] = {}

    def __call__(self, entered: FrameType, event: str, _arg: Any) -> None:
        now, code = self._now, entered.f_code
        # A function's code, not that of a module or class that is being imported.
        if now is None or event != "call" or not code.co_flags & inspect.CO_OPTIMIZED:
            return
        name = self._names.get(code.co_filename)
        if name is None:
            name = self._names[code.co_filename] = _module(code.co_filename)
        if name:
            now.add(name)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """What is entered from here on is entered for `what`."""
        self._now = self.entered[what] = set()
        yield
        self._now = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches this thread and each that it and others begin."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def _module(filename: str) -> str:
    """`streams.hl7.door`; empty where the file is not ours, or apart."""
    path = Path(filename)
    if path.suffix != ".py" or not path.is_relative_to(ROOT):
        return ""
    parts = path.relative_to(ROOT).with_suffix("").parts
    ours = parts[0] in {"streams", "triage", "worklist"} and not APART & set(parts)
    return ".".join(parts) if ours else ""


def stages(entered: dict[str, set[str]]) -> dict[str, list[str]]:
    """The modules of each stage, by the place that they have and by what was going on."""
    sent = entered["order"] | entered["series"]
    street = {name for name in sent if name.startswith("streams.")}
    doors = {name for name in street if name.startswith(("streams.hl7.", "streams.dicom."))}
    doors |= street & {
        "streams.senders.site",
        "streams.senders.seen",
    }  # who is calling, and what they did
    found = {
        # the other door publishes what waits each second, meanwhile too
        "door of orders": {n for n in doors & entered["order"] if "dicom" not in n},
        "door of series": doors & entered["series"],
        "stream": street - doors,
        "screening": {name for name in sent if name.startswith("triage.")} - {CHILD},
        "record": {name for name in entered["record"] if name.startswith("worklist.")},
        "page": {name for name in entered["page"] if name.startswith("worklist.")},
    }
    return {stage: sorted(modules) for stage, modules in found.items()}


class Street:
    """A broker in memory, the two doors on loopback, and what lies in the topics."""

    def __init__(self, folder: Path, ring: KeyRing, kafka: str) -> None:
        self.settings = StreamsSettings(
            kafka=kafka,
            kafka_mock=True,
            site=make_site(folder / "site", historic=True, token="t"),
            store=folder / "store",
            keys=folder / "keys.json",
            mllp_port=0,
            dicom_port=0,
            store_min_free=0.0,
        )
        write_ring(ring, self.settings.keys)
        self.ring = ring

    async def play(self, watch: Watch) -> None:
        """An order and a series through their doors, until the series' findings are there."""
        site, publisher = load_site(self.settings.site), Publisher(self.settings)
        mllp = MllpDoor(self.settings, site, self.ring, publisher, new_id=lambda: "V1")
        dicom = DicomDoor(self.settings, site, self.ring, publisher)
        await mllp.start()
        dicom.start()
        images = dicom_files.instances(CASE, datetime.now(UTC))
        message = hl7_messages.build("order", CASE, "M1", datetime.now(UTC))
        with watch.during("order"):
            assert b"MSA|AA|M1" in await asyncio.to_thread(_ask, mllp.port, frame(message))
            await asyncio.to_thread(self.read, "orders")
        with watch.during("series"):
            assert set(await asyncio.to_thread(_store, dicom.port, images)) == {0}
            await asyncio.to_thread(self.read, "findings")
        await mllp.stop()
        dicom.stop()
        publisher.close()

    def read(self, topic: str) -> list[Origin]:
        """What lies in `topic`, once something does."""
        consumer = Consumer({"bootstrap.servers": self.settings.kafka, "group.id": "reads"})
        (count,) = (known.partitions for known in topics.ALL if known.name == topic)
        consumer.assign([TopicPartition(topic, number, 0) for number in range(count)])
        end, found = time.monotonic() + 60, list[Origin]()
        while not found:
            assert time.monotonic() < end, f"nothing came into {topic}"
            for message in consumer.consume(10, 0.2):
                assert message.error() is None
                partition, offset = message.partition(), message.offset()
                key, value = message.key(), message.value()
                assert partition is not None
                assert offset is not None
                found.append(Origin(topic, partition, offset, key or b"", value or b""))
        consumer.close()
        return found


def _ask(port: int, message: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as door:
        door.sendall(message)
        return door.recv(65536)


def _store(port: int, images: list[Any]) -> list[int]:
    modality = AE(ae_title="CT1")
    modality.add_requested_context(images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)
    association = modality.associate("127.0.0.1", port, ae_title="VIGIE")
    statuses = [int(association.send_c_store(image).Status) for image in images]
    association.release()
    return statuses


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, ring: KeyRing) -> Iterator[str]:
    with Postgres(tmp_path_factory.mktemp("database")) as server:
        migrate(server.owner)
        engine = make_engine(server.url)
        with engine.begin() as connection:
            policy_store.activate(connection, load(SITE), actor="test", now=datetime.now(UTC))
        engine.dispose()
        yield server.url


def _screen(monkeypatch: pytest.MonkeyPatch, street: Street, drive: Any) -> None:
    """Runs `vigie triage` in this thread, and meanwhile `drive` in another; ends as it is ended."""
    ready = street.settings.store.with_name("ready")
    given = {
        **street.settings.model_dump(include={"kafka", "kafka_mock", "site", "store", "keys"}),
        "compiled": ready.with_name("nothing"),
        "decoders": 1,
        "metrics_port": 0,
        "ready_file": ready,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"VIGIE_{name.upper()}", str(value))

    def act() -> None:
        end = time.monotonic() + 120
        try:
            while not ready.exists():
                assert time.monotonic() < end, "vigie triage did not start"
                time.sleep(0.05)
            drive()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act)
        done = CliRunner().invoke(triage_command, [])
        acting.result()
    assert done.exit_code == 0, done.output


async def _record(street: Street, database: str) -> None:
    """The order, the series and its findings become a row."""
    publisher = Publisher(street.settings)
    engine = make_engine(database)
    settler = Settler("worklist", street.ring, publisher.publish, _clock)
    stage = Stage(engine, settler, Opener(street.ring, street.ring), _clock, _whole)
    batch = [*street.read("orders"), *street.read("series"), *street.read("findings")]
    assert await stage.settle(batch) is Fate.ACK
    publisher.close()
    engine.dispose()


async def _page(watch: Watch, settings: WorklistSettings) -> str:
    """The list as a reader sees it."""
    transport = httpx.ASGITransport(app=create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        with watch.during("page"):
            return (await client.get("/", headers=as_role("reader"))).text


def _whole(_place: object, offset: int) -> tuple[int, int]:
    """The log has no gaps."""
    return 0, offset


def _clock() -> datetime:
    return datetime.now(UTC)


def test_a_studys_path_does_not_grow(
    tmp_path: Path, ring: KeyRing, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, kafka = Watch(), MockKafka()
    street = Street(tmp_path, ring, kafka.address)
    with watch.watching():
        _screen(monkeypatch, street, lambda: asyncio.run(street.play(watch)))
        with watch.during("record"):
            asyncio.run(_record(street, database))
        page = asyncio.run(_page(watch, web_settings(database, tmp_path, ring)))
    kafka.stop()
    assert CASE.accession in page
    path = stages(watch.entered)
    for stage, modules in path.items():
        wanted, _ = BOUNDS[stage]
        print(f"{stage} ({len(modules)}, wanted {wanted}): {', '.join(modules)}")
    assert all(path.values())
    # A series that no package is meant for ends early, and would make the count too low.
    assert "triage.judging.flagging" in path["screening"]
    assert {stage for stage, modules in path.items() if len(modules) > max(BOUNDS[stage])} == set()
