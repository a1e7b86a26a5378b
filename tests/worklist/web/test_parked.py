"""What is parked, through the API: sealed, its shape for who mends the sender, opened by leads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from click.testing import Result
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from infra.embedded import MockKafka
from streams.commands import app
from streams.events import Parked, encode
from streams.hl7.door import ORIGIN
from streams.identity.seal import KeyRing, new_ring
from streams.kafka.produce import Publisher
from streams.settings import StreamsSettings
from tests.parked import parked_message
from tests.streams.hl7.conftest import order
from tests.worklist.web_client import TOKENS, as_role, serving, wait_for, web_settings

NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
NAME = "Lefèvre"


class Web(NamedTuple):
    client: httpx.Client
    ids: list[str]


def parked(ring: KeyRing, original: bytes, topic: str = ORIGIN, minute: int = 0) -> Parked:
    return parked_message(
        ring.seal(original), NOW.replace(minute=minute), topic=topic, sender="ris", where="ORC-1"
    )


@pytest.fixture
def web(engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path) -> Iterator[Web]:
    kafka = MockKafka()
    publisher = Publisher(StreamsSettings(kafka=kafka.address))
    message = order("ZZ", name=NAME, more="ZNM|x") + b"\xe9\x81\r"  # bytes that are no UTF-8
    event = b'{"type":"OrderChanged"}'
    for minute, (keys, original, topic) in enumerate(
        [(ring, message, ORIGIN), (ring, event, "orders"), (new_ring(), message, ORIGIN)]
    ):
        word = parked(keys, original, topic, minute)
        publisher.publish_sync("parked", "k", encode(word))
    publisher.close()
    settings = web_settings(database_url, tmp_path, ring)
    with serving(settings.model_copy(update={"kafka": kafka.address, "kafka_mock": True})) as (
        _,
        client,
    ):

        def listed() -> list[str]:
            answer = client.get("/api/v1/parked?sender=ris", headers=as_role("ops"))
            return [str(one["id"]) for one in reversed(answer.json()["items"])]

        wait_for(lambda: len(listed()) == 3)
        yield Web(client, listed())
    kafka.stop()


def audited(engine: Engine) -> list[tuple[str, str, dict[str, str]]]:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT actor, reason, detail FROM audit WHERE act = 'parked_opened'")
        )
        return [(row.actor, row.reason, row.detail) for row in rows]


def test_the_shape_of_a_message_is_shown_to_ops_and_leads_without_its_patient(
    web: Web, engine: Engine
) -> None:
    for role in ("ops", "lead"):
        answer = web.client.get(f"/api/v1/parked/{web.ids[0]}", headers=as_role(role))
        assert answer.status_code == 200
        assert (answer.json()["reason"], answer.json()["where"]) == ("bad_field", "ORC-1")
        assert any(line.startswith("ORC|ZZ|") for line in answer.json()["shape"])
        assert NAME not in answer.text
        assert "original" not in answer.json()
    assert audited(engine) == []


def test_content_is_opened_for_a_lead_who_says_why_and_the_audit_knows(
    web: Web, engine: Engine
) -> None:
    path, why = f"/api/v1/parked/{web.ids[0]}/open", {"reason": "the RIS asks"}
    for role in ("ops", "reader", "admin", "service"):
        assert web.client.post(path, json=why, headers=as_role(role)).status_code == 403
    assert web.client.post(path, json=why).status_code == 401
    for reason in ("", "  "):
        refused = web.client.post(path, json={"reason": reason}, headers=as_role("lead"))
        assert refused.json()["code"] == "reason_required"
    assert audited(engine) == []
    answer = web.client.post(path, json=why, headers=as_role("lead"))
    assert NAME in answer.json()["content"]
    found = {"id": web.ids[0], "role": "lead", "sender": "ris"}
    assert audited(engine) == [("lead1", "the RIS asks", found)]


def test_an_event_of_a_stage_is_opened_as_the_text_that_travelled(web: Web) -> None:
    path, why = f"/api/v1/parked/{web.ids[1]}", {"reason": "a fault of ours"}
    assert web.client.get(path, headers=as_role("ops")).json()["shape"] == []
    opened = web.client.post(f"{path}/open", json=why, headers=as_role("lead")).json()
    assert json.loads(opened["content"]) == {"type": "OrderChanged"}


def test_what_is_not_there_or_cannot_be_opened_is_said(web: Web, engine: Engine) -> None:
    why = {"reason": "x"}
    for name in ("77-1", "0", "x", "0-99999999999999999999999"):
        answer = web.client.get(f"/api/v1/parked/{name}", headers=as_role("ops"))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_parked")
    path = f"/api/v1/parked/{web.ids[2]}"
    for answer in (
        web.client.get(path, headers=as_role("lead")),
        web.client.post(f"{path}/open", json=why, headers=as_role("lead")),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "bad_seal")
    assert audited(engine) == []


def test_the_command_asks_the_api_and_shows_what_it_may(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(role: str, *words: str) -> Result:
        monkeypatch.setenv("VIGIE_API_URL", str(web.client.base_url))
        monkeypatch.setenv("VIGIE_API_TOKEN", TOKENS[role])
        return CliRunner().invoke(app, ["parked", "show", *words])

    shown = show("ops", web.ids[0])
    assert shown.exit_code == 0
    assert "where: ORC-1" in shown.stdout
    assert "ORC|ZZ|" in shown.stdout
    assert NAME not in shown.stdout
    opened = show("lead", web.ids[0], "--open", "--reason", "the RIS asks")
    assert NAME in opened.stdout
    refused = show("ops", web.ids[0], "--open", "--reason", "curious")
    assert (refused.exit_code, "403" in refused.stderr) == (1, True)
    assert show("ops", "77-1").exit_code == 1
    assert show("lead", web.ids[0], "--open").exit_code == 2


def test_without_an_api_the_command_says_how_to_name_one() -> None:
    done = CliRunner().invoke(app, ["parked", "show", "0-0"])
    assert done.exit_code == 1
    assert "VIGIE_API_URL" in done.stderr
