"""The MLLP door, over TCP: what it answers, and that nothing can make it fall silent."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from streams.events import OrderChanged, Parked, decode
from streams.hl7.door import MllpDoor
from streams.hl7.wire.framing import frame
from streams.identity.seal import KeyRing
from tests.streams.hl7.conftest import Broker, Client, order

NO_FRAME = {"door": "mllp", "reason": "not_hl7"}


async def test_aa_only_after_the_broker_confirmed(client: Client, broker: Broker) -> None:
    answer = await client.ask(order())
    assert "MSA|AA|M1" in answer
    assert answer.startswith("MSH|^~\\&|VIGIE|HOSP|RIS|HOSP|")
    assert isinstance(decode(broker.on("orders")[0]), OrderChanged)


async def test_promise_1_no_positive_answer_without_the_broker(
    client: Client, broker: Broker
) -> None:
    broker.down = True
    answer = await client.ask(order())
    assert "MSA|AR|M1" in answer
    assert "broker_down" in answer
    broker.down = False  # recovery without restart
    assert "MSA|AA|M1" in await client.ask(order())


async def test_a_refused_message_is_answered_parked_and_the_next_one_is_on_time(
    client: Client, broker: Broker, ring: KeyRing
) -> None:
    answer = await client.ask(order("Q?"))
    assert "MSA|AE|M1" in answer
    assert "ERR||ORC^1^1|102^Data type error^HL70357|E|bad_field^^VIGIE" in answer
    parked = decode(broker.on("parked")[0])
    assert isinstance(parked, Parked)
    assert ring.open(parked.original) == order("Q?")
    assert b"Lef" not in broker.on("parked")[0]
    assert "MSA|AA|M1" in await client.ask(order())


async def test_older_versions_get_the_older_error_segment(client: Client) -> None:
    answer = await client.ask(order("Q?").replace(b"|2.5.1|", b"|2.3|"))
    assert re.search(r"ERR\|ORC\^1\^1\^102&Data type error&HL70357", answer)


@pytest.mark.parametrize("processing", ["T", "D"])
async def test_tests_are_answered_and_are_no_row(
    processing: str, client: Client, broker: Broker
) -> None:
    assert "MSA|AA|M1" in await client.ask(order(processing=processing))
    assert broker.sent == []


async def test_messages_sent_without_waiting_are_answered_in_order(client: Client) -> None:
    client.writer.write(b"".join(frame(order(id=f"N{number}")) for number in range(20)))
    assert [re.findall(r"MSA\|AA\|(\w+)", await client.answer())[0] for _ in range(20)] == [
        f"N{number}" for number in range(20)
    ]


async def test_a_message_over_the_limit_is_answered_then_the_connection_ends(
    client: Client,
) -> None:
    client.writer.write(b"\x0b" + order() + b"NTE|" + b"x" * 70_000)
    answer = await client.answer()
    assert "MSA|AE|M1" in answer
    assert "too_large" in answer
    assert await client.reader.read() == b""


async def test_silence_and_half_a_message_end_the_connection(
    door: MllpDoor, client: Client
) -> None:
    labels = {"door": "mllp", "reason": "not_hl7"}
    before = REGISTRY.get_sample_value("vigie_refused_total", labels) or 0
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"\x0bMSH|^~\\&|")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert REGISTRY.get_sample_value("vigie_refused_total", labels) == before + 1
    writer.close()
    assert await asyncio.wait_for(client.reader.read(), 5) == b""


async def test_too_many_connections_are_closed_and_the_open_ones_served(
    door: MllpDoor, client: Client
) -> None:
    assert "AA" in await client.ask(order())
    others = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert "AA" in await client.ask(order())
    for _, other in (*others, (reader, writer)):
        other.close()


def _mutations() -> st.SearchStrategy[bytes]:
    """Real messages with bytes cut out, doubled or put in: more dangerous than noise."""

    def change(parts: tuple[int, int, bytes]) -> bytes:
        start, length, put = parts
        raw = order()
        return raw[: start % len(raw)] + put + raw[(start % len(raw)) + length :]

    return st.tuples(st.integers(0, 500), st.integers(0, 60), st.binary(max_size=20)).map(change)


async def test_promise_1_any_bytes_get_an_answer_or_a_closed_connection(
    door: MllpDoor, broker: Broker
) -> None:
    async def send(raw: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(raw)
        writer.write_eof()
        told = await asyncio.wait_for(reader.read(), 5)
        assert told == b"" or re.search(rb"MSA.A[AER]|MSA.C[AER]|BTS", told)
        writer.close()

    loop = asyncio.get_running_loop()

    @settings(
        max_examples=3 * settings.default.max_examples // 2,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.binary(max_size=200).map(frame),
            _mutations().map(frame),
            _mutations(),
        )
    )
    def examples(raw: bytes) -> None:
        asyncio.run_coroutine_threadsafe(send(raw), loop).result(15)

    await asyncio.to_thread(examples)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    assert "AA" in await Client(reader, writer).ask(order())
    writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"<?xml?><MSH/>",
        b"hello MSH|^~\\&|RIS|",
        b"EVN|A01\rPID|1||P1\rMSH|^~\\&|RIS",
        b"\xef\xbb\xbfMSX|MSH|",
        b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\rBTS|0\rFTS|1\r",
        order(charset="ISO IR87", name="Yamada=\x1b$B;3"),
    ],
    ids=["xml", "words", "no header first", "a mark", "empty batch", "broken Japanese"],
)
async def test_a_whole_frame_is_answered_and_so_are_those_around_it(
    raw: bytes, client: Client, broker: Broker
) -> None:
    client.writer.write(frame(order(id="M1")) + frame(raw) + frame(order(id="M3")))
    assert "MSA|AA|M1" in await client.answer()
    assert re.search(r"MSA.A[AE]|BTS.0", await client.answer())
    assert "MSA|AA|M3" in await client.answer()


async def test_a_half_message_gets_no_yes_and_the_one_after_it_its_own(
    client: Client, broker: Broker
) -> None:
    before = REGISTRY.get_sample_value("vigie_refused_total", NO_FRAME) or 0
    client.writer.write(b"\x0b" + order(id="M1")[:150] + frame(order(id="M2", accession="A2")))
    assert "MSA|AA|M2" in await client.answer()
    [event] = map(decode, broker.on("orders"))
    assert isinstance(event, OrderChanged)
    assert "A2" in {number.value for number in event.numbers}
    assert (REGISTRY.get_sample_value("vigie_refused_total", NO_FRAME) or 0) == before + 1


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n\n\n", b" ", b"\x00", b"\xef\xbb\xbf\r\n"])
async def test_what_means_nothing_before_a_message_makes_no_batch_of_it(
    before: bytes, client: Client, broker: Broker
) -> None:
    answer = await client.ask(before + order())
    assert answer.startswith("MSH|")
    assert "MSA|AA|M1" in answer
    assert len(broker.on("orders")) == 1


async def test_a_sender_that_is_not_ours(door: MllpDoor, broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "order.hl7"
    file.write_bytes(b"\x0b" + order() + b"\x1c\r")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.prefix) / "bin" / "mllp_send"),
        "-f",
        str(file),
        "-p",
        str(door.port),
        "127.0.0.1",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert b"MSA|AA|M1" in out
    assert len(broker.on("orders")) == 1
