"""What would grow when it is unpacked is refused while an honest sender is served."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zipfile
import zlib
from typing import Any

import httpx
import psutil
import pytest

from streams.http import stow
from tests.streams.dicom.conftest import EXPLICIT, file_of, image
from tests.streams.http.test_stow import BOUNDARY, RELATED, body, post

pytestmark = pytest.mark.slow

_LARGE = 512 * 1024 * 1024  # bytes of each bomb, once it went off
_MAY_GROW = 160 * 1024 * 1024  # bytes that the process may grow by: less than one of them
DEFLATED = "1.2.840.10008.1.2.1.99"


def zeros_deflated(window: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    piece = bytes(1024 * 1024)
    made = [packer.compress(piece) for _ in range(_LARGE // len(piece))]
    return b"".join([*made, packer.flush()])


@pytest.fixture(scope="module")
def gzipped() -> bytes:
    return zeros_deflated(31)


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.dcm", bytes(_LARGE // 4))
    return made.getvalue()


def deflated_object() -> bytes:
    """An instance whose data set is a deflate stream that does not end for half a gigabyte."""
    whole = file_of(image(9))
    start = whole.index(b"\x08\x00\x05\x00")  # the first element after the meta information
    meta = whole[:start].replace(EXPLICIT.encode() + b"\0", DEFLATED.encode())
    grown = len(DEFLATED) - len(EXPLICIT) - 1
    length = int.from_bytes(meta[140:144], "little") + grown
    at = meta.index(DEFLATED.encode())
    meta = meta[: at - 2] + len(DEFLATED).to_bytes(2, "little") + meta[at:]
    meta = meta[:140] + length.to_bytes(4, "little") + meta[144:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    made = [packer.compress(whole[start:-44])]  # without its pixels
    made += [packer.compress(bytes(1024 * 1024)) for _ in range(_LARGE // 1024 // 1024)]
    return meta + b"".join(made) + packer.flush()


class Honest:
    """A sender that goes on with its work; each of its answers must be yes."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client, self.sent = client, 0
        self.others = asyncio.Event()
        self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while not self.others.is_set() or self.sent < 3:
            self.sent += 1
            answer = await post(self._client, body(file_of(image(self.sent))))
            assert answer.status_code == 200, answer.text

    async def done(self) -> None:
        self.others.set()
        await self._task


async def grown(client: httpx.AsyncClient, *works: Any) -> tuple[list[httpx.Response], int]:
    """The answers, and by how much the process grew at most while it gave them."""
    process, most = psutil.Process(), 0
    before = process.memory_info().rss
    honest = Honest(client)
    waiting = asyncio.gather(*works)
    while not waiting.done():
        most = max(most, process.memory_info().rss - before)
        await asyncio.sleep(0.01)
    await honest.done()
    return waiting.result(), most


@pytest.mark.parametrize("path", ["/v1/orders", "/fhir", "/fhir/Patient", "/dicomweb/studies"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "GZIP"])
async def test_a_compressed_body_is_told_that_nothing_is_unpacked(
    client: httpx.AsyncClient, path: str, coding: str
) -> None:
    kind = RELATED if path.startswith("/dicomweb") else "application/json"
    answer = await client.post(
        path, content=b"x", headers={"Content-Type": kind, "Content-Encoding": coding}
    )
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.text


async def test_a_body_that_says_it_is_not_compressed_is_taken(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": RELATED, "Content-Encoding": "identity"}
    answer = await client.post("/dicomweb/studies", content=body(file_of(image())), headers=headers)
    assert answer.status_code == 200


@pytest.mark.slow
async def test_bombs_go_off_nowhere_while_an_honest_sender_is_served(
    client: httpx.AsyncClient, door: Any, gzipped: bytes
) -> None:
    coded = {"Content-Encoding": "gzip"}
    json_kind = {"Content-Type": "application/json"}
    bombs = [
        client.post(
            "/dicomweb/studies", content=gzipped, headers=coded | {"Content-Type": RELATED}
        ),
        client.post("/v1/orders", content=gzipped, headers=coded | json_kind),
        post(client, body(gzipped, zipped())),
    ]
    answers, most = await grown(client, *bombs)
    assert [answer.status_code for answer in answers] == [415, 415, 409]
    assert most < _MAY_GROW
    assert list((door.dicom.store._root / "arriving").iterdir()) == []


@pytest.mark.slow
async def test_a_deflated_data_set_that_grows_without_end_fails_alone(
    client: httpx.AsyncClient, door: Any
) -> None:
    bomb = deflated_object()
    (answer,), most = await grown(client, post(client, body(bomb, file_of(image(50)))))
    assert answer.status_code == 202
    (failed,) = answer.json()["00081198"]["Value"]
    assert failed["00081155"]["Value"] == ["1.2.3.4.9"]
    assert most < _MAY_GROW
    assert list((door.dicom.store._root / "arriving").iterdir()) == []


async def test_a_part_that_says_it_is_compressed_fails_alone(client: httpx.AsyncClient) -> None:
    file = gzip.compress(file_of(image(1)))
    part = b"Content-Type: application/dicom\r\nContent-Encoding: gzip\r\n\r\n" + file
    whole = f"\r\n--{BOUNDARY}\r\n".encode() + part + body(file_of(image(2)))
    answer = await post(client, whole)
    assert answer.status_code == 202
    assert len(answer.json()["00081198"]["Value"]) == 1


async def test_more_parts_than_any_study_has_are_refused(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow, "MOST_PARTS", 50)
    assert (await post(client, body(*[b""] * 50))).status_code == 409
    answer = await post(client, body(*[b""] * 51))
    assert (answer.status_code, answer.json()["where"]) == (413, "parts")


@pytest.mark.parametrize("path", ["/v1/orders", "/fhir", "/fhir/Patient"])
@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '{"a":' * 20_000,
        json.dumps({"resourceType": "Patient", "contained": [[]]}).replace(
            "[]", "[" * 500 + "]" * 500
        ),
        '{"resourceType": "Patient", "extension": '
        + '[{"extension": ' * 300
        + "[]"
        + "}]" * 300
        + "}",
    ],
    ids=["lists", "objects", "lists in a resource", "extensions in extensions"],
)
async def test_json_as_deep_as_no_resource_is_is_refused(
    client: httpx.AsyncClient, path: str, text: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post(path, content=text[:99_000], headers=headers)
    assert answer.status_code in (400, 413, 422)
