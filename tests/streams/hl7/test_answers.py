"""Acknowledgements: which are given, with what codes, in whose separators; and repeats."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client import REGISTRY

from streams.errors import Fault, Reason, Refuse, facts
from streams.events import Parked, decode
from streams.hl7.answers import REFUSALS, code_of, codes_of
from streams.hl7.door import MllpDoor
from streams.hl7.text.message import Header
from streams.hl7.wire.connection import PIPELINE
from streams.hl7.wire.framing import frame
from tests.streams.hl7.conftest import Broker, Client, order

NO = Refuse(Reason.BAD_FIELD, "PID-3")
BUSY = Refuse(Reason.BROKER_DOWN)


@pytest.mark.parametrize("reason", Reason)
def test_what_has_to_be_mended_is_an_error_and_what_may_be_sent_again_a_rejection(
    reason: Reason,
) -> None:
    assert code_of(Refuse(reason)) == ("AR" if facts(reason).retryable else "AE")


def test_each_reason_of_the_door_has_a_sentence() -> None:
    assert all(told.says and 100 <= told.number <= 207 for told in REFUSALS.values())
    assert {facts(reason).fault for reason in REFUSALS} == set(Fault)


#: MSH-15, MSH-16; the answers to a message that was taken, and to one that has an error.
MODES = [
    ("", "", "AA", "AE"),
    ("AL", "AL", "CA AA", "CE"),
    ("AL", "NE", "CA", "CE"),
    ("AL", "ER", "CA", "CE"),
    ("AL", "SU", "CA AA", "CE"),
    ("AL", "", "CA", "CE"),
    ("NE", "AL", "AA", "AE"),
    ("NE", "NE", "", ""),
    ("NE", "ER", "", "AE"),
    ("NE", "SU", "AA", ""),
    ("ER", "AL", "AA", "CE"),
    ("ER", "NE", "", "CE"),
    ("SU", "AL", "CA AA", "AE"),
    ("SU", "ER", "CA", "AE"),
    ("", "AL", "AA", "AE"),
    ("XX", "NE", "CA", "CE"),
]


@pytest.mark.parametrize(("accept", "apply", "taken", "refused"), MODES)
def test_which_acknowledgements_are_given(
    accept: str, apply: str, taken: str, refused: str
) -> None:
    header = Header(accept=accept, apply=apply)
    assert " ".join(codes_of(header, None)) == taken
    assert " ".join(codes_of(header, NO)) == refused
    assert " ".join(codes_of(header, BUSY)) == refused.replace("E", "R")


def enhanced(accept: str, apply: str, control_id: str = "M1", control: str = "NW") -> bytes:
    asked = f"|2.5.1|||{accept}|{apply}||UNICODE".encode()
    return order(control, id=control_id).replace(b"|2.5.1||||||UNICODE", asked)


async def test_in_enhanced_mode_both_answers_come_after_the_broker_confirmed(
    client: Client, broker: Broker
) -> None:
    assert "MSA|CA|M1" in await client.ask(enhanced("AL", "AL"))
    assert "MSA|AA|M1" in await client.answer()
    broker.down = True
    assert "MSA|CR|M2" in await client.ask(enhanced("AL", "AL", "M2"))
    broker.down = False
    assert "MSA|CE|M3" in await client.ask(enhanced("AL", "AL", "M3", "ZZ"))


async def test_a_sender_that_wants_no_answer_gets_none_and_the_next_its_own(
    client: Client, broker: Broker
) -> None:
    client.writer.write(frame(enhanced("NE", "NE")))
    assert "MSA|AA|M2" in await client.ask(order(id="M2"))
    assert len(broker.on("orders")) == 2


@pytest.mark.parametrize("marks", ["|^~\\&", ",^~\\&", "|$%#@"])
async def test_an_answer_is_written_in_the_sender_s_separators(marks: str, client: Client) -> None:
    changed = str.maketrans("|^~\\&", marks)
    answer = await client.ask(order("ZZ", msh="RIS|HO\\T\\SP").decode().translate(changed).encode())
    said = "MSH|^~\\&|VIGIE|HOSP|RIS|HO\\T\\SP|".translate(changed)
    assert answer.startswith(said)
    assert "MSA|AE|M1".translate(changed) in answer
    assert "ERR||ORC^1^1|102^Data type error^HL70357|E".translate(changed) in answer


async def test_separators_that_cannot_be_any_are_an_error_on_msh_2(client: Client) -> None:
    answer = await client.ask(order().replace(b"MSH|^~\\&|", b"MSH|^^\\&|"))
    assert "MSA|AE|M1" in answer
    assert "ERR||MSH^1^2|100" in answer


@pytest.mark.parametrize(
    "control_id", ["A^B", "A~B", "X\\Y", "\\T\\7", "\N{LATIN SMALL LETTER E WITH ACUTE}1"]
)
async def test_a_control_id_comes_back_as_it_was_written(control_id: str, client: Client) -> None:
    """Senders compare it byte for byte."""
    answer = await client.ask(order(id=control_id))
    assert answer.endswith(f"\rMSA|AA|{control_id}")


@pytest.mark.parametrize(("charset", "codec"), [("UNICODE UTF-8", "utf-8"), ("8859/15", "latin-1")])
async def test_names_of_sender_and_receiver_come_back_in_the_sender_s_bytes(
    charset: str, codec: str, client: Client
) -> None:
    hospital = "H\N{LATIN CAPITAL LETTER O WITH CIRCUMFLEX}PITAL^1.2.3^ISO"
    raw = order(msh=f"RIS|{hospital}", charset=charset).decode().encode(codec)
    client.writer.write(frame(raw))
    told = await client.reader.readuntil(b"\x1c\r")
    assert f"|RIS|{hospital}|".encode(codec) in told


async def test_an_acknowledgement_is_not_answered(client: Client, broker: Broker) -> None:
    """Two engines that answer each other's answers never end."""
    ours = await client.ask(order(id="M1"))
    client.writer.write(
        frame(ours.replace("|VIGIE|HOSP|RIS|HOSP|", "|RIS|HOSP|VIGIE|HOSP|").encode())
    )
    assert "MSA|AA|M2" in await client.ask(order(id="M2"))
    assert broker.on("parked") == []


async def test_a_batch_is_answered_in_its_separators(client: Client) -> None:
    raw = b"BHS|^~\\&|RIS\r" + order(id="M1") + b"BTS|1\r"
    answer = await client.ask(raw.translate(bytes.maketrans(b"|^", b"#$")))
    assert answer.startswith("BHS#$~\\&#VIGIE\rMSH#$~\\&#VIGIE#")
    assert answer.rstrip("\r").endswith("BTS#1")


async def test_a_batch_is_answered_message_by_message(client: Client, broker: Broker) -> None:
    parts = order(id="M1") + order("ZZ", id="M2") + order(id="M3")
    raw = b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + parts + b"BTS|3\rFTS|1\r"
    answer = await client.ask(raw)
    assert re.findall(r"MSA\|(\w+)\|(\w+)", answer) == [("AA", "M1"), ("AE", "M2"), ("AA", "M3")]
    assert answer.startswith("BHS|^~\\&|VIGIE\r")
    assert answer.rstrip("\r").endswith("BTS|3")
    assert (len(broker.on("orders")), len(broker.on("parked"))) == (2, 1)


async def test_a_large_batch_is_taken_a_few_at_a_time(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, four thousand messages of one sender kept everybody else out for seconds."""
    under_way = most = 0

    async def publish(topic: str, key: str, value: bytes) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1

    monkeypatch.setattr(broker, "publish", publish)
    count = 2 * PIPELINE + 5
    raw = b"BHS|^~\\&|RIS\r" + b"".join(order(id=f"M{n}") for n in range(count))
    answer = await client.ask(raw + b"BTS\r")
    assert re.findall(r"MSA.AA.M(\d+)", answer) == [str(n) for n in range(count)]
    assert most == PIPELINE


def repeated() -> float:
    return REGISTRY.get_sample_value("vigie_repeated_total", {"door": "mllp"}) or 0


def reused() -> float:
    labels = {"door": "mllp", "what": "control_id"}
    return REGISTRY.get_sample_value("vigie_doubts_total", labels) or 0


async def test_the_same_message_again_is_answered_alike_and_published_once(
    client: Client, broker: Broker
) -> None:
    before = repeated()
    assert "MSA|AA|M1" in await client.ask(order())
    assert "MSA|AA|M1" in await client.ask(order())
    assert (len(broker.on("orders")), repeated() - before) == (1, 1)


async def test_a_repeat_in_flight_awaits_the_same_confirmation(
    door: MllpDoor, broker: Broker
) -> None:
    both = await asyncio.gather(door.take(order()), door.take(order()))
    assert [error for _, error in both] == [None, None]
    assert len(broker.on("orders")) == 1
    broker.down = True
    both = await asyncio.gather(door.take(order(id="M2")), door.take(order(id="M2")))
    assert [code_of(error) for _, error in both] == ["AR", "AR"]
    broker.down = False
    assert (await door.take(order(id="M2")))[1] is None, "what got no yes is not remembered"
    assert len(broker.on("orders")) == 2


async def test_a_refused_message_that_comes_twice_at_once_is_refused_alike(
    door: MllpDoor, broker: Broker
) -> None:
    """The second had been told to come again, as if the broker were away."""
    for wrong in (order("Q?"), b"\r\r", b"no HL7"):
        both = await asyncio.gather(door.take(wrong), door.take(wrong))
        assert [code_of(error) for _, error in both if error] == ["AE", "AE"]
    assert len(broker.on("parked")) == 3
    assert broker.on("orders") == []


async def test_a_control_id_that_is_used_again_for_another_message_is_taken_and_counted(
    client: Client, broker: Broker
) -> None:
    before = reused()
    assert "MSA|AA|M1" in await client.ask(order(accession="A1"))
    assert "MSA|AA|M1" in await client.ask(order(accession="A2"))
    assert (len(broker.on("orders")), reused() - before) == (2, 1)


async def test_a_refused_message_that_is_sent_again_and_again_is_parked_once(
    client: Client, broker: Broker
) -> None:
    for _ in range(3):
        assert "MSA|AE|M1" in await client.ask(order("ZZ"))
    assert len(broker.on("parked")) == 1
    assert isinstance(decode(broker.on("parked")[0]), Parked)


async def test_what_is_ours_is_not_parked(client: Client, broker: Broker) -> None:
    broker.down = True
    assert "MSA|AR|M1" in await client.ask(order())
    broker.down = False
    assert "MSA|AA|M1" in await client.ask(order())
    assert broker.on("parked") == []
