"""Who a PID is, by which of its numbers, and what becomes of patient numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.errors import Reason, Refuse
from streams.events import Event, Number, PatientChanged, PatientMerged
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.message import parse
from streams.identity.seal import KeyRing
from streams.identity.studykey import patient_of
from streams.sealed import Identity
from streams.senders.authorities import Authorities
from tests.streams.hl7.conftest import order, report, sent_by


def adt(trigger: str, *segments: str) -> bytes:
    head = f"MSH|^~\\&|RIS|HOSP|||20260314101500||ADT^{trigger}|M3|P|2.5\rEVN||20260314101400\r"
    return (head + "".join(f"{segment}\r" for segment in segments)).encode()


def pid(number: str = "P1^^^HOSP^MR", rest: str = "Doe^Jo||19610402|F") -> str:
    return f"PID|1||{number}||{rest}"


def only(raw: bytes, context: Context) -> Event:
    [(_, event)] = events(parse(raw), context)
    return event


def merged(raw: bytes, context: Context) -> PatientMerged:
    event = only(raw, context)
    assert isinstance(event, PatientMerged)
    return event


def changed(raw: bytes, context: Context) -> PatientChanged:
    event = only(raw, context)
    assert isinstance(event, PatientChanged)
    return event


def who(raw: bytes, context: Context) -> Identity:
    event: Any = only(raw, context)
    return context.ring.open_identity(event.identity or "")


def at(context: Context, **authorities: tuple[str, ...]) -> Context:
    """`context` where these authorities have these names."""
    known = Authorities.model_validate(
        {"authority": {name: {"names": names} for name, names in authorities.items()}}
    )
    return replace(context, site=context.site.model_copy(update={"authorities": known}))


def test_one_number_of_two_authorities_is_two_patients(context: Context) -> None:
    """1001^^^&OID.A&ISO is not 1001^^^&OID.B&ISO."""
    one, other = (
        changed(adt("A08", pid(f"1001^^^&{oid}&ISO")), context).patient
        for oid in ("1.2.3", "1.2.4")
    )
    assert one is not None
    assert other is not None
    assert one != other
    assert one.value == other.value


def test_the_names_and_the_oid_of_one_authority_are_one(context: Context) -> None:
    known = at(context, HOSP=("CHU", "1.2.3"))
    numbers = ("P1^^^HOSP", "P1^^^CHU", "P1^^^&1.2.3&ISO", "P1^^^ELSEWHERE&1.2.3&ISO")
    found = {changed(adt("A08", pid(number)), known).patient for number in numbers}
    assert found == {patient_of(known.ring.pseudonym, "HOSP", "P1")}


def test_a_number_without_authority_has_the_sender_s_or_none(context: Context) -> None:
    open_number = changed(adt("A08", pid("P1")), context).patient
    assert open_number == patient_of(context.ring.pseudonym, "", "P1")
    sender_s = changed(adt("A08", pid("P1")), sent_by(context, issuer="HOSP")).patient
    assert sender_s == patient_of(context.ring.pseudonym, "HOSP", "P1")


@pytest.mark.parametrize(
    ("numbers", "wanted", "counts"),
    [
        ("A^^^X~B^^^Y", "", "A"),  # the first
        ("A^^^X^SS~B^^^Y^MR", "", "B"),
        ("A^^^X^MR~B^^^Y^PI", "", "B"),
        ("A^^^X^PI~B^^^Y^MR", "Y", "B"),  # the sender's authority before any type
        ("A^^^X^PI~B^^^Y^MR", "Z", "A"),  # which this message does not have
        ("0^^^X^PI~B^^^Y", "", "B"),  # a dummy is none
    ],
)
def test_of_several_numbers_one_counts_and_the_others_are_kept(
    numbers: str, wanted: str, counts: str, context: Context
) -> None:
    raw = adt("A08", pid(numbers))
    found = who(raw, sent_by(context, patient_authority=wanted))
    assert found.patient_id == counts
    values = {number.split("^")[0] for number in numbers.split("~")}
    assert {other.value for other in found.others} == values - {counts}


def test_a_health_number_is_kept_with_its_reliability(context: Context) -> None:
    ins = "260058815400233^^^ASIP&1.2.250.1.213.1.4.8&ISO^INS"
    segment = pid(f"P1^^^HOSP^PI~{ins}") + "|" * 24 + "VALI"
    [other] = who(adt("A08", segment), context).others
    assert (other.value, other.authority, other.kind, other.reliability) == (
        "260058815400233",
        "1.2.250.1.213.1.4.8",
        "INS",
        "VALI",
    )


@pytest.mark.parametrize(
    ("rest", "name", "birth_date", "sex"),
    [
        ("Doe^Jo||19610402|F", "Doe^Jo", "19610402", "F"),
        ("|||", None, None, None),  # not mentioned
        ('""||""|""', "", "", ""),  # emptied
        ('Doe^Jo^""||19000101|', "Doe^Jo", None, None),  # a date that stands for none
        ("Doe||1961|", "Doe", None, None),
        ("Doe||19610402103000|", "Doe", "19610402", None),
    ],
)
def test_absent_empty_and_stated(
    rest: str, name: str | None, birth_date: str | None, sex: str | None, context: Context
) -> None:
    found = who(adt("A08", pid(rest=rest)), context)
    assert (found.name, found.birth_date, found.sex) == (name, birth_date, sex)


@pytest.mark.parametrize(
    ("segment", "location", "emptied"),
    [
        ("PV1|1|I|ICU", "icu", ()),
        ("PV1|1|I", "inpatient", ()),
        ("PV1|1|E|R^12", "emergency", ()),  # a room called R, and not a patient of class R
        ("PV1|1||I^12", "inpatient", ()),
        ("PV1|1||", None, ()),
        ('PV1|1||""', None, ("location",)),
        ('PV1|1|E|""', "emergency", ()),
        ("ZZZ", None, ()),
    ],
)
def test_where_somebody_is(
    segment: str, location: str | None, emptied: tuple[str, ...], context: Context
) -> None:
    event = changed(adt("A02", pid(), segment), context)
    assert (event.location, event.emptied) == (location, emptied)


@pytest.mark.parametrize(("trigger", "ended"), [("A01", False), ("A03", True), ("A11", True)])
def test_a_visit_has_a_number_and_an_end(trigger: str, ended: bool, context: Context) -> None:
    visit = "PV1|1|I|ICU" + "|" * 16 + "V7^^^HOSP"
    event = changed(adt(trigger, pid(), visit), context)
    assert (event.event, event.visit, event.ended) == (trigger, "V7", ended)


def test_an_order_names_its_visit_and_account(context: Context) -> None:
    raw = order().replace(b"PV1|1|E", b"PV1|1|E" + b"|" * 17 + b"V7^^^HOSP")
    raw = raw.replace(b"19500102|F", b"19500102|F" + b"|" * 10 + b"ACC9")
    event: Any = only(raw, context)
    assert {n for n in event.numbers if n.kind in ("visit", "account")} == {
        Number(kind="visit", authority="HOSP", value="V7"),
        Number(kind="account", value="ACC9"),
    }


@pytest.mark.parametrize("trigger", ["A18", "A30", "A34", "A36", "A40", "A46", "A47"])
def test_a_number_is_retired(trigger: str, context: Context, ring: KeyRing) -> None:
    event = merged(adt(trigger, pid("P2^^^HOSP"), "MRG|P1^^^HOSP||||||Old^Name"), context)
    assert (event.act, event.moved) == ("merge", ())
    assert event.retired == patient_of(ring.pseudonym, "HOSP", "P1")
    assert event.patient == patient_of(ring.pseudonym, "HOSP", "P2")
    assert event.retired_identity is not None
    retired = ring.open_identity(event.retired_identity)
    assert (retired.patient_id, retired.name) == ("P1", "Old^Name")


@pytest.mark.parametrize(("trigger", "act"), [("A24", "link"), ("A37", "unlink")])
def test_two_people_are_linked_or_not(trigger: str, act: str, context: Context) -> None:
    event = merged(adt(trigger, pid("P1^^^HOSP"), "PV1|1", pid("P1^^^CLINIC")), context)
    assert event.act == act
    assert event.patient is not None
    assert (event.patient.authority, event.retired.authority) == ("HOSP", "CLINIC")


@pytest.mark.parametrize(
    ("trigger", "moved"),
    [
        ("A43", ()),  # the number itself
        ("A44", (Number(kind="account", value="ACC9"),)),
        ("A45", (Number(kind="visit", value="V7"),)),
    ],
)
def test_what_moves_is_named(trigger: str, moved: tuple[Number, ...], context: Context) -> None:
    event = merged(adt(trigger, pid("P2^^^HOSP"), "MRG|P1^^^HOSP||ACC9||V7"), context)
    assert (event.act, event.moved) == ("move", moved)


@pytest.mark.parametrize(("trigger", "where"), [("A44", "MRG-3"), ("A45", "MRG-5")])
def test_a_move_that_names_nothing_does_not_move_everything(
    trigger: str, where: str, context: Context
) -> None:
    with pytest.raises(Refuse) as refused:
        only(adt(trigger, pid("P2^^^HOSP"), "MRG|P1^^^HOSP"), context)
    assert (refused.value.reason, refused.value.where) == (Reason.MISSING_FIELD, where)


def test_several_visits_of_one_patient_move(context: Context) -> None:
    raw = adt("A45", pid("P2^^^HOSP"), "MRG|P1^^^HOSP||||V7", "PV1|1", "MRG|P1^^^HOSP||||V8")
    found = [event for _, event in events(parse(raw), context)]
    assert [event.moved[0].value for event in found if isinstance(event, PatientMerged)] == [
        "V7",
        "V8",
    ]
    assert len({event.event_id for event in found}) == 2


def test_several_merges_in_one_message_are_each_told(context: Context) -> None:
    raw = adt("A40", pid("P9^^^H"), "MRG|P1^^^H", pid("P8^^^H"), "MRG|P2^^^H")
    found = [event for _, event in events(parse(raw), context)]
    assert len({event.retired for event in found if isinstance(event, PatientMerged)}) == 2


def test_all_numbers_of_one_authority_that_a_merge_names_are_retired(
    context: Context, ring: KeyRing
) -> None:
    old = "180017500001234^^^INS^INS~OLD1^^^HOSP~P9^^^HOSP~OLD2^^^HOSP~0^^^HOSP"
    found = [e for _, e in events(parse(adt("A40", pid("P9^^^HOSP"), f"MRG|{old}")), context)]
    assert [e.retired for e in found if isinstance(e, PatientMerged)] == [
        patient_of(ring.pseudonym, "HOSP", number) for number in ("OLD1", "OLD2")
    ]
    assert len({event.event_id for event in found}) == 2


@pytest.mark.parametrize(
    ("segments", "where"),
    [
        ((pid("~".join(f"P{n}^^^HOSP" for n in range(60))), "MRG|P99^^^HOSP"), "PID-3"),
        ((pid(), "MRG|" + "~".join(f"OLD{n}^^^HOSP" for n in range(60))), "MRG-1"),
    ],
)
def test_what_names_more_numbers_than_one_patient_has_is_refused(
    segments: tuple[str, ...], where: str, context: Context
) -> None:
    """Three thousand merges of one message held up everybody's list for seconds."""
    with pytest.raises(Refuse) as refused:
        events(parse(adt("A40", *segments)), context)
    assert (refused.value.reason, refused.value.where) == (Reason.BAD_FIELD, where)


def test_an_adt_names_its_event_in_evn_alone(context: Context) -> None:
    """Versions 2.1 and 2.2."""
    raw = adt("A08", pid()).replace(b"ADT^A08", b"ADT").replace(b"EVN||", b"EVN|A08|")
    assert changed(raw, context).event == "A08"
    with pytest.raises(Refuse) as refused:
        events(parse(raw.replace(b"EVN|A08|", b"EVN||")), context)
    assert refused.value.reason is Reason.UNSUPPORTED_MESSAGE


def test_a_merge_retires_the_number_of_the_authority_whose_number_stands(
    context: Context,
) -> None:
    raw = adt("A40", pid("P2^^^HOSP^PI"), "MRG|9^^^INS^PI~P1^^^HOSP^XX")
    assert merged(raw, context).retired == patient_of(context.ring.pseudonym, "HOSP", "P1")


@pytest.mark.parametrize(
    "raw",
    [
        adt("A08", pid("0")),
        adt("A08", pid("99999^^^HOSP")),
        adt("A40", pid("P1"), "MRG|UNKNOWN"),
        adt("A40", pid("0"), "MRG|P1"),
        adt("A24", pid("0"), pid("P1")),
        adt("A60", pid()),  # allergies
    ],
)
def test_a_message_about_nobody_has_no_effect_and_is_no_error(raw: bytes, context: Context) -> None:
    assert events(parse(raw), context) == []


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (adt("A08", pid("")), "PID-3"),
        (adt("A08"), "PID"),
        (adt("A40", pid("P1")), "MRG-1"),
        (adt("A40", pid("P1"), "MRG|"), "MRG-1"),
        (adt("A40", pid(""), "MRG|P1"), "PID-3"),
        (adt("A40"), "PID"),
        (adt("A24", pid("P1")), "PID"),
        (adt("A24", pid("P1"), pid("")), "PID-3"),
    ],
)
def test_a_number_that_is_missing_is_refused(raw: bytes, where: str, context: Context) -> None:
    with pytest.raises(Refuse) as refused:
        events(parse(raw), context)
    assert (refused.value.reason, refused.value.where) == (Reason.MISSING_FIELD, where)


def test_numbers_of_orders_and_reports_have_the_sender_s_authority(context: Context) -> None:
    sender = sent_by(context, authority="RIS1")
    for raw in (order(), report()):
        event: Any = only(raw, sender)
        kinds = {n.kind: n.authority for n in event.numbers}
        assert {kinds[kind] for kind in ("accession", "placer", "filler")} == {"RIS1"}
        assert kinds.get("study", "") == ""


def test_an_authority_that_a_number_states_goes_before_the_sender_s(context: Context) -> None:
    known = at(sent_by(context, authority="RIS1"), CHU=("1.2.3",))
    raw = order(event="OMI^O23").replace(b"PL1|FI1", b"PL1^PLACER|FI1^X^1.2.3^ISO")
    event: Any = only(raw + b"IPC|A1^^1.2.3^ISO|RP1|1.2.3|SP1|CT\r", known)
    assert {(n.kind, n.authority) for n in event.numbers} >= {
        ("accession", "CHU"),
        ("placer", "PLACER"),
        ("filler", "CHU"),
    }


def test_a_patient_number_that_is_too_long_is_refused_and_not_cut(context: Context) -> None:
    with pytest.raises(Refuse) as refused:
        events(parse(adt("A08", pid(f"{'Z' * 65}^^^HOSP^MR"))), context)
    assert (refused.value.reason, refused.value.where) == (Reason.BAD_FIELD, "PID-3")
