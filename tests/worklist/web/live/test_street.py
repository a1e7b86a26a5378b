"""A web process with a broker: it measures how far the list is behind, and sends what was done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from sqlalchemy import Engine, text

from infra.embedded import MockKafka
from streams.identity.seal import KeyRing
from streams.kafka.consume import Origin
from streams.kafka.watermarks import Extent
from tests.worklist.conftest import Make
from tests.worklist.web_client import as_role, serving, sign_in, wait_for, web_settings
from worklist.sql.writing import positions


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    broker = MockKafka()
    yield broker
    broker.stop()


def test_with_the_agent_dead_the_web_process_says_how_far_the_list_is_behind(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path, make: Make, kafka: MockKafka
) -> None:
    settings = web_settings(database_url, tmp_path, ring).model_copy(
        update={"kafka": kafka.address, "kafka_mock": True, "stale_s": 1.0}
    )
    with serving(settings) as (_, client):
        wait_for(lambda: client.get("/readyz").json() == {"database": True, "fresh": True})
        producer = Producer({"bootstrap.servers": kafka.address, "log_level": 0})
        for _ in range(3):
            producer.produce("orders", b"x", b"k", partition=0)
        assert producer.flush(10) == 0
        wait_for(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").json() == {"database": True, "fresh": False}
        told = client.get("/api/v1/truth", headers=as_role("reader")).json()
        assert (told["stale"], told["behind"]["events"]) == (True, 3)
        assert [line["code"] for line in told["lines"]] == ["behind"]
        sign_in(client)
        assert "Stale: 3 events wait that senders were promised" in client.get("/").text
        assert "vigie_worklist_behind_events 3.0" in client.get("/metrics").text
        with engine.begin() as connection:
            last = Origin("orders", 0, 2, b"k", b"v")
            positions.note_positions(connection, [last], [make.order()], lambda *_: (0, 2))
        wait_for(lambda: client.get("/readyz").status_code == 200)
        with engine.begin() as connection:
            positions.begin(connection, {("series", 0): Extent(5, 5)}, {})
        wait_for(
            lambda: "vigie_worklist_gap_timestamp_seconds 0.0" not in client.get("/metrics").text
        )


def test_what_persons_did_is_sent_by_the_running_process(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path, kafka: MockKafka
) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO outbox (item, kind, body) VALUES ('a', 'act', '{}')"))
    settings = web_settings(database_url, tmp_path, ring).model_copy(
        update={"kafka": kafka.address, "kafka_mock": True}
    )

    def sent() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT sent_at IS NOT NULL FROM outbox")))

    with serving(settings):
        wait_for(sent)
