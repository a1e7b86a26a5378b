"""Orders through the gateway's MLLP door, durable on Apache Kafka, beside a bare asyncio echo."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.bench.hl7 import order
from infra.bench.measure import Result, compare
from infra.bench.process import process
from infra.embedded import free_port
from infra.kafka import Kafka
from streams.hl7.wire.framing import CR, FS, frame
from streams.identity.seal import new_ring
from streams.kafka.admin import make_topics
from streams.settings import StreamsSettings

_SITE = Path(__file__).parents[1] / "site"
_END = FS + CR
_ACK = frame(b"MSH|^~\\&|VIGIE|HOSP|RIS|HOSP|20260314101500||ACK^O01|1|P|2.5.1\rMSA|CA|1\r")
CONNECTIONS = 64
_START_S = 30.0


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Many connections, one that waits for each answer, and how long an answer takes at half load.

    Raises:
        LookupError: no Java or Maven, so no Apache Kafka.
    """
    if not (shutil.which("java") and shutil.which("mvn")):
        raise LookupError("Java and Maven bring Apache Kafka: one of them is missing")
    messages, alone = (500, 50) if quick else (8000, 1500)
    with (
        tempfile.TemporaryDirectory(prefix="vigie-bench-", ignore_cleanup_errors=True) as name,
        Kafka(Path(name) / "kafka") as broker,
        _echo() as bare,
    ):
        make_topics(StreamsSettings(kafka=broker.address))
        ours, folder = free_port(), Path(name)
        settings = {
            "site": _SITE,
            "mllp_port": ours,
            "dicom_port": free_port(),
            "store": folder / "store",
            "kafka_mock": 0,
            "mllp_per_peer": 2 * CONNECTIONS,
        }
        with process("gateway", folder, broker.address, new_ring(), settings):
            what = "a durable order and its answer, beside a bare asyncio echo:"
            many = compare(
                "mllp",
                f"{what} {CONNECTIONS} connections",
                "messages/s",
                lambda: _rate(ours, CONNECTIONS, messages),
                lambda: _rate(bare, CONNECTIONS, messages),
                runs=runs,
            )
            one = compare(
                "mllp",
                f"{what} one connection that waits for each answer",
                "messages/s",
                lambda: _rate(ours, 1, alone),
                lambda: _rate(bare, 1, alone),
                runs=runs,
            )
            half = many.ours / 2
            late = compare(
                "mllp",
                f"{what} at half load ({half:.0f}/s), one over the p99",
                "1/s",
                lambda: 1 / _p99(ours, half, messages // 4),
                lambda: 1 / _p99(bare, half, messages // 4),
                runs=min(runs, 3),
            )
    return [many, one, late]


class _Sender(asyncio.Protocol):
    """One connection that sends the next message when the last was answered, or when told."""

    def __init__(self, messages: deque[bytes]) -> None:
        self._messages = messages
        self._sent: deque[float] = deque()
        self._came = bytearray()
        self.waits: list[float] = []
        self.paced = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self) -> None:
        """The next message; with none left and none under way, it is over."""
        if self._messages:
            self._sent.append(time.perf_counter())
            self._transport.write(self._messages.popleft())
        elif not self._sent and not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(_END)) >= 0:
            if b"MSA|CA|" not in self._came[:end]:
                self.over.set_exception(RuntimeError("an order of the bench was refused"))
                return
            del self._came[: end + len(_END)]
            self.waits.append(time.perf_counter() - self._sent.popleft())
            if not self.paced or not self._messages:
                self.send()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(ConnectionResetError("the door closed"))


async def _connect(port: int, connections: int, messages: deque[bytes]) -> list[_Sender]:
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(lambda: _Sender(messages), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]


async def _close(senders: list[_Sender]) -> None:
    await asyncio.gather(*(sender.over for sender in senders))
    for sender in senders:
        sender._transport.close()


def _rate(port: int, connections: int, count: int) -> float:
    async def run() -> float:
        messages = deque(frame(order(number)) for number in range(count))
        senders = await _connect(port, connections, messages)
        started = time.perf_counter()
        for sender in senders:
            sender.send()
        await asyncio.gather(*(sender.over for sender in senders))
        took = time.perf_counter() - started
        await _close(senders)
        return count / took

    return asyncio.run(run())


def _p99(port: int, rate: float, count: int) -> float:
    """Seconds until the answer, of one message in a hundred, where `rate` come each second."""

    async def run() -> float:
        messages = deque(frame(order(number)) for number in range(count))
        senders = await _connect(port, CONNECTIONS, messages)
        for sender in senders:
            sender.paced = True
        started, sent = time.perf_counter(), 0
        while messages:
            due = min(int((time.perf_counter() - started) * rate) + 1, count)
            for number in range(sent, due):
                senders[number % CONNECTIONS].send()
            sent = due
            await asyncio.sleep(0.001)
        for sender in senders:
            sender.send()
        await _close(senders)
        waits = sorted(wait for sender in senders for wait in sender.waits)
        return waits[int(len(waits) * 0.99)]

    return asyncio.run(run())


@contextmanager
def _echo() -> Iterator[int]:
    """A process that answers each frame at once with the same AA; its port."""
    port = free_port()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,), daemon=True)
    server.start()
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            asyncio.run(_try(port))
            break
        except OSError:
            time.sleep(0.05)
    try:
        yield port
    finally:
        server.terminate()
        server.join()


async def _try(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


def _serve(port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(_END)
                writer.write(_ACK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())
