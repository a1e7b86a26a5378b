"""Two gateways of one host on one MLLP port: both are called, and a killed one loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from hl7.client import MLLPClient

from infra.embedded import MockKafka, free_port
from streams.events import OrderChanged, decode
from streams.identity.seal import KeyRing, write_ring
from streams.kafka.reading import TopicReader
from streams.settings import StreamsSettings
from tests.streams.hl7.conftest import order
from tests.system.conftest import ROOT

_SENDERS, _EACH = 8, 60


@contextmanager
def gateway(name: str, port: int, kafka: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    ready = folder / f"{name}.json"
    given = {
        "kafka": kafka,
        "kafka_mock": 1,
        "name": name,
        "keys": folder / "keys.json",
        "site": ROOT / "infra" / "site",
        "store": folder / f"store-{name}",
        "mllp_port": port,
        "mllp_share_port": 1,
        "mllp_per_peer": 64,
        "dicom_port": 0,
        "http_port": 0,
        "metrics_port": 0,
        "ready_file": ready,
    }
    settings = {f"VIGIE_{key.upper()}": str(value) for key, value in given.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "gateway"],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def answered(folder: Path, name: str) -> int:
    """Messages that this gateway said yes to."""
    page = json.loads((folder / f"{name}.json").read_text())["metrics"]
    text = httpx.get(f"http://127.0.0.1:{page}/metrics", timeout=20).text
    for line in text.splitlines():
        if line.startswith('vigie_answered_total{answer="AA",door="mllp"}'):
            return int(float(line.rpartition(" ")[2]))
    return 0


class Ris(threading.Thread):
    """Sends one order after the other, each until it is answered yes, on connections anew."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self._number, self._port = number, port
        self.taken: list[str] = []
        self.tries = 0

    def run(self) -> None:
        for count in range(_EACH):
            name = f"S{self._number}C{count}"
            message = order(accession=name, id=name)
            deadline = time.monotonic() + 60
            while not self._sent(message):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            self.taken.append(name)

    def _sent(self, message: bytes) -> bool:
        self.tries += 1
        try:
            with MLLPClient("127.0.0.1", self._port) as client:
                return b"MSA|AA" in client.send_message(message)
        except OSError:
            return False


def listed(kafka: str) -> set[str]:
    """The accession numbers on the topic."""
    found = set[str]()
    with closing(TopicReader(StreamsSettings(kafka=kafka, kafka_mock=True))) as reader:
        for partition in reader.partitions("orders"):
            for record in reader.read(("orders", partition), 0, 100_000).records:
                event = decode(record.value)
                assert isinstance(event, OrderChanged)
                found |= {n.value for n in event.numbers if n.kind == "accession"}
    return found


@pytest.mark.slow
def test_both_gateways_of_a_port_are_called_and_what_a_killed_one_took_is_not_lost(
    tmp_path: Path, ring: KeyRing
) -> None:
    kafka, port = MockKafka(), free_port()
    write_ring(ring, tmp_path / "keys.json")
    with (
        gateway("one", port, kafka.address, tmp_path) as one,
        gateway("two", port, kafka.address, tmp_path),
    ):
        senders = [Ris(number, port) for number in range(_SENDERS)]
        for sender in senders:
            sender.start()
        while min(answered(tmp_path, name) for name in ("one", "two")) < 10:
            assert any(sender.is_alive() for sender in senders), "one got no connection"
            time.sleep(0.05)
        one.send_signal(signal.SIGKILL)
        for sender in senders:
            sender.join(120)
            assert not sender.is_alive()
    taken = {name for sender in senders for name in sender.taken}
    assert len(taken) == _SENDERS * _EACH
    assert listed(kafka.address) == taken
    kafka.stop()
