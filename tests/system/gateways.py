"""Gateways as processes of their own, that a test may kill, and what they published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from infra.demo.site import make_site
from streams.events import decode
from streams.identity.seal import KeyRing, write_ring
from streams.kafka import topics
from streams.storage.store import Store
from worklist.order.policy import Policy
from worklist.record.facts import Fact
from worklist.record.items import Item, derive
from worklist.record.world import World

TOKEN = "t"


class Gateways:
    """Of one site, on one store and one broker."""

    def __init__(self, folder: Path, broker: str, ring: KeyRing) -> None:
        self._folder, self._broker, self._ring = folder, broker, ring
        self._running: list[subprocess.Popen[bytes]] = []
        self.store = Store(folder / "store", min_free=0.0)
        write_ring(ring, folder / "keys.json")
        self._site = make_site(folder / "site", historic=False, token=TOKEN)

    def start(self, name: str, **more: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        """The process, and what it says once it serves."""
        ready = self._folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        settings = {
            "name": name,
            "kafka": self._broker,
            "kafka_mock": "1",
            "keys": self._folder / "keys.json",
            "site": self._site,
            "state": self._folder,
            "store": self._folder / "store",
            "key_images": self._folder / "key-images",
            "store_min_free": "0",
            "quiet_s": "0.3",
            "ready_file": ready,
            **{f"{door}_port": "0" for door in ("mllp", "dicom", "http", "metrics")},
        }
        env = os.environ | {f"VIGIE_{key.upper()}": str(value) for key, value in settings.items()}
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", "gateway"], env=env | more, stderr=log
            )
        self._running.append(process)
        end = time.monotonic() + 90
        while not ready.exists():
            assert process.poll() is None, self.log(name)
            assert time.monotonic() < end, self.log(name)
            time.sleep(0.05)
        return process, json.loads(ready.read_text())

    def log(self, name: str) -> str:
        """What the gateway said."""
        return (self._folder / f"{name}.log").read_text()

    def stop(self) -> None:
        """Ends those that run."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(30)


class Published:
    """All that stands in the topics of orders and series."""

    def __init__(self, broker: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": broker, "group.id": "t", "auto.offset.reset": "earliest"}
        )
        # Not `subscribe`: joining a group takes the mock cluster three seconds.
        self._consumer.assign(
            [
                TopicPartition(topic.name, partition, 0)
                for topic in (topics.SERIES, topics.ORDERS)
                for partition in range(topic.partitions)
            ]
        )
        self.events: list[Any] = []

    def until(self, enough: Callable[[list[Any]], bool], timeout_s: float = 40.0) -> list[Any]:
        """The events, once there are enough."""
        end = time.monotonic() + timeout_s
        while not enough(self.events):
            assert time.monotonic() < end, f"only {len(self.events)} events"
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None:
                self.events.append(decode(message.value()))
        return self.events

    def rows(self, ring: KeyRing, policy: Policy) -> list[Item]:
        """What the record makes of them."""
        facts = {
            event.event_id: Fact(
                event, ring.open_identity(event.identity) if event.identity else None
            )
            for event in self.events
        }
        known: dict[str, set[str]] = {}
        for fact in facts.values():
            if fact.patient and fact.patient.authority:
                known.setdefault(fact.patient.value, set()).add(fact.patient.authority)
        world = World(authorities={value: frozenset(names) for value, names in known.items()})
        return derive(facts.values(), world, policy)

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()
