"""Promise 1 at the HTTP door, its JSON, and what it says to what it cannot take."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest

from streams import metrics
from streams.errors import Reason
from streams.http import door as server
from streams.identity.seal import KeyRing
from tests.streams.http.conftest import MAY_NOT_CLOSE, NOW

ORDER = {
    "patient": {"number": {"value": "P1", "authority": "HOSP"}, "family": "LEFÈVRE"},
    "accession": {"value": "A1"},
    "status": "scheduled",
    "priority": "S",
    "modality": "CT",
    "occurred_at": "2026-03-14T09:00:00Z",
}


async def test_an_order_becomes_an_event_and_its_name_is_sealed(
    client: httpx.AsyncClient, broker: Any, ring: KeyRing
) -> None:
    answer = await client.post("/v1/orders", json=ORDER)
    assert answer.status_code == 200, answer.text
    (event,) = broker.events
    assert answer.json() == {"events": [event.event_id]}
    assert (event.type, event.status, event.priority, event.modality) == (
        "OrderChanged",
        "scheduled",
        "stat",
        "CT",
    )
    assert (event.sender, event.patient.authority) == ("ehr", "HOSP")
    assert event.version.time.hour == 9
    assert event.description is None
    assert ring.open_identity(event.identity).name == "LEFÈVRE"
    assert "LEF" not in str(broker.sent)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/reports", {"accession": {"value": "A1"}, "status": "final"}, "ReportReceived"),
        ("/v1/patients", {"patient": ORDER["patient"]}, "PatientChanged"),
        (
            "/v1/merges",
            {"kept": ORDER["patient"], "retired": {"number": {"value": "P2"}}},
            "PatientMerged",
        ),
    ],
)
async def test_reports_patients_and_merges_become_events(
    client: httpx.AsyncClient, broker: Any, path: str, body: dict[str, Any], kind: str
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert [event.type for event in broker.events] == [kind]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "bad_json"),
        (b"[]", 422, "bad_field"),
        (b"{}", 422, "no_study_key"),
        (b'{"accession": {"value": "0"}}', 422, "no_study_key"),
        (b'{"accession": {"value": "A\\u0000"}}', 422, "bad_field"),
        (b'{"accession": {"value": "A1"}, "colour": 1}', 422, "bad_field"),
        (b'{"study_uid": "../../x"}', 422, "bad_field"),
        (b'{"accession": {"value": "' + b"x" * 200_000 + b'"}}', 413, "too_large"),
    ],
)
async def test_what_cannot_be_taken_is_a_problem_that_quotes_nothing(
    client: httpx.AsyncClient, broker: Any, body: bytes, status: int, reason: str
) -> None:
    refused = metrics.refused.labels("http", reason)
    before = refused._value.get()
    answer = await client.post(
        "/v1/orders", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert refused._value.get() == before + 1
    assert broker.sent == []


async def test_a_broker_that_is_down_is_said_and_nothing_is_promised(
    client: httpx.AsyncClient, broker: Any
) -> None:
    broker.down = True
    answer = await client.post("/v1/orders", json=ORDER)
    assert (answer.status_code, answer.json()["reason"]) == (503, "broker_down")
    assert int(answer.headers["retry-after"]) > 0
    broker.down = False
    again = await client.post("/v1/orders", json=ORDER)
    assert again.status_code == 200


@pytest.mark.parametrize("token", ["", "Bearer nobody", "Basic xyz", "Bearer"])
async def test_a_stranger_is_refused_before_its_body_is_read(
    client: httpx.AsyncClient, broker: Any, token: str
) -> None:
    answer = await client.post("/v1/orders", json=ORDER, headers={"Authorization": token})
    assert (answer.status_code, answer.json()["reason"]) == (401, "unknown_sender")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert broker.sent == []


async def test_a_sender_that_may_not_close_cancels_nothing(
    client: httpx.AsyncClient, broker: Any
) -> None:
    headers = {"Authorization": f"Bearer {MAY_NOT_CLOSE}"}
    cancelled = await client.post(
        "/v1/orders", json={**ORDER, "status": "cancelled"}, headers=headers
    )
    report = {"accession": {"value": "A1"}, "status": "final"}
    closed = await client.post("/v1/reports", json=report, headers=headers)
    assert [cancelled.status_code, closed.status_code] == [403, 403]
    assert broker.sent == []
    assert (await client.post("/v1/orders", json=ORDER, headers=headers)).status_code == 200


async def test_the_same_key_again_is_the_same_request(
    client: httpx.AsyncClient, broker: Any
) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await client.post("/v1/orders", json=ORDER, headers=headers)
    again = await client.post("/v1/orders", json=ORDER, headers=headers)
    assert first.json() == again.json()
    assert len(broker.sent) == 1
    other = await client.post("/v1/orders", json={**ORDER, "priority": "R"}, headers=headers)
    assert (other.status_code, other.json()["reason"]) == (422, "idempotency_key_reused")


async def test_the_same_body_without_a_key_is_the_same_event(
    client: httpx.AsyncClient, broker: Any
) -> None:
    for _ in range(2):
        assert (await client.post("/v1/orders", json=ORDER)).status_code == 200
    assert len({event.event_id for event in broker.events}) == 1


@pytest.mark.parametrize("field", ["priority", "location"])
async def test_a_code_that_is_not_in_the_site_s_table_is_refused_not_guessed(
    client: httpx.AsyncClient, broker: Any, field: str
) -> None:
    answer = await client.post("/v1/orders", json={**ORDER, field: "STATT"})
    assert (answer.status_code, answer.json()["where"]) == (422, field)
    assert broker.sent == []


async def test_what_is_said_again_after_another_word_is_a_new_word(
    client: httpx.AsyncClient, broker: Any
) -> None:
    for priority in ("R", "S", "R", "R"):
        body = {**ORDER, "priority": priority, "occurred_at": None}
        assert (await client.post("/v1/orders", json=body)).status_code == 200
    ids = [event.event_id for event in broker.events]
    assert len(set(ids[:3])) == 3
    assert ids[2] == ids[3]  # sent again for its lost answer


async def test_the_same_body_under_another_key_is_another_request(
    client: httpx.AsyncClient, broker: Any
) -> None:
    for key in ("k1", "k2"):
        await client.post("/v1/orders", json=ORDER, headers={"Idempotency-Key": key})
    assert len({event.event_id for event in broker.events}) == 2


async def test_what_is_said_of_another_patient_in_between_makes_no_new_word(
    client: httpx.AsyncClient, broker: Any
) -> None:
    order = {**ORDER, "occurred_at": None}
    other = {**order, "patient": {"number": {"value": "another"}}}
    for body in (order, other, order):
        await client.post("/v1/orders", json=body)
    assert len({event.event_id for event in broker.events}) == 2


async def test_a_clock_that_runs_ahead_makes_no_word_newer_than_its_receipt(
    client: httpx.AsyncClient, broker: Any
) -> None:
    await client.post("/v1/orders", json={**ORDER, "occurred_at": "2031-01-01T00:00:00Z"})
    assert broker.events[0].version.time == NOW


async def test_more_requests_at_once_than_a_sender_may_have_are_told_to_come_again(
    client: httpx.AsyncClient, door: Any
) -> None:
    async def slow() -> Any:
        yield b"{"
        await asyncio.sleep(1.0)
        yield b"}"

    headers = {"Content-Type": "application/json"}
    answers = await asyncio.gather(
        *(client.post("/v1/orders", content=slow(), headers=headers) for _ in range(6))
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [422] * 4 + [429] * 2
    assert all("retry-after" in one.headers for one in answers if one.status_code == 429)


async def test_who_does_not_say_what_it_wants_is_closed(
    door: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEAD_S", 0.3)
    silent = [socket.create_connection(("127.0.0.1", door.http.port)) for _ in range(20)]
    for connection in silent[::2]:
        connection.sendall(b"POST /v1/orders HTTP/1.1\r\n")
    assert (await client.post("/v1/orders", json=ORDER)).status_code == 200
    for connection in silent:
        connection.settimeout(5)
        assert await asyncio.to_thread(connection.recv, 100) == b""
        connection.close()


async def test_hundreds_of_silent_sockets_keep_nobody_out(
    door: Any, client: httpx.AsyncClient
) -> None:
    silent = [socket.create_connection(("127.0.0.1", door.http.port)) for _ in range(600)]
    await asyncio.sleep(0.3)
    assert (await client.post("/v1/orders", json=ORDER)).status_code == 200
    assert len(server._Protocol.waiting) <= server.HALF_OPEN
    for connection in silent:
        connection.close()


async def test_the_schema_is_published_to_everybody(door: Any) -> None:
    async with httpx.AsyncClient(base_url=door.url) as anybody:
        document = (await anybody.get("/openapi.json")).json()
        statement = (await anybody.get("/fhir/metadata")).json()
    assert set(document["paths"]) == {"/v1/orders", "/v1/reports", "/v1/patients", "/v1/merges"}
    assert statement["resourceType"] == "CapabilityStatement"
    assert Reason.BROKER_DOWN.value not in str(statement)
