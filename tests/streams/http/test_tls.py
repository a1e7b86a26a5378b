"""The HTTP door with TLS: its own CA, and certificates that speak for who names them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from streams import metrics
from streams.errors import Misconfigured
from streams.http.door import HttpDoor
from streams.identity.seal import KeyRing
from streams.senders.site import Site
from streams.settings import StreamsSettings
from tests.streams.certificates import Authority
from tests.streams.http.conftest import EXAMPLE, NOW, TOKEN

Ask = Callable[..., Any]
ORDER = {"accession": {"value": "A1"}}


def settings_of(tmp_path: Path, **more: object) -> StreamsSettings:
    values: dict[str, object] = {"kafka": "unused", "site": EXAMPLE, "http_port": 0}
    return StreamsSettings(**(values | {"store": tmp_path / "store"} | more))  # type: ignore[arg-type]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "of-the-http-door")


@pytest.fixture
async def protected(
    tmp_path: Path, site: Site, ring: KeyRing, broker: Any, authority: Authority
) -> AsyncIterator[SimpleNamespace]:
    """A door with TLS; the EHR's certificate is ``ehr.example``."""
    ehr, other = site.senders
    bound = ehr.model_copy(update={"certificates": ("ehr.example",)})
    known = site.model_copy(update={"senders": (bound, other)})
    cert, key = authority.issue("vigie")
    tls = {"http_tls_cert": cert, "http_tls_key": key, "http_tls_ca": authority.file}
    reception: Any = None
    door = HttpDoor(settings_of(tmp_path, **tls), known, ring, broker, reception, lambda: NOW)
    await door.start()
    yield SimpleNamespace(url=f"https://127.0.0.1:{door.port}", broker=broker)
    await door.stop()


async def post(url: str, context: ssl.SSLContext, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, verify=context, headers=headers) as client:
        return (await client.post("/v1/orders", json=ORDER)).status_code


async def test_a_certificate_speaks_for_the_sender_that_names_it(
    protected: SimpleNamespace, authority: Authority
) -> None:
    assert await post(protected.url, authority.client("ehr.example")) == 200
    assert [event.sender for event in protected.broker.events] == ["ehr"]


async def test_a_certificate_that_no_sender_names_needs_a_token_and_takes_nobody_s(
    protected: SimpleNamespace, authority: Authority
) -> None:
    stranger = authority.client("printer.example")
    assert await post(protected.url, stranger) == 401
    assert await post(protected.url, stranger, TOKEN) == 403  # the EHR's, from elsewhere
    assert protected.broker.sent == []


@pytest.mark.parametrize("name", ["", "ehr.example"])
async def test_without_a_certificate_of_the_door_s_ca_nothing_is_heard(
    protected: SimpleNamespace, authority: Authority, tmp_path: Path, name: str
) -> None:
    failed = metrics.refused.labels("http", "bad_certificate")
    before = failed._value.get()
    context = authority.client()
    if name:
        context.load_cert_chain(*Authority(tmp_path / "other", "of-another-door").issue(name))
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await post(protected.url, context, TOKEN)
    assert protected.broker.sent == []
    assert failed._value.get() == before + 1  # and one line


async def test_plain_http_at_a_door_with_tls_is_counted(protected: SimpleNamespace) -> None:
    failed = metrics.refused.labels("http", "bad_certificate")
    before = failed._value.get()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(protected.url.replace("https", "http"))
    assert failed._value.get() == before + 1


async def test_a_door_in_clear_opens_to_nobody_elsewhere(
    tmp_path: Path, site: Site, ring: KeyRing, broker: Any
) -> None:
    reception: Any = None
    door = HttpDoor(settings_of(tmp_path, http_bind="0.0.0.0"), site, ring, broker, reception)
    with pytest.raises(Misconfigured, match="VIGIE_HTTP_BIND"):
        await door.start()
    await asyncio.sleep(0)


async def test_an_address_that_is_not_ours_names_the_setting_of_this_door(
    tmp_path: Path, site: Site, ring: KeyRing, broker: Any
) -> None:
    reception: Any = None
    settings = settings_of(tmp_path, http_bind="192.0.2.1", insecure=True)
    door = HttpDoor(settings, site, ring, broker, reception)
    with pytest.raises(
        Misconfigured, match=r"VIGIE_HTTP_PORT: .* or VIGIE_HTTP_BIND to an address"
    ):
        await door.start()
