"""An HTTP door on loopback with a publisher that can fail, and a site with one sender behind it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import httpx
import pytest

from streams.dicom.door import DicomDoor
from streams.errors import Reason, Unavailable
from streams.events import decode
from streams.http.door import HttpDoor
from streams.http.making import Request
from streams.identity.seal import KeyRing
from streams.senders.seen import Seen
from streams.senders.site import Right, Sender, Site, load_site
from streams.settings import StreamsSettings

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[3] / "infra" / "site"
TOKEN, MAY_NOT_CLOSE = "secret-of-the-ehr", "secret-of-another"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Broker:
    """Where the doors publish in these tests; it can be down."""

    def __init__(self) -> None:
        self.down = False
        self.sent: list[tuple[str, str, bytes]] = []

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        await asyncio.sleep(0)
        self.publish_sync(topic, key, value)

    def publish_sync(self, topic: str, key: str, value: bytes) -> None:
        if self.down:
            raise Unavailable(Reason.BROKER_DOWN)
        self.sent.append((topic, key, value))

    @property
    def events(self) -> list[Any]:
        return [decode(value) for _, _, value in self.sent]


@pytest.fixture(scope="session")
def site() -> Site:
    example = load_site(EXAMPLE)
    ehr = Sender(
        name="ehr",
        tokens_sha256=(digest(TOKEN),),
        issuer="HOSP",
        rights=get_args(Right),
        not_imaging=example.default.not_imaging,
    )
    other = Sender(name="other", tokens_sha256=(digest(MAY_NOT_CLOSE),))
    return example.model_copy(update={"senders": (ehr, other), "accept_unknown": True})


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def request_of(site: Site, ring: KeyRing) -> Any:
    """Makes what a mapping needs beside the resource."""
    return lambda body=b"{}", sender=0: Request(site, site.senders[sender], ring, NOW, body)


@pytest.fixture
async def door(
    site: Site, ring: KeyRing, broker: Broker, tmp_path: Path
) -> AsyncIterator[SimpleNamespace]:
    settings = StreamsSettings(
        kafka="unused",
        site=EXAMPLE,
        store=tmp_path / "store",
        http_port=0,
        dicom_port=0,
        store_min_free=0.0,
        quiet_s=0.2,
        http_max_bytes=100_000,
        http_requests_each=4,
        dicom_max_bytes=1_000_000,
    )
    seen = Seen("gateway-1", site.senders, NOW)
    dicom = DicomDoor(settings, site, ring, broker, lambda: NOW, seen=seen)
    http = HttpDoor(settings, site, ring, broker, dicom.reception, lambda: NOW, seen=seen)
    await asyncio.to_thread(dicom.start)
    await http.start()
    yield SimpleNamespace(http=http, dicom=dicom, seen=seen, url=f"http://127.0.0.1:{http.port}")
    await http.stop()
    await asyncio.to_thread(dicom.stop)


@pytest.fixture
async def client(door: SimpleNamespace) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=20) as client:
        yield client
