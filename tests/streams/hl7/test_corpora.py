"""Every real message of the corpora gets the answer that the reviewed table says.

The function `table` makes it anew when a rule changes on purpose.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from streams.errors import VigieError
from streams.hl7.answers import code_of
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.message import parse, peek
from streams.identity.seal import KeyRing
from streams.senders.site import Site
from tests.streams.hl7.conftest import NOW

EXPECTED = Path(__file__).with_name("expected.csv")


def outcome(raw: bytes, site: Site, ring: KeyRing) -> tuple[str, str]:
    """The answer's code, and the events or the reason."""
    raw = raw.strip(b"\x0b\x1c\r\n")
    header = peek(raw)
    try:
        sender = site.sender_for_hl7(header.application, header.facility)
        found = events(parse(raw, sender), Context(site, sender, ring, NOW))
    except VigieError as error:
        return code_of(error), str(error)
    return "AA", " ".join(sorted(type(event).__name__ for _, event in found)) or "ignored"


def table(folder: Path, site: Site, ring: KeyRing) -> dict[str, tuple[str, str]]:
    files = sorted([*(folder / "hl7").glob("*.hl7"), *(folder / "hl7_other").glob("*.hl7")])
    return {
        hashlib.sha256(raw).hexdigest()[:16]: outcome(raw, site, ring)
        for raw in (file.read_bytes() for file in files)
    }


@pytest.mark.needs("corpora")
def test_every_real_message_has_its_answer(site: Site, ring: KeyRing, corpora_dir: Path) -> None:
    with EXPECTED.open(newline="") as file:
        expected = {digest: (answer, effect) for digest, answer, effect in csv.reader(file)}
    found = table(corpora_dir, site, ring)
    assert len(found) > 2000
    assert {digest: pair for digest, pair in found.items() if expected.get(digest) != pair} == {}
