"""Who may say what at the MLLP door, and what strangers cannot do to it."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.errors import Misconfigured
from streams.events import SenderSeen
from streams.hl7.door import MllpDoor
from streams.hl7.wire.framing import frame
from streams.hl7.wire.listener import Listener
from streams.identity.seal import KeyRing
from streams.senders.site import Site, load_site
from streams.settings import StreamsSettings
from tests.streams.certificates import Authority
from tests.streams.hl7.conftest import EXAMPLE, NOW, Broker, Client, order, report

ALL = '["order", "cancel", "close", "merge"]'
SENDERS = f"""
accept_unknown = {{accept}}
[senders.ris]
hl7 = ["RIS|*"]
rights = {ALL}
{{ris}}
[senders.ehr]
hl7 = ["EHR|*"]
[senders.other]
hl7 = ["OTHER|*"]
rights = {ALL}
{{other}}
"""


def site_of(folder: Path, *, ris: str, other: str = "", accept: str = "false") -> Site:
    there = folder / "site"
    there.mkdir()
    other = other or 'addresses = ["192.0.2.1"]'
    (there / "senders.toml").write_text(SENDERS.format(accept=accept, ris=ris, other=other))
    (there / "codes.toml").write_text((EXAMPLE / "codes.toml").read_text())
    return load_site(there)


@asynccontextmanager
async def door_of(
    site: Site, ring: KeyRing, broker: Broker, **settings: Any
) -> AsyncIterator[MllpDoor]:
    numbers = itertools.count()
    limits = {"mllp_max_bytes": 65536, "mllp_idle_s": 5, "mllp_message_s": 1} | settings
    door = MllpDoor(
        StreamsSettings(kafka="unused", mllp_port=0, **limits),
        site,
        ring,
        broker,
        now=lambda: NOW,
        new_id=lambda: f"V{next(numbers)}",
    )
    await door.start()
    try:
        yield door
    finally:
        await door.stop()


@asynccontextmanager
async def client_of(
    door: MllpDoor, address: str = "127.0.0.1", **more: Any
) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", door.port, local_addr=(address, 0), **more
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def ended(client: Client) -> bool:
    """Whether the door says nothing and closes."""
    async with asyncio.timeout(5):
        try:
            return await client.reader.read() == b""
        except ConnectionError:  # closed before it had read all
            return True


BOUND = 'addresses = ["127.0.0.2", "10.0.0.0/8"]'


async def test_who_calls_himself_ris_from_elsewhere_closes_nothing(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    async with door_of(site, ring, broker) as door, client_of(door) as stranger:
        for raw in (report(), order("CA"), order()):
            assert "unknown_sender" in await stranger.ask(raw)
        assert broker.on("orders") == []
        async with client_of(door, "127.0.0.2") as ris:
            assert "MSA|AA|M2" in await ris.ask(report())
            assert "MSA|AA|M1" in await ris.ask(order("CA"))


async def test_a_listed_peer_speaks_for_itself_alone(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND, accept="true")
    async with door_of(site, ring, broker) as door, client_of(door, "127.0.0.2") as ris:
        for name in ("EHR|X", "OTHER|X", "NOBODY|X"):
            assert "unknown_sender" in await ris.ask(order(msh=name))


async def test_a_sender_without_binding_only_orders(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    async with door_of(site, ring, broker) as door, client_of(door) as ehr:
        assert "MSA|AA|M1" in await ehr.ask(order(msh="EHR|X"))
        assert "not_authorised" in await ehr.ask(order("CA", msh="EHR|X"))


def test_rights_that_anybody_could_take_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"senders.toml.*cancel, close, merge.*addresses"):
        site_of(tmp_path, ris="")


async def test_a_refusal_leaves_one_line_that_says_whose_it_was(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    with capture_logs() as lines:
        async with door_of(site, ring, broker) as door, client_of(door, "127.0.0.2") as ris:
            await ris.ask(order("ZZ", id="X\x1b[31mY"))
            (event,) = [one for one in door._seen.events(NOW) if one.sender == "ris"]
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert (line["sender"], line["peer"], line["reason"], line["where"]) == (
        "ris",
        "127.0.0.2",
        "bad_field",
        "ORC-1",
    )
    assert "\x1b" not in line["control_id"]
    assert isinstance(event, SenderSeen)
    assert (event.answers, event.refusals) == ({"AE": 1}, {"bad_field": 1})


async def test_a_report_that_is_too_large_is_counted_for_its_sender(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    async with door_of(site, ring, broker) as door:
        for address in ("127.0.0.2", "127.0.0.3"):
            async with client_of(door, address) as client:
                assert "too_large" in await client.ask(report() + bytes(70_000))
        seen = {one.sender: one.refusals for one in door._seen.events(NOW)}
    assert (seen["ris"], seen["unknown"]) == ({"too_large": 1}, {"too_large": 1})


async def test_a_site_may_name_a_sender_in_letters_of_its_own(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    hospital = "H\N{LATIN CAPITAL LETTER O WITH CIRCUMFLEX}PITAL"
    site = site_of(
        tmp_path,
        ris=BOUND,
        other=f'addresses = ["127.0.0.5"]\n[senders.own]\nhl7 = ["SIH|{hospital}"]',
    )
    async with door_of(site, ring, broker) as door, client_of(door, "127.0.0.6") as client:
        for charset, codec in (("UNICODE UTF-8", "utf-8"), ("8859/15", "iso8859-15")):
            raw = order(msh=f"SIH|{hospital}", charset=charset).decode().encode(codec)
            client.writer.write(frame(raw))
            assert b"MSA|AA" in await client.reader.readuntil(b"\x1c\r")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def secured(authority: Authority) -> dict[str, Any]:
    certificate, key = authority.issue("door")
    return {
        "mllp_tls_cert": certificate,
        "mllp_tls_key": key,
        "mllp_tls_ca": authority.file,
    }


async def test_a_certificate_says_who_somebody_is(
    tmp_path: Path, ring: KeyRing, broker: Broker, authority: Authority
) -> None:
    site = site_of(
        tmp_path, ris='certificates = ["ris.hospital"]', other='certificates = ["other.hospital"]'
    )
    async with door_of(site, ring, broker, **secured(authority)) as door:
        async with client_of(door, ssl=authority.client("ris.hospital")) as ris:
            assert "MSA|AA|M2" in await ris.ask(report())
            assert "unknown_sender" in await ris.ask(report(msh="OTHER|X"))
        async with client_of(door, ssl=authority.client("other.hospital")) as other:
            assert "unknown_sender" in await other.ask(report())
        async with client_of(door, ssl=authority.client("printer.hospital")) as printer:
            assert "unknown_sender" in await printer.ask(order("CA"))


def _old(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    "context_of",
    [
        lambda authority, folder: authority.client(),
        lambda authority, folder: _foreign(authority, folder),
        lambda authority, folder: authority.client("ris.hospital", days=-2),
        lambda authority, folder: _old(authority.client("ris.hospital")),
        lambda authority, folder: None,
    ],
    ids=["no certificate", "another CA's", "expired", "TLS 1.1", "in clear"],
)
async def test_a_handshake_that_fails_leaves_a_line_and_a_counted_reason(
    context_of: Callable[[Authority, Path], ssl.SSLContext | None],
    tmp_path: Path,
    ring: KeyRing,
    broker: Broker,
    authority: Authority,
) -> None:
    site = site_of(tmp_path, ris='certificates = ["ris.hospital"]')
    with capture_logs() as lines:
        async with door_of(site, ring, broker, **secured(authority)) as door:
            try:
                async with client_of(door, ssl=context_of(authority, tmp_path)) as stranger:
                    stranger.writer.write(frame(order()))
                    async with asyncio.timeout(5):
                        assert await stranger.reader.read() == b""
            except OSError:
                pass
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert (line["reason"], line["peer"]) == ("tls_failed", "127.0.0.1")
    assert line["where"]
    assert broker.sent == []


def _foreign(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = Authority(folder / "foreign", "Other CA").client("ris.hospital")
    context.load_verify_locations(authority.file)
    return context


@pytest.mark.parametrize("left_out", ["mllp_tls_cert", "mllp_tls_key", "mllp_tls_ca"])
def test_half_a_protection_is_none_and_is_refused(left_out: str, authority: Authority) -> None:
    half = {name: value for name, value in secured(authority).items() if name != left_out}
    settings = StreamsSettings(kafka="unused", **half)
    with pytest.raises(Misconfigured, match="VIGIE_MLLP_TLS_CERT"):
        Listener(settings, _nobody, lambda _error, _peer: None, lambda _address: True)


async def _nobody(*_connection: object) -> None:
    """Serves no connection."""


def proxied(address: str) -> bytes:
    """A PROXY protocol v2 header."""
    ip = ipaddress.ip_address(address)
    kind, us = (0x11, b"\x7f\0\0\1") if ip.version == 4 else (0x21, bytes(15) + b"\1")
    rest = ip.packed + us + b"\x30\x39\x0a\x0f"
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + bytes([kind]) + len(rest).to_bytes(2, "big") + rest


async def test_a_listed_balancer_says_for_whom_it_speaks(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris='addresses = ["10.1.2.3", "2001:db8::7"]')
    async with door_of(site, ring, broker, mllp_balancers=("127.0.0.1",)) as door:
        for address, answer in (
            ("10.1.2.3", "MSA|AA|M2"),
            ("2001:db8::7", "MSA|AA|M2"),
            ("10.1.2.4", "unknown_sender"),
        ):
            async with client_of(door) as balancer:
                balancer.writer.write(proxied(address))
                assert answer in await balancer.ask(report())
        async with client_of(door, "127.0.0.3") as stranger:  # who is no balancer, and says he is
            stranger.writer.write(proxied("10.1.2.3") + frame(report()))
            assert await ended(stranger)


@pytest.mark.parametrize(
    "start", [frame(order()), b"PROXY TCP4 10.1.2.3", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"]
)
async def test_a_balancer_that_does_not_say_it_is_closed(
    start: bytes, tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    balancers = ("127.0.0.0/8",)
    async with (
        door_of(site, ring, broker, mllp_balancers=balancers) as door,
        client_of(door, "127.0.0.2") as balancer,
    ):
        balancer.writer.write(start)
        balancer.writer.write_eof()
        assert await ended(balancer)
    assert broker.sent == []


async def test_behind_a_balancer_the_certificate_still_counts(
    tmp_path: Path, ring: KeyRing, broker: Broker, authority: Authority
) -> None:
    """TLS passes through: the header comes first, in clear."""
    site = site_of(tmp_path, ris='certificates = ["ris.hospital"]')
    settings = secured(authority) | {"mllp_balancers": ("127.0.0.1",)}
    async with door_of(site, ring, broker, **settings) as door, client_of(door) as balancer:
        balancer.writer.write(proxied("10.1.2.3"))
        await balancer.writer.drain()
        await balancer.writer.start_tls(authority.client("ris.hospital"))
        assert "MSA|AA|M2" in await balancer.ask(report())


async def test_one_address_and_all_strangers_together_leave_room_for_a_listed_sender(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    limits = {"mllp_connections": 12, "mllp_per_peer": 4}
    async with door_of(site, ring, broker, **limits) as door:
        held = [
            await asyncio.open_connection("127.0.0.1", door.port, local_addr=(f"127.0.1.{one}", 0))
            for one in range(1, 5)
            for _ in range(6)
        ]
        await asyncio.sleep(0.2)
        over = [reader.at_eof() for reader, _ in held]
        assert over.count(False) == 6, "half of twelve, at most four each"
        async with client_of(door, "127.0.0.2") as ris:
            assert "MSA|AA|M1" in await ris.ask(order())
        for _, writer in held:
            writer.close()


async def test_bytes_without_end_slow_senders_and_a_thousand_sockets_stop_no_honest_one(
    tmp_path: Path, ring: KeyRing, broker: Broker
) -> None:
    site = site_of(tmp_path, ris=BOUND)
    async with door_of(site, ring, broker) as door, client_of(door, "127.0.0.2") as ris:
        held = [
            await asyncio.open_connection("127.0.0.1", door.port, local_addr=("127.0.0.9", 0))
            for _ in range(1000)
        ]

        async def endless() -> bytes:
            async with client_of(door) as stranger:
                told = b""
                with suppress(ConnectionError):
                    stranger.writer.write(b"\x0bMSH|^~\\&|X|Y|||||ORM^O01|1|P|2.5\r")
                    for _ in range(160):
                        stranger.writer.write(b"x" * 65536)
                        await stranger.writer.drain()
                    told = await stranger.reader.read()
                return told

        async def slow() -> bool:
            async with client_of(door) as stranger:
                with suppress(ConnectionError):
                    for byte in frame(order())[:40]:  # twice as long as a message may take
                        stranger.writer.write(bytes([byte]))
                        await asyncio.sleep(0.05)
                return await ended(stranger)

        async def honest() -> None:
            for number in range(50):
                async with asyncio.timeout(5):
                    assert f"MSA|AA|H{number}" in await ris.ask(order(id=f"H{number}"))

        told, half, _ = await asyncio.gather(endless(), slow(), honest())
        assert told == b"" or b"too_large" in told
        assert half
        for _, writer in held:
            writer.close()
