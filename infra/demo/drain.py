"""After the traffic: waits until what was answered has reached the list and was looked at."""

from __future__ import annotations

import http.client
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.demo.api import Api
from infra.demo.installation import Installation
from infra.demo.report import unsettled
from infra.demo.traffic import Traffic
from streams.kafka.topics import PARKED
from streams.logs import tell

_DRAIN_S = 90.0
_LOOK_S = 0.5


def drain(installation: Installation, traffic: Traffic) -> list[dict[str, Any]]:
    """The list, once each study that was answered is on it and was looked at, or after 90 s."""
    api = Api(installation.http, installation.token)
    deadline = time.monotonic() + _DRAIN_S
    rows: list[dict[str, Any]] = []
    told: int | None = None
    while time.monotonic() < deadline:
        try:
            rows = api.rows()
            left = unsettled(traffic.day.cases, traffic.seen, rows)
            parked = parked_count(installation.kafka)
        except (OSError, http.client.HTTPException, KafkaException):
            time.sleep(_LOOK_S)  # something is being restarted
            continue
        if left == 0 and parked >= traffic.poisoned:
            break
        if left != told:
            tell(f"demo: draining: {left} studies on their way")
            told = left
        time.sleep(_LOOK_S)
    api.close()
    return rows


def parked_count(address: str) -> int:
    """How many events the topic `parked` of the broker at `address` holds."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "vigie-demo-report", "log_level": 2}
    )
    try:
        found = consumer.list_topics(PARKED.name, timeout=10).topics[PARKED.name].partitions
        marks = [
            consumer.get_watermark_offsets(TopicPartition(PARKED.name, number), timeout=10)
            for number in found
        ]
    finally:
        consumer.close()
    return sum(high - low for low, high in marks)
