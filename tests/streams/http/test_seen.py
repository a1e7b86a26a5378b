"""What all doors of a gateway saw of each sender is told together: answers, refusals, last time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest
from pynetdicom import AE
from structlog.testing import capture_logs

from streams import metrics
from streams.events import SenderSeen
from tests.streams.dicom.conftest import CT, file_of, image
from tests.streams.dicom.senders import send
from tests.streams.http.conftest import NOW, TOKEN


async def test_each_door_s_answers_and_refusals_are_told_by_sender(
    client: httpx.AsyncClient, door: SimpleNamespace
) -> None:
    order = {"accession": {"value": "A1"}}
    assert (await client.post("/v1/orders", json=order)).status_code == 200
    assert (await client.post("/v1/orders", json={})).status_code == 422
    stranger = {"Authorization": "Bearer nobody"}
    assert (await client.post("/v1/orders", json=order, headers=stranger)).status_code == 401
    good, bad = image(1), image(2, study="")
    for one in (good, bad):
        file_of(one)
    assert await asyncio.to_thread(send, door.dicom.port, good, bad) == [0, 0xC000]
    ae = AE(ae_title="SCU")
    ae.add_requested_context(CT)
    calling = await asyncio.to_thread(ae.associate, "127.0.0.1", door.dicom.port, ae_title="PACS")
    assert not calling.is_established
    async with asyncio.timeout(5):
        while len(door.seen.events(NOW)) < 5:
            await asyncio.sleep(0.02)
    told = {(event.sender, event.door): event for event in door.seen.events(NOW)}
    ehr, images = told["ehr", "http"], told["default", "dicom"]
    assert (ehr.answers, ehr.refusals) == ({"200": 1, "422": 1}, {"no_study_key": 1})
    assert (images.answers, images.refusals) == ({"0000": 1, "C000": 1}, {"bad_uid": 1})
    assert told["unknown", "http"].refusals == {"unknown_sender": 1}
    assert told["unknown", "dicom"].refusals == {"wrong_called_ae": 1}
    assert (ehr.last_at, told["other", "http"].last_at) == (NOW, None)


async def test_who_asks_for_too_much_at_once_is_told_of_by_name(
    client: httpx.AsyncClient, door: SimpleNamespace
) -> None:
    let_go, json = asyncio.Event(), {"Content-Type": "application/json"}

    async def held() -> AsyncIterator[bytes]:
        yield b"{"
        await let_go.wait()
        yield b"}"

    def told() -> SenderSeen:
        return next(event for event in door.seen.events(NOW) if event.sender == "ehr")

    async with asyncio.TaskGroup() as asking:
        for _ in range(5):
            asking.create_task(client.post("/v1/orders", content=held(), headers=json))
        async with asyncio.timeout(5):
            while "429" not in told().answers:
                await asyncio.sleep(0.02)
        let_go.set()
    packed = {**json, "Content-Encoding": "gzip"}
    assert (await client.post("/v1/orders", content=b"{}", headers=packed)).status_code == 415
    assert told().answers == {"422": 4, "429": 1, "415": 1}
    assert told().refusals == {"no_study_key": 4, "overloaded": 1, "unsupported_transfer_syntax": 1}


@pytest.mark.parametrize(
    ("token", "sender"), [(TOKEN, "ehr"), ("nobody's", "unknown")], ids=["known", "stranger"]
)
async def test_a_refusal_is_one_count_and_one_line_that_says_whose_it_was(
    client: httpx.AsyncClient, token: str, sender: str
) -> None:
    counts = [metrics.refused.labels("http", why) for why in ("no_study_key", "unknown_sender")]
    before = sum(count._value.get() for count in counts)
    with capture_logs() as lines:
        await client.post("/v1/orders", json={}, headers={"Authorization": f"Bearer {token}"})
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert (line["door"], line["sender"], line["peer"]) == ("http", sender, "127.0.0.1")
    assert sum(count._value.get() for count in counts) == before + 1


async def test_what_is_no_http_leaves_a_count_too(door: SimpleNamespace) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.http.port)
    writer.write(b"\x0bMSH|^~\\&|RIS\r\x1c\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    (unknown,) = (event for event in door.seen.events(NOW) if event.sender == "unknown")
    assert unknown.refusals == {"bad_request": 1}
