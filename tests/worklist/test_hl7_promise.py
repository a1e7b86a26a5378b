"""Promise 5 from the wire to the row: real messages through the MLLP door, in any order and more
than once, give the same list in PostgreSQL.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from streams.events import decode
from streams.hl7.door import MllpDoor
from streams.identity.seal import KeyRing
from streams.senders.site import load_site
from streams.settings import StreamsSettings
from tests.streams.hl7.conftest import EXAMPLE, Broker
from tests.worklist.conftest import Feed, empty
from worklist.order.policy import Policy
from worklist.sql import queue
from worklist.sql.invariants import violations

BEGIN = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
SHOWN = (
    *("study", "study_uid", "accession", "accessions", "patient_id", "patient_name", "state"),
    *("lane", "due_at", "received_at", "description", "modality", "location", "marks"),
)


def message(minute: int, kind: str, *segments: str) -> tuple[datetime, bytes]:
    """A message that the RIS sent, and that came, at that minute."""
    at = BEGIN + timedelta(minutes=minute)
    head = f"MSH|^~\\&|RIS|HOSP|||{at:%Y%m%d%H%M%S}+0000||{kind}|M{minute}|P|2.5"
    lines = (head, f"EVN||{at:%Y%m%d%H%M%S}+0000", *segments)
    return at, "".join(f"{line}\r" for line in lines).encode()


def pid(number: str, name: str = "DOE^JO", born: str = "19610402") -> str:
    return f"PID|1||{number}^^^HOSP^PI||{name}||{born}|F"


def study(number: str, control: str = "NW", priority: str = "", state: str = "SC") -> list[str]:
    orc = f"ORC|{control}|P{number}|F{number}||{state}||^^^^^{priority}"
    return [orc, f"OBR|1|P{number}|F{number}|CTHEAD^CT head^L||||||||||||||A{number}||||||CT"]


def reported(number: str, status: str) -> list[str]:
    obr = f"OBR|1|P{number}|F{number}|CTHEAD||||||||||||||A{number}||||||CT|{status}"
    return [obr, f"OBX|1|TX|||read||||||{status}"]


#: Orders and their changes, a merge before and after the orders that it is about, a move of a
#: visit, a correction of a name, reports before their order, a cancel, an appointment, a document.
STORY = (
    message(0, "ORM^O01", pid("P1"), "PV1|1|E", *study("1", priority="S")),
    message(1, "ORM^O01", pid("P1"), *study("1", "SC", state="IP")),
    message(2, "ORM^O01", pid("P2", "DOE^J"), *study("2", priority="R")),
    message(3, "ADT^A40", pid("P1"), "MRG|P2^^^HOSP^PI"),
    message(4, "ORM^O01", pid("P2", "DOE^J"), *study("2", "XO", priority="A")),
    message(5, "ADT^A08", pid("P1", "DOE^JOAN"), "PV1|1|I|ICU"),
    message(6, "ORU^R01", pid("P3", "ROE^AL", "19800101"), *reported("3", "P")),
    message(7, "ORM^O01", pid("P3", "ROE^AL", "19800101"), *study("3", priority="R")),
    message(8, "ORU^R01", pid("P3", "ROE^AL", "19800101"), *reported("3", "F")),
    message(9, "ORM^O01", pid("P4", "POE^ED", "19700101"), *study("4")),
    message(10, "ORM^O01", pid("P4", "POE^ED", "19700101"), *study("4", "CA", state="CA")),
    message(11, "SIU^S12", f"SCH{'|' * 11}^^^20260314150000+0000{'|' * 15}P2|F2"),
    message(12, "ORM^O01", pid("P9", "NOE^N", "19900101"), *study("1", priority="R")),
    message(13, "ADT^A47", pid("P5", "ROE^AL", "19800101"), "MRG|P3^^^HOSP^PI"),
    message(14, "MDM^T02", pid("P1"), f"TXA|1|RR|TX{'|' * 11}P1|F1||DI", "OBX|1|TX|||seen"),
)


async def through_the_door(
    told: Sequence[tuple[datetime, bytes]], ring: KeyRing, folder: Path
) -> list[bytes]:
    """What the door publishes of messages that came at these times, in this order."""
    clock, broker, numbers = [BEGIN], Broker(), itertools.count()
    settings = StreamsSettings(kafka="unused", store=folder, mllp_port=0)
    door = MllpDoor(
        settings,
        load_site(EXAMPLE),
        ring,
        broker,
        now=lambda: clock[0],
        new_id=lambda: f"V{next(numbers)}",
    )
    for at, raw in told:
        clock[0] = at
        _, error = await door.take(raw)
        assert error is None, raw
    return broker.on("orders")


@pytest.mark.parametrize("seed", range(10))
async def test_promise_5_any_order_of_messages_and_their_repeats_is_the_same_list(
    seed: int,
    engine: Engine,
    policy: Policy,
    feed: Feed,
    ring: KeyRing,
    tmp_path: Path,
) -> None:
    def shown() -> list[list[Any]]:
        with engine.begin() as connection:
            assert violations(connection) == {}
            items = queue.listing(connection, state="all", limit=100).items
            found = [queue.detail(connection, item["study"]) for item in items]
        return [[row[one] for one in SHOWN] for row in found if row]

    feed(*map(decode, await through_the_door(STORY, ring, tmp_path)))
    expected = shown()
    assert len(expected) == 5
    empty(engine, policy)
    chance = random.Random(seed)
    # A second process of the gateway does not remember what the first took.
    told = chance.sample(STORY, len(STORY))
    again = chance.sample(STORY, len(STORY) // 2)
    published = await through_the_door(told, ring, tmp_path)
    published += await through_the_door(again, ring, tmp_path)
    feed(*map(decode, chance.sample(published, len(published))))
    assert shown() == expected
