"""Each kind of message that a hospital sends: its effect, or that it has none here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.errors import Reason, Refuse
from streams.events import Event, OrderChanged, PatientChanged, ReportReceived
from streams.hl7.envelope import Context
from streams.hl7.mapping import events, kind
from streams.hl7.text.message import parse
from streams.hl7.text.times import when
from streams.sealed import ReportText
from tests.streams.hl7.conftest import order, sent_by
from tests.streams.hl7.test_patients import adt, changed, pid


def message(kind: str, *segments: str) -> bytes:
    head = f"MSH|^~\\&|RIS|HOSP|||20260314101500||{kind}|M4|P|2.5\rEVN||20260314101400\r"
    return (head + "".join(f"{segment}\r" for segment in segments)).encode()


def one(raw: bytes, context: Context) -> Any:
    [(_, event)] = events(parse(raw), context)
    return event


def sch(numbers: str = "P151^OP|F151^OF") -> str:
    return "SCH" + "|" * 11 + "^^^20260315083000" + "|" * 15 + numbers


@pytest.mark.parametrize("event", ["S12", "S13", "S14"])
def test_an_appointment_moves_its_exam(event: str, context: Context) -> None:
    found = one(message(f"SIU^{event}", sch(), pid()), context)
    assert isinstance(found, OrderChanged)
    assert found.scheduled_at == when("20260315083000", "Europe/Paris")
    assert (found.status, found.priority, found.emptied) == (None, None, ())
    assert {(n.kind, n.value) for n in found.numbers} == {("placer", "P151"), ("filler", "F151")}


def test_the_time_of_the_service_goes_before_that_of_the_appointment(context: Context) -> None:
    raw = message("SIU^S12", sch(), pid(), "RGS|1", "AIS|1||CTHEAD|20260315091500")
    assert one(raw, context).scheduled_at == when("20260315091500", "Europe/Paris")


def test_an_appointment_for_several_orders_moves_each(context: Context) -> None:
    raw = message("SIU^S13", sch("P1^OP~P2^OP|F1^OF~F2^OF~F3^OF"), pid())
    found = [event for _, event in events(parse(raw), context)]
    assert [e.scheduled_at for e in found if isinstance(e, OrderChanged)] == 3 * [
        when("20260315083000", "Europe/Paris")
    ]
    named = [[(n.kind, n.value) for n in e.numbers] for e in found if isinstance(e, OrderChanged)]
    assert named == [
        [("placer", "P1"), ("filler", "F1")],
        [("placer", "P2"), ("filler", "F2")],
        [("filler", "F3")],
    ]
    assert len({event.event_id for event in found}) == 3


def test_an_appointment_of_more_orders_than_anybody_has_is_refused(context: Context) -> None:
    with pytest.raises(Refuse) as refused:
        events(parse(message("SIU^S13", sch("~".join(["P1"] * 60) + "|"), pid())), context)
    assert refused.value.reason is Reason.BAD_FIELD


@pytest.mark.parametrize("event", ["S15", "S16", "S17", "S26"])
def test_an_appointment_that_is_off_takes_the_time_and_not_the_order(
    event: str, context: Context
) -> None:
    found = one(message(f"SIU^{event}", sch(), pid()), context)
    assert (found.status, found.scheduled_at, found.emptied) == (None, None, ("scheduled_at",))


@pytest.mark.parametrize(
    "raw",
    [
        message("SIU^S12", sch("|"), pid()),  # a visit to the clinic
        message("SIU^S12", sch().replace("20260315083000", ""), pid()),
        message("SIU^S18", sch(), pid()),
        message("MDM^T01", "PID|1||P1", "TXA|1|RR"),
        message("MDM^T02", "PID|1||P1", "TXA|1|LETTER|TX" + "|" * 14 + "AU"),
        adt("A60", pid()),
        adt("A21", pid()),
        adt("A50", pid()),
    ],
)
def test_what_says_nothing_of_an_exam_has_no_effect_and_is_no_error(
    raw: bytes, context: Context
) -> None:
    assert events(parse(raw), context) == []


@pytest.mark.parametrize(
    ("given", "label"),
    [
        (("ADT", "A60"), "ADT^A60"),
        (("SIU", "S18"), "SIU^S18"),
        (("MDM", "T01"), "MDM^T01"),
        (("ADT", "Z99"), "ADT^Z99"),
        (("ORM", ""), "ORM^O01"),
        (("DFT", "P03"), "other"),
        (("ADT", "A999"), "other"),
        (("X" * 9, "Y"), "other"),
    ],
)
def test_what_is_counted_bears_the_event_s_name_from_a_closed_list(
    given: tuple[str, str], label: str
) -> None:
    assert kind(*given) == label


def document(event: str, status: str, numbers: str = "P1^OP|F1^OF") -> bytes:
    txa = f"TXA|1|RR|TX|{'|' * 10}{numbers}||{status}"
    return message(f"MDM^{event}", pid(), "PV1|1|I", txa, "OBX|1|TX|||Fracture\\.br\\of C2~Urgent")


@pytest.mark.parametrize(
    ("event", "status", "word"),
    [
        ("T02", "AU", "final"),
        ("T02", "LA", "final"),
        ("T02", "DI", "preliminary"),
        ("T02", "PA", "preliminary"),
        ("T02", "", "preliminary"),
        ("T02", "XX", "preliminary"),
        ("T04", "AU", "final"),
        ("T06", "AU", "addendum"),
        ("T06", "DI", "preliminary"),
        ("T08", "AU", "final"),
        ("T10", "AU", "corrected"),
        ("T11", "AU", "withdrawn"),
        ("T11", "", "withdrawn"),
    ],
)
def test_a_document_is_a_report(event: str, status: str, word: str, context: Context) -> None:
    found = one(document(event, status), context)
    assert isinstance(found, ReportReceived)
    assert found.status == word
    assert {(n.kind, n.value) for n in found.numbers} == {("placer", "P1"), ("filler", "F1")}
    assert context.doubts == (["document_status"] if status == "XX" else [])


def test_the_text_of_a_report_travels_sealed(context: Context) -> None:
    found = one(document("T02", "AU"), context)
    assert "Fracture" not in found.model_dump_json()
    told = ReportText.model_validate_json(context.ring.open(found.text))
    assert told.text == "Fracture\nof C2\nUrgent"


def test_a_document_closes_only_where_its_sender_may(context: Context) -> None:
    stranger = sent_by(context, rights=("order",))
    for there in (stranger, replace(context, proved=False)):
        with pytest.raises(Refuse) as refused:
            one(document("T02", "AU"), there)
        assert refused.value.reason is Reason.NOT_AUTHORISED


def zbe(action: str, historic: str, trigger: str = "A02") -> str:
    return f"ZBE|1234^HOSP|20260313080000||{action}|{historic}|{trigger}"


@pytest.mark.parametrize("trigger", ["A02", "A12", "Z99"])
def test_a_movement_of_the_past_changes_no_current_place(trigger: str, context: Context) -> None:
    """IHE PAM: ZBE-5."""
    visit = "PV1|1|I|ICU"
    past = changed(adt(trigger, pid(), visit, zbe("UPDATE", "Y")), context)
    assert (past.location, past.ended, past.emptied) == (None, False, ())
    now = changed(adt(trigger, pid(), visit, zbe("UPDATE", "N")), context)
    assert now.location == "icu"


def test_a_discharge_that_is_entered_late_ends_nothing_of_now(context: Context) -> None:
    past: Event = changed(adt("A03", pid(), "PV1|1|I", zbe("INSERT", "Y", "A03")), context)
    assert isinstance(past, PatientChanged)
    assert not past.ended


def test_merges_are_for_senders_that_may(context: Context) -> None:
    there = sent_by(context, rights=("order", "cancel", "close"))
    with pytest.raises(Refuse) as refused:
        events(parse(adt("A40", pid("P2"), "MRG|P1")), there)
    assert refused.value.reason is Reason.NOT_AUTHORISED


def test_who_may_not_even_order_is_refused(context: Context) -> None:
    there = sent_by(context, rights=())
    with pytest.raises(Refuse) as refused:
        events(parse(order()), there)
    assert (refused.value.reason, refused.value.where) == (Reason.NOT_AUTHORISED, "MSH-3")


RULES = ("OBR-24=LAB|CH", "OBR-4=VITAL*", "MSH-4=LABOR", "OBR-4.3=LN", "PV1-2=Q")


@pytest.mark.parametrize(
    ("change", "imaging"),
    [
        ((b"", b""), True),
        ((b"||||||CT\r", b"||||||LAB\r"), False),
        ((b"||||||CT\r", b"||||||ch\r"), False),
        ((b"CTHEAD^CT head^L", b"VITALSIGNS^Vital signs^L"), False),
        ((b"CTHEAD^CT head^L", b"718-7^Hemoglobin^LN"), False),
        ((b"RIS|HOSP", b"RIS|LABOR"), False),
        ((b"PV1|1|E", b"PV1|1|Q"), False),
    ],
)
def test_orders_that_are_no_imaging_are_told_by_the_sender_s_rules(
    change: tuple[bytes, bytes], imaging: bool, context: Context
) -> None:
    there = sent_by(context, not_imaging=RULES)
    found = one(order().replace(*change), there)
    assert (found.imaging, found.priority) == (imaging, "stat")


def test_a_message_that_does_not_say_what_an_order_is_does_not_say_that_it_is_imaging(
    context: Context,
) -> None:
    there = sent_by(context, not_imaging=("OBR-24=LAB",))
    raw = message("ORM^O01", pid(), "ORC|SC|PL1|FI1||IP", "OBR|1|PL1|FI1")
    assert one(raw, there).imaging is None


def test_without_a_rule_an_order_is_imaging(context: Context) -> None:
    there = sent_by(context, not_imaging=())
    raw = order().replace(b"||||||CT\r", b"||||||LAB\r")
    assert one(raw, there).imaging is None


def test_a_laboratory_s_report_by_the_rules_closes_nothing(context: Context) -> None:
    raw = message(
        "ORU^R01", pid(), "OBR|1|PL1|FI1|X" + "|" * 20 + "LAB|F", "OBX|1|TX|||fine||||||F"
    )
    assert events(parse(raw), context) == []
