"""The senders by API: what the gateways saw, for leads and ops, read by the web process itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from infra.embedded import MockKafka
from streams.events import SenderSeen, encode
from streams.identity.seal import KeyRing
from streams.kafka.produce import Publisher
from streams.settings import StreamsSettings
from tests.worklist.web_client import as_role, serving, wait_for, web_settings


@pytest.fixture
def client(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path
) -> Iterator[httpx.Client]:
    kafka, now = MockKafka(), datetime.now(UTC)
    publisher = Publisher(StreamsSettings(kafka=kafka.address))
    for door, count in (("mllp", 7), ("dicom", 2)):
        seen = SenderSeen(
            gateway="g1",
            sender="ris",
            door=door,
            at=now,
            last_at=now,
            answers={"AA": count},
            refusals={"bad_field": 1},
        )
        publisher.publish_sync("doors", "ris", encode(seen))
    publisher.close()
    settings = web_settings(database_url, tmp_path, ring)
    with serving(settings.model_copy(update={"kafka": kafka.address, "kafka_mock": True})) as (
        _,
        one,
    ):
        yield one
    kafka.stop()


def test_leads_and_ops_see_why_a_sender_was_refused_at_which_door(client: httpx.Client) -> None:
    def rows() -> list[dict[str, object]]:
        found: list[dict[str, object]] = client.get(
            "/api/v1/senders", headers=as_role("ops")
        ).json()["items"]
        return found

    wait_for(lambda: len(rows()) == 2)
    images, messages = rows()
    assert (images["door"], images["answers"]) == ("dicom", {"AA": 2})
    assert (messages["door"], messages["refusals"]) == ("mllp", {"bad_field": 1})
    assert (messages["silent"], messages["parked"]) == (False, [])
    assert client.get("/api/v1/senders", headers=as_role("lead")).status_code == 200
    assert client.get("/api/v1/senders", headers=as_role("reader")).status_code == 403
