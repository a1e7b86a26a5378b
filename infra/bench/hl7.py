"""One HL7 order read and made into events, beside python-hl7's parse of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from infra.bench.measure import Result, compare
from streams.events import encode
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.message import parse, peek
from streams.identity.seal import new_ring
from streams.senders.site import load_site

_SITE = Path(__file__).parents[1] / "site"
_STAMP = "20260314101500+0100"
#: An order as a French hospital's RIS sends it; nobody's.
_SEGMENTS = (
    f"MSH|^~\\&|RIS|HOSP|VIGIE|HOSP|{_STAMP}||ORM^O01^ORM_O01|{{number}}|P|2.5.1|||AL|NE|FRA|"
    "UNICODE UTF-8",
    "PID|1||1234567^^^HOSP&1.2.250.1.71&ISO^PI~2750199123456^^^INS&1.2.250.1.213.1.4.8&ISO^INS||"
    "EXEMPLE^Zoé^^^^^L||19750102|F|||12 RUE DES LILAS^^LYON^^69003^FRA||0102030405|||M"
    "|||||||||||||||VALI",
    "PV1|1|E|ER^12^3^HOSP||||1234^MARTIN^PAUL|||||||||||V778899^^^HOSP&1.2.250.1.71&ISO^VN",
    "ORC|NW|PL{number}^RIS|FI{number}^RIS||SC||^^^20260314110000^^S||20260314101400|USER1||"
    "1234^MARTIN^PAUL|ER",
    "TQ1|1||||||20260314110000||S",
    "OBR|1|PL{number}^RIS|FI{number}^RIS|CTHEAD^CT head without contrast^L|||||||||"
    "Fall, headache, on anticoagulants||1234^MARTIN^PAUL||||ACC{number}||||||CT||||||WALK"
    "||R51^Headache^I10",
    "DG1|1||R51^Headache^I10|||A",
    "NTE|1||Patient is claustrophobic",
    "ZDS|1.2.826.0.1.3680043.2.1125.{number}^VIGIE^Application^DICOM",
)


def order(number: int) -> bytes:
    """The order of that number, some 900 bytes."""
    return "".join(f"{segment}\r" for segment in _SEGMENTS).format(number=number).encode()


def measure(*, runs: int, quick: bool) -> list[Result]:
    """The fields that route a message, and the whole way to what is published.

    Raises LookupError where python-hl7 is missing.
    """
    try:
        import hl7
    except ImportError:
        raise LookupError("python-hl7 is missing: pip install hl7") from None
    count = 50 if quick else 1000
    site, ring, raw = load_site(_SITE), new_ring(), order(123456)
    text, now = raw.decode(), datetime.now(UTC)

    def library() -> None:
        hl7.parse(text)

    def routed() -> tuple[str, ...]:
        found = parse(raw)
        return (
            found.header.control_id,
            found.text("PID", 3),
            found.text("PV1", 19),
            found.text("ORC", 1),
            found.text("ORC", 2),
            found.text("OBR", 18),
            found.text("OBR", 24),
            found.text("ZDS", 1),
        )

    def published() -> None:
        header = peek(raw)
        sender = site.sender_for_hl7(header.application, header.facility)
        for _, event in events(parse(raw, sender, header), Context(site, sender, ring, now)):
            encode(event)

    beside = "beside python-hl7's parse"
    return [
        compare("hl7", f"{what}, {beside}", "messages/s", _rate(ours, count), rate, runs=runs)
        for rate in (_rate(library, max(count // 10, 10)),)
        for what, ours in (
            ("split, and the eight fields read that route a message", routed),
            ("a message made into encoded events, identity sealed", published),
        )
    ]


def _rate(work: Callable[[], object], count: int) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        for _ in range(count):
            work()
        return count / (time.perf_counter() - started)

    return run
