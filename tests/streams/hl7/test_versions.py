"""Which of two words of one sender is the newer one: event time, message time, MSH-13, receipt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from streams.events import Event, OrderChanged, ReportReceived
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.message import parse

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def at(hours: int, minutes: int = 0, seconds: int = 0) -> datetime:
    return DAY + timedelta(hours=hours, minutes=minutes, seconds=seconds)


@pytest.fixture
def utc(context: Context) -> Context:
    """A sender whose clock is in UTC, and a message that comes at noon."""
    sender = context.sender.model_copy(update={"timezone": "UTC"})
    return replace(context, sender=sender, received_at=at(12))


def order(control: str, orc9: str, msh7: str, priority: str = "", msh13: str = "") -> bytes:
    return (
        f"MSH|^~\\&|RIS|HOSP|||{msh7}||ORM^O01|{control}{msh7}|P|2.5.1|{msh13}\r"
        f"PID|1||P1^^^HOSP^MR\rORC|{control}|PL1|FI1||SC||^^^^^{priority}||{orc9}\r"
        "OBR|1|PL1|FI1|CTHEAD||||||||||||||A1||||||CT\r"
    ).encode()


def report(status: str, obr22: str, msh7: str) -> bytes:
    return (
        f"MSH|^~\\&|RIS|HOSP|||{msh7}||ORU^R01|{status}{msh7}|P|2.5.1\rPID|1||P1^^^HOSP^MR\r"
        f"OBR|1|PL1|FI1|CTHEAD||||||||||||||A1||||{obr22}||CT|{status}\r"
    ).encode()


def said(raw: bytes, context: Context) -> OrderChanged | ReportReceived:
    [(_, event)] = events(parse(raw), context)
    assert isinstance(event, OrderChanged | ReportReceived)
    return event


def newest(*said: OrderChanged | ReportReceived) -> Event:
    return max(said, key=lambda event: event.version_key())


def test_an_upgrade_that_repeats_the_order_s_time_is_the_newer_word(utc: Context) -> None:
    routine = said(order("NW", "202603011000", "202603011000", "R"), utc)
    stat = said(order("XO", "202603011000", "202603011007", "S"), utc)
    assert newest(stat, routine) is stat
    to_the_second = said(order("NW", "20260301100000", "20260301100000", "R"), utc)
    upgrade = said(order("XO", "20260301100000", "20260301100700", "S"), utc)
    assert newest(upgrade, to_the_second) is upgrade


def test_a_final_whose_time_is_a_bare_date_is_newer_than_an_earlier_preliminary(
    utc: Context,
) -> None:
    preliminary = said(report("P", "20260301101500", "202603011015"), utc)
    final = said(report("F", "20260301", "202603011102"), utc)
    assert newest(final, preliminary) is final


def test_a_reinstated_order_is_newer_than_its_cancel(utc: Context) -> None:
    cancel = said(order("CA", "20260301100000", "20260301100000"), utc)
    back = said(order("NW", "20260301100000", "20260301100500"), utc)
    assert newest(cancel, back) is back
    assert (cancel.status, back.status) == ("cancelled", "scheduled")


def test_of_two_words_at_one_time_the_sequence_number_decides(utc: Context) -> None:
    first = said(order("NW", "20260301100000", "20260301100000", "R", "7"), utc)
    second = said(order("XO", "20260301100000", "20260301100000", "S", "8"), utc)
    assert newest(first, second) is second


def test_of_two_words_at_one_time_without_numbers_the_later_receipt_decides(utc: Context) -> None:
    raw = order("NW", "20260301100000", "20260301100000", "R")
    later = replace(utc, received_at=utc.received_at + timedelta(seconds=1))
    second = said(order("XO", "20260301100000", "20260301100000", "S"), later)
    assert newest(second, said(raw, utc)) is second


@pytest.mark.parametrize(
    ("orc9", "msh7", "time"),
    [
        ("20260301100030", "20260301110000", at(10, 0, 30)),  # to the second: as stated
        ("20260301100030.5", "20260301110000", at(10, 0, 30) + timedelta(seconds=0.5)),
        ("202603011000", "20260301100020", at(10, 0, 20)),  # within its minute
        ("202603011000", "20260301100700", at(10, 1) - timedelta(microseconds=1)),  # its end
        ("2026030110", "20260301104500", at(10, 45)),
        ("20260301", "20260301104500", at(10, 45)),
        ("20260301", "20260228235900", at(0)),  # its beginning
        ("202603", "20260301104500", at(10, 45)),
        ("2026", "20260301104500", at(10, 45)),
        ("20260302", "20260301104500", at(12)),  # never later than the receipt
        ("", "20260301104500", at(10, 45)),
        ("soon", "20260301104500", at(10, 45)),
        ("", "", at(12)),
        ("", "20300101", at(12)),
        ("20260301110000+0200", "20260301104500", at(9)),
    ],
)
def test_when_it_happened(orc9: str, msh7: str, time: datetime, utc: Context) -> None:
    event = said(order("NW", orc9, msh7), utc)
    assert event.version.time == time
    assert event.version.message_time <= utc.received_at
