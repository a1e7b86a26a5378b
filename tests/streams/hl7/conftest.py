"""A site in which everybody may close, messages, and a door with a publisher that can fail."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from streams.errors import Reason, Unavailable
from streams.hl7.door import MllpDoor
from streams.hl7.envelope import Context
from streams.hl7.wire.framing import frame
from streams.identity.seal import KeyRing
from streams.senders.site import Right, Sender, Site, load_site
from streams.settings import StreamsSettings

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[3] / "infra" / "site"


def order(
    control: str = "NW",
    *,
    accession: str = "A1",
    msh: str = "RIS|HOSP",
    more: str = "",
    **values: str,
) -> bytes:
    """An ORM^O01 of one CT head."""
    given = {
        "id": "M1",
        "processing": "P",
        "charset": "UNICODE UTF-8",
        "name": "Lefèvre^Zoé",
        "priority": "S",
        "event": "ORM^O01",
    } | values
    lines = (
        f"MSH|^~\\&|{msh}|VIGIE|HOSP|20260314101500||{given['event']}|{given['id']}|{given['processing']}|2.5.1||||||{given['charset']}",
        f"PID|1||P1^^^HOSP^MR||{given['name']}||19500102|F",
        "PV1|1|E",
        f"ORC|{control}|PL1|FI1||SC||^^^20260314110000^^{given['priority']}||20260314101400",
        f"OBR|1|PL1|FI1|CTHEAD^CT head^L||||||||||||||{accession}||||||CT",
        "ZDS|1.2.3^VIGIE^Application^DICOM",
    )
    return ("\r".join(lines) + "\r" + more).encode()


def report(status: str = "F", msh: str = "RIS|HOSP") -> bytes:
    return (
        f"MSH|^~\\&|{msh}|VIGIE|HOSP|20260314101500||ORU^R01|M2|P|2.5.1\rPID|1||P1^^^HOSP^MR||Doe\r"
        f"OBR|1|PL1|FI1|CTHEAD||||||||||||||A1||||20260314101000||CT|{status}\rOBX|1|TX|||read\r"
    ).encode()


def sent_by(context: Context, **sender: object) -> Context:
    """`context` where the sender has these habits."""
    # Not a copy: what a sender has reckoned of itself would be copied too.
    return replace(context, sender=Sender.model_validate(context.sender.model_dump() | sender))


class Broker:
    """Where a door publishes in these tests; it can be down. Delivery itself is proved on a real
    broker protocol elsewhere.
    """

    def __init__(self) -> None:
        self.down = False
        self.sent: list[tuple[str, str, bytes]] = []

    def publish(self, topic: str, key: str, value: bytes) -> asyncio.Task[None]:
        return asyncio.create_task(self._publish(topic, key, value))

    async def _publish(self, topic: str, key: str, value: bytes) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(Reason.BROKER_DOWN)
        self.sent.append((topic, key, value))

    def on(self, topic: str) -> list[bytes]:
        return [value for name, _, value in self.sent if name == topic]


class Client:
    """An MLLP sender over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, message: bytes) -> str:
        self.writer.write(frame(message))
        return await self.answer()

    async def answer(self) -> str:
        async with asyncio.timeout(10):
            raw = await self.reader.readuntil(b"\x1c\r")
        return raw.strip(b"\x0b\x1c\r").decode()


@pytest.fixture(scope="session")
def site() -> Site:
    example = load_site(EXAMPLE)
    return example.model_copy(
        update={
            "default": example.default.model_copy(
                update={"rights": get_args(Right), "addresses": ("127.0.0.0/8",)}
            ),
            "accept_unknown": True,
        }
    )


@pytest.fixture
def context(site: Site, ring: KeyRing) -> Context:
    return Context(site, site.default, ring, NOW)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def door(
    site: Site, ring: KeyRing, broker: Broker, tmp_path: Path
) -> AsyncIterator[MllpDoor]:
    settings = StreamsSettings(
        kafka="unused",
        site=EXAMPLE,
        store=tmp_path,
        mllp_port=0,
        mllp_max_bytes=65536,
        mllp_idle_s=0.5,
        mllp_message_s=1,
        mllp_connections=4,
    )
    numbers = itertools.count()
    door = MllpDoor(
        settings, site, ring, broker, now=lambda: NOW, new_id=lambda: f"V{next(numbers)}"
    )
    await door.start()
    yield door
    await door.stop()


@pytest.fixture
async def client(door: MllpDoor) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    yield Client(reader, writer)
    writer.close()
    await writer.wait_closed()
