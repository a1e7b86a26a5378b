"""What a message becomes, by the site's tables."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Reason, Refuse
from streams.events import (
    Event,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    encode,
)
from streams.hl7.mapping import Context, events
from streams.hl7.message import parse, when
from streams.seal import KeyRing
from tests.streams.hl7.conftest import NOW, order, report


def only(raw: bytes, context: Context) -> Event:
    [(_, event)] = events(parse(raw), context)
    return event


def made(raw: bytes, context: Context) -> OrderChanged:
    event = only(raw, context)
    assert isinstance(event, OrderChanged)
    return event


def test_an_order_in_full(context: Context, ring: KeyRing) -> None:
    event = made(order(), context)
    assert (event.accessions, event.study_uids, event.order, event.status) == (
        ("A1",),
        ("1.2.3",),
        "FI1",
        "scheduled",
    )
    assert (
        event.priority,
        event.location,
        event.modality,
        event.body_part,
        event.subspecialty,
    ) == ("stat", "emergency", "CT", "HEAD", "neuro")
    assert event.version.time == when("20260314101400", "Europe/Paris")
    who = ring.open_identity(event.identity or "")
    assert (who.patient_id, who.issuer, who.name, who.birth_date, who.sex) == (
        "P1",
        "HOSP",
        "Lefèvre^Zoé",
        "19500102",
        "F",
    )


def test_promise_8_no_name_outside_the_seal(context: Context) -> None:
    for raw in (order(), report(), order().replace(b"ORM^O01", b"ADT^A08")):
        for key, event in events(parse(raw), context):
            text = (key + encode(event).decode()).lower()
            assert "lef" not in text
            assert "p1" not in key


@pytest.mark.parametrize(
    ("control", "status"),
    [
        ("NW", "scheduled"),
        ("XO", "scheduled"),
        ("CA", "cancelled"),
        ("DC", "cancelled"),
        ("RP", "replaced"),
        ("RO", "scheduled"),
    ],
)
def test_order_controls(control: str, status: str, context: Context) -> None:
    assert made(order(control), context).status == status


@pytest.mark.parametrize(("control", "count"), [("UC", 0), ("UX", 0), ("DE", 0)])
def test_a_refused_request_of_the_placer_changes_nothing(
    control: str, count: int, context: Context
) -> None:
    assert len(events(parse(order(control)), context)) == count


@pytest.mark.parametrize(
    ("code", "word"),
    [("S", "stat"), ("A", "urgent"), ("R", "routine"), ("", "unknown"), ("Z9", "unknown")],
)
def test_a_missing_priority_is_unknown_and_never_routine(
    code: str, word: str, context: Context
) -> None:
    assert made(order(priority=code), context).priority == word


def test_of_two_priorities_the_more_urgent_wins(context: Context) -> None:
    assert made(order(priority="R", more="TQ1|1||||||||S\r"), context).priority == "stat"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("P", "preliminary"),
        ("F", "final"),
        ("C", "corrected"),
        ("X", "cancelled"),
        ("Prelim", "preliminary"),
    ],
)
def test_reports(status: str, word: str, context: Context) -> None:
    event = only(report(status), context)
    assert isinstance(event, ReportReceived)
    assert (event.status, event.accessions) == (word, ("A1",))


def test_only_senders_that_the_site_names_close_a_study(context: Context) -> None:
    stranger = Context(
        context.site, context.sender.model_copy(update={"closes": False}), context.ring, NOW
    )
    for raw in (report(), order("CA")):
        with pytest.raises(Refuse) as refused:
            events(parse(raw), stranger)
        assert refused.value.reason is Reason.NOT_AUTHORISED
    assert events(parse(order()), stranger)


def test_an_echo_of_our_own_changes_nothing(context: Context) -> None:
    assert events(parse(report(msh="VIGIE|HOSP")), context) == []


def test_several_orders_share_the_one_study_uid_that_comes_last(context: Context) -> None:
    raw = order().replace(
        b"ZDS|", b"ORC|NW|PL2|FI2||SC\rOBR|2|PL2|FI2|CTHEAD||||||||||||||A2||||||CT\rZDS|"
    )
    found = [event for _, event in events(parse(raw), context) if isinstance(event, OrderChanged)]
    assert [(event.accessions, event.study_uids) for event in found] == [
        (("A1",), ("1.2.3",)),
        (("A2",), ("1.2.3",)),
    ]


def test_merge_and_demographics(context: Context) -> None:
    head = (
        "MSH|^~\\&|RIS|HOSP|||20260314101500||ADT^{}|M3|P|2.5\r"
        "EVN||20260314101400\rPID|1||P1^^^HOSP^MR||Doe\r"
    )
    merged = only((head.format("A40") + "MRG|P0^^^HOSP^MR\r").encode(), context)
    assert isinstance(merged, PatientMerged)
    assert merged.patient not in (None, merged.retired)
    changed = only((head.format("A08") + "PV1|1|I|ICU\r").encode(), context)
    assert isinstance(changed, PatientChanged)
    assert (changed.location, changed.patient) == ("icu", merged.patient)


@pytest.mark.parametrize(
    ("raw", "reason", "where"),
    [
        (b"MSH|^~\\&|A|B|||||ORM^O01|1|P|2.5\r", Reason.MISSING_FIELD, "ORC"),
        (order().replace(b"ORM^O01", b"SIU^S12"), Reason.UNSUPPORTED_MESSAGE, "MSH-9"),
        (order("Q?"), Reason.BAD_FIELD, "ORC-1"),
        (order(accession="A" * 65), Reason.BAD_FIELD, "OBR-18"),
        (order().replace(b"1.2.3^", b"one^"), Reason.BAD_FIELD, "ZDS-1"),
        (order(charset="KLINGON"), Reason.UNKNOWN_CHARSET, "MSH-18"),
        (order().replace(b"\xc3\xa8", b"\xe8"), Reason.UNDECODABLE_TEXT, "MSH-18"),
        (order(id=""), Reason.MISSING_FIELD, "MSH-10"),
        (order().replace(b"|2.5.1|", b"|3.0|"), Reason.UNSUPPORTED_VERSION, "MSH-12"),
        (b"hello", Reason.NOT_HL7, "MSH"),
    ],
)
def test_bad_input_says_where(raw: bytes, reason: Reason, where: str, context: Context) -> None:
    with pytest.raises(Refuse) as refused:
        events(parse(raw), context)
    assert (refused.value.reason, refused.value.where) == (reason, where)


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [
        ("8859/1", "latin-1", "Müller"),
        ("", "latin-1", "Müller"),
        ("", "utf-8", "Müller"),
        ("ISO IR6~ISO IR87", "iso2022_jp", "山田"),
        ("GB 18030-2000", "gb18030", "王小东"),
    ],
)
def test_names_come_through_in_their_character_set(
    charset: str, codec: str, name: str, context: Context, ring: KeyRing
) -> None:
    event = made(order(charset=charset, name=name).decode().encode(codec), context)
    assert ring.open_identity(event.identity or "").name == name


def test_a_clock_that_runs_ahead_is_clamped(context: Context) -> None:
    assert made(order().replace(b"20260314101400", b"20990314101400"), context).version.time == NOW


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026", "2026-01-01T00:00"),
        ("202603141015+0100", "2026-03-14T09:15"),
        ("20260314101500.1234", "2026-03-14T10:15"),
        ("20261399", None),
        ("x", None),
    ],
)
def test_time_stamps(text: str, iso: str | None) -> None:
    found = when(text, "UTC")
    assert (found.strftime("%Y-%m-%dT%H:%M") if found else None) == iso


@given(st.text(max_size=40), st.sampled_from(["UTC", "Europe/Paris", "Asia/Tokyo"]))
def test_any_text_is_a_time_or_none(text: str, zone: str) -> None:
    found = when(text, zone)
    assert found is None or found.tzinfo is UTC
