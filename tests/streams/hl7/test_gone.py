"""Senders that go away before they have heard us, on the loop that the gateway runs on."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import uvloop

from streams.hl7.door import MllpDoor
from streams.hl7.wire.framing import frame
from streams.identity.seal import KeyRing
from streams.senders.site import Site
from streams.settings import StreamsSettings
from tests.streams.hl7.conftest import EXAMPLE, NOW, Broker, order

#: With SO_LINGER of no time a close is a reset.
_RESET = struct.pack("ii", 1, 0)


class SlowBroker(Broker):
    """One that takes its time, so that answers come after their sender has gone."""

    async def _publish(self, topic: str, key: str, value: bytes) -> None:
        await asyncio.sleep(0.002)
        await super()._publish(topic, key, value)


def leave(port: int, name: int) -> None:
    """Sends what it has, and goes: politely or not."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        if name % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.sendall(b"".join(frame(order(id=f"{name}-{n}")) for n in range(40)))


def test_a_sender_that_goes_before_it_is_answered_is_no_error_of_ours(
    site: Site, ring: KeyRing, tmp_path: Path
) -> None:
    errors: list[dict[str, Any]] = []

    async def crowd() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: errors.append(told))
        settings = StreamsSettings(kafka="unused", site=EXAMPLE, store=tmp_path, mllp_port=0)
        door = MllpDoor(settings, site, ring, SlowBroker(), now=lambda: NOW, new_id=lambda: "V")
        await door.start()
        await asyncio.gather(*(asyncio.to_thread(leave, door.port, name) for name in range(12)))
        async with asyncio.timeout(20):
            while door._listener and door._listener.tasks:
                await asyncio.sleep(0.01)
        await door.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(crowd())
    assert errors == []
