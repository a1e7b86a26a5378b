"""STOW-RS: what is answered 200 is in the store, as by C-STORE; any body ends right."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from streams.errors import Refuse
from streams.events import SeriesReceived
from streams.http import gatekeeper
from streams.http.multipart import Begin, End, boundary_of, parts
from tests.streams.dicom.conftest import file_of, image
from tests.streams.http.conftest import TOKEN

BOUNDARY = "a1b2"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def body(*files: bytes, boundary: str = BOUNDARY) -> bytes:
    made = b"".join(
        f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file
        for file in files
    )
    return made + f"\r\n--{boundary}--\r\n".encode()


async def post(
    client: httpx.AsyncClient, content: bytes, path: str = "/dicomweb/studies", **headers: str
) -> httpx.Response:
    kind = headers.get("kind", RELATED)
    return await client.post(path, content=content, headers={"Content-Type": kind})


async def test_instances_are_stored_and_become_one_event(
    client: httpx.AsyncClient, door: Any, broker: Any
) -> None:
    files = [file_of(image(number)) for number in (1, 2, 3)]
    answer = await post(client, body(*files))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    kept = [one["00081155"]["Value"][0] for one in answer.json()["00081199"]["Value"]]
    assert kept == ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]
    async with asyncio.timeout(10):
        while not broker.sent:
            await asyncio.sleep(0.05)
    (event,) = broker.events
    assert isinstance(event, SeriesReceived)
    assert (event.sender, len(event.names())) == ("ehr", 3)


async def test_the_same_instance_by_c_store_and_by_stow_is_one(
    client: httpx.AsyncClient, door: Any
) -> None:
    from tests.streams.dicom.senders import send

    ds = image(1, IssuerOfPatientID="HOSP")
    file = file_of(ds)
    assert (await post(client, body(file))).status_code == 200
    assert await asyncio.to_thread(send, door.dicom.port, ds) == [0]
    held = [path for path in door.dicom.store._root.glob("*/*/*") if len(path.name) == 16]
    assert len(held) == 1


async def test_a_broken_part_fails_alone(client: httpx.AsyncClient) -> None:
    answer = await post(client, body(file_of(image(1)), b"no dicom", file_of(image(2, study=""))))
    assert answer.status_code == 202
    document = answer.json()
    assert len(document["00081199"]["Value"]) == 1
    failed = [one["00081197"]["Value"][0] for one in document["00081198"]["Value"]]
    assert failed == [0xC000, 0xC000]
    assert (await post(client, body(b"no dicom"))).status_code == 409


async def test_another_study_than_the_path_s_is_not_stored(client: httpx.AsyncClient) -> None:
    answer = await post(client, body(file_of(image(1))), "/dicomweb/studies/9.9")
    assert answer.status_code == 409
    right = await post(client, body(file_of(image(1))), "/dicomweb/studies/1.2.3")
    assert right.status_code == 200
    wrong = await post(client, body(file_of(image(1))), "/dicomweb/studies/..%2Fx")
    assert wrong.status_code in (404, 422)


async def test_an_instance_that_is_too_large_is_told(client: httpx.AsyncClient) -> None:
    large = file_of(image(1, PixelData=bytes(2_000_000)))
    assert (await post(client, body(large, file_of(image(2))))).status_code == 202


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("application/dicom", b"", 415),
        ("multipart/related; type=application/dicom+json; boundary=x", b"", 415),
        ("multipart/related; type=application/dicom", b"", 400),
        (RELATED, b"", 400),
        (RELATED, body()[:-8], 400),
        (RELATED, body(), 400),
        (RELATED, b"PK\x03\x04" + bytes(5000), 400),
    ],
)
async def test_a_body_that_is_no_such_multipart_is_refused(
    client: httpx.AsyncClient, door: Any, kind: str, content: bytes, status: int
) -> None:
    assert (await post(client, content, kind=kind)).status_code == status
    assert list((door.dicom.store._root / "arriving").iterdir()) == []


async def test_dicomweb_client_stores(client: httpx.AsyncClient, door: Any) -> None:
    session = create_session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    stow = DICOMwebClient(f"{door.url}/dicomweb", session=session)
    datasets = [dcmread(io.BytesIO(file_of(image(number)))) for number in (1, 2)]
    answer = await asyncio.to_thread(stow.store_instances, datasets)
    session.close()
    assert len(answer.ReferencedSOPSequence) == 2


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def taken_apart(content: bytes, size: int) -> list[bytes]:
    found: list[bytes] = []
    async for piece in parts(pieces(content, size), BOUNDARY.encode()):
        if isinstance(piece, Begin):
            found.append(b"")
        elif not isinstance(piece, End):
            found[-1] += piece
    return found


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.integers(1, 40))
def test_parts_are_what_was_put_together_however_they_come(files: list[bytes], size: int) -> None:
    files = [*files, b"\r\n--" + BOUNDARY.encode() + b"x", b"\r\n--\r\n"]
    assert asyncio.run(taken_apart(body(*files), size)) == files


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_bytes_are_parts_or_refused(content: bytes, size: int) -> None:
    try:
        asyncio.run(taken_apart(content, size))
    except Refuse:
        return
    assert b"--" in content


@given(st.text(max_size=60))
def test_any_content_type_has_a_boundary_or_is_refused(kind: str) -> None:
    try:
        assert boundary_of(kind)
    except Refuse:
        return


@pytest.mark.parametrize("path", ["/v1/orders", "/fhir/Patient", "/dicomweb/studies"])
async def test_a_body_that_stops_coming_is_given_up(
    client: httpx.AsyncClient, door: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(gatekeeper, "_SILENCE_S", 0.3)

    async def stops() -> AsyncIterator[bytes]:
        yield body(file_of(image(1)))[:-40]
        await asyncio.sleep(1.5)

    kind = RELATED if path.startswith("/dicomweb") else "application/json"
    answer = await client.post(path, content=stops(), headers={"Content-Type": kind})
    assert answer.status_code == 408
    assert list((door.dicom.store._root / "arriving").iterdir()) == []
