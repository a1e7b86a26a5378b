"""HAPI, the HL7 library of most Java systems, talks to the door: both modes, clear and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.hl7.door import MllpDoor
from streams.identity.seal import KeyRing
from tests.streams.certificates import Authority
from tests.streams.hl7.conftest import Broker, order
from tests.streams.hl7.test_strangers import BOUND, door_of, secured, site_of
from tests.streams.java import class_path, run

pytestmark = [pytest.mark.needs("java", "javac", "mvn"), pytest.mark.slow]
HERE = Path(__file__).parent / "hapi"
COUNT = 20
_SECRET = "changeit"  # of a key store that lives as long as its test


@pytest.fixture(scope="session")
def hapi(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path of HAPI and of what sends by it."""
    return class_path(HERE, tmp_path_factory.mktemp("hapi"))


async def sent(hapi: str, door: MllpDoor, message: bytes, folder: Path, *options: str) -> list[str]:
    file = folder / "order.hl7"
    file.write_bytes(message)
    way = "tls" if options else "clear"
    words = ("-Dca.uhn.hl7v2.llp.charset=UTF-8", *options, "-cp", hapi, "Send")
    args = (str(door.port), way, str(file), str(COUNT))
    return (await asyncio.to_thread(run, "java", *words, *args)).splitlines()


def enhanced(accept: str, apply: str) -> bytes:
    return order().replace(b"|2.5.1||||||UNICODE", f"|2.5.1|||{accept}|{apply}||UNICODE".encode())


@pytest.fixture
async def open_door(ring: KeyRing, broker: Broker, tmp_path: Path) -> AsyncIterator[MllpDoor]:
    site = site_of(tmp_path, ris='addresses = ["127.0.0.1"]')
    async with door_of(site, ring, broker, mllp_idle_s=60) as door:
        yield door


@pytest.mark.parametrize(
    ("message", "codes"),
    [
        (order(), {"AA"}),
        (enhanced("AL", "NE"), {"CA"}),
        # Whichever of the two its thread sees first.
        (enhanced("AL", "AL"), {"CA", "AA"}),
        (order("ZZ"), {"AE"}),
    ],
    ids=["original", "commit only", "both", "refused"],
)
async def test_hapi_gets_each_answer(
    message: bytes, codes: set[str], hapi: str, open_door: MllpDoor, tmp_path: Path
) -> None:
    said = [line.split() for line in await sent(hapi, open_door, message, tmp_path)]
    assert [control_id for _, control_id in said] == [f"H{number}" for number in range(COUNT)]
    assert {code for code, _ in said} <= codes


def stores(authority: Authority, folder: Path) -> list[str]:
    """The options by which Java proves to be the RIS, and believes the test's authority."""
    certificate, key = authority.issue("ris.hospital")
    own, trusted = folder / "own.p12", folder / "trusted.p12"
    export = ("-export", "-in", certificate, "-inkey", key, "-out", own)
    run("openssl", "pkcs12", *export, "-passout", f"pass:{_SECRET}")
    importing = ("-importcert", "-noprompt", "-alias", "ca", "-file", authority.file)
    keys = ("-keystore", trusted, "-storetype", "PKCS12", "-storepass", _SECRET)
    run("keytool", *importing, *keys)
    options: dict[str, Any] = {
        "keyStore": own,
        "keyStorePassword": _SECRET,
        "trustStore": trusted,
        "trustStorePassword": _SECRET,
    }
    return [f"-Djavax.net.ssl.{name}={value}" for name, value in options.items()]


@pytest.mark.parametrize("message", [order(), enhanced("AL", "NE")], ids=["original", "enhanced"])
async def test_hapi_proves_who_it_is_by_its_certificate(
    message: bytes, hapi: str, ring: KeyRing, broker: Broker, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    site = site_of(tmp_path, ris='certificates = ["ris.hospital"]', other=BOUND)
    async with door_of(
        site, ring, broker, mllp_message_s=10, mllp_idle_s=60, **secured(authority)
    ) as door:
        said = await sent(hapi, door, message, tmp_path, *stores(authority, tmp_path))
    assert {line.split()[0] for line in said} == {"AA" if message == order() else "CA"}
    assert len(broker.on("orders")) == COUNT
