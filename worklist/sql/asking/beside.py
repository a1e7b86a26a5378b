"""What was said of a study under seal, opened for whoever has it before him: its reports' texts,
and of its orders what a reader has to know beside. The list itself holds none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from streams.events import OrderChanged, ReportReceived
from worklist.record.facts import Fact, stands
from worklist.sql.writing.closure import as_array, decode_fact
from worklist.sql.writing.opening import Opener

_BODIES = text("SELECT body::text AS body FROM fact WHERE key = ANY(CAST(:keys AS text[]))")


@dataclass(frozen=True)
class ReportShown:
    """One report, as it was first received: ``preliminary``, ``final``, ``corrected``, ``addendum``
    or ``withdrawn``; its text, empty where none was sent.
    """

    id: str
    status: str
    received_at: datetime
    sender: str
    text: str


@dataclass(frozen=True)
class Beside:
    """The reports of a study, the first received first; whether its patient is pregnant (None:
    nobody says) and isolated for what.
    """

    reports: tuple[ReportShown, ...] = ()
    pregnant: bool | None = None
    isolation: str = ""


def beside(connection: Connection, row: Mapping[str, Any], opener: Opener) -> Beside:
    """What was said beside of a row, by its `queue.detail`. Raises Park `bad_seal`."""
    found = connection.execute(_BODIES, {"keys": as_array(row["reports"])})
    facts = [opener.fact(decode_fact(one.body)) for one in found]
    orders = [fact for fact in facts if isinstance(fact.event, OrderChanged)]
    pregnant = stands(orders, lambda fact: fact.details.pregnant if fact.details else None)
    isolation = stands(orders, lambda fact: (fact.details and fact.details.isolation) or None)
    return Beside(
        tuple(_reports(facts, opener)),
        pregnant[1] if pregnant else None,
        isolation[1] if isolation else "",
    )


def _reports(facts: list[Fact], opener: Opener) -> list[ReportShown]:
    """Each once: what repeats a report word by word is the same."""
    shown: dict[tuple[str, str], ReportShown] = {}
    for fact in sorted(facts, key=lambda fact: (fact.received, fact.key)):
        event = fact.event
        if isinstance(event, ReportReceived):
            said = opener.report_text(event)
            report = ReportShown(fact.key, event.status, fact.received, event.sender, said)
            shown.setdefault((event.status, said), report)
    return list(shown.values())
