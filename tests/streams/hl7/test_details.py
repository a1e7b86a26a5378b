"""What an order says beside: indication, referrer, call-back, pregnancy, isolation; under seal."""

from __future__ import annotations

import pytest

from streams.events import OrderChanged
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.message import parse
from streams.hl7.text.times import when
from streams.sealed import OrderDetails
from tests.streams.hl7.conftest import sent_by


def told(context: Context, *segments: str) -> OrderChanged:
    head = "MSH|^~\\&|RIS|HOSP|||20260314101500||OMI^O23|M1|P|2.5.1"
    raw = "\r".join((head, "PID|1||P1^^^HOSP", *segments)).encode()
    [(_, event)] = events(parse(raw), context)
    assert isinstance(event, OrderChanged)
    return event


def details(context: Context, *segments: str) -> OrderDetails:
    event = told(context, *segments)
    if event.details is None:
        return OrderDetails()
    return OrderDetails.model_validate_json(context.ring.open(event.details))


def obr(**fields: str) -> str:
    values = {1: "1", 2: "PL1", 3: "FI1", 4: "CTHEAD"} | {
        int(name[1:]): value for name, value in fields.items()
    }
    return "OBR|" + "|".join(values.get(place, "") for place in range(1, max(values) + 1))


ORC = "ORC|NW|PL1|FI1"


def test_what_is_beside_an_order_travels_sealed(context: Context) -> None:
    segments = (
        "PV1|1|E" + "|" * 13 + "A1~B6",
        ORC,
        obr(
            f13="fall from a ladder",
            f31="R51^Headache",
            f16="17^MARTIN^Anne",
            f17="0601020304",
            f12="MRSA^contact isolation",
        ),
        "DG1|1||S06^Intracranial injury",
    )
    assert details(context, *segments) == OrderDetails(
        indication="fall from a ladder; Headache; Intracranial injury",
        referrer="MARTIN^Anne",
        call_back="0601020304",
        pregnant=True,
        isolation="contact isolation",
    )
    travels = told(context, *segments).model_dump_json()
    assert not any(word in travels for word in ("ladder", "MARTIN", "0601020304", "isolation"))


def test_a_visit_behind_the_orders_is_of_each_of_them_and_of_no_other_patient_s(
    context: Context,
) -> None:
    raw = (
        "MSH|^~\\&|RIS|HOSP|||20260314101500||ORM^O01|M1|P|2.3\r"
        f"PID|1||P1^^^HOSP\r{ORC}\r{obr()}\rORC|NW|PL2|FI2\rOBR|2|PL2|FI2\rPV1|1|E\r"
        "PID|2||P2^^^HOSP\rORC|NW|PL3|FI3\rOBR|3|PL3|FI3\r"
    )
    found = [event for _, event in events(parse(raw.encode()), context)]
    places = [event.location for event in found if isinstance(event, OrderChanged)]
    assert places == ["emergency", "emergency", None]


def test_what_is_not_sent_is_not_said(context: Context) -> None:
    assert told(context, ORC, obr()).details is None
    assert details(context, "PV1|1|E" + "|" * 13 + "A1", ORC, obr()).pregnant is False
    assert details(context, ORC + "|" * 9 + "7^BRUN^Luc||0102", obr()) == OrderDetails(
        referrer="BRUN^Luc", call_back="0102"
    )


@pytest.mark.parametrize(
    ("segments", "priority"),
    [
        ((ORC, obr(f5="S")), "stat"),
        ((ORC, obr(f27="^^^^^S")), "stat"),
        (("ORC|NW|PL1|FI1||||^^^^^A", obr()), "urgent"),
        ((ORC, "TQ1|1||||||||S", obr()), "stat"),
        ((ORC, "TQ1|1||||||||R", "TQ1|2||||||||S", obr(f5="R")), "stat"),
        ((ORC, obr(f27="^^^^^R~^^^^^S")), "stat"),
        (("ORC|NW|PL1|FI1||||^^^^^R~^^^^^S", obr()), "stat"),
        ((ORC, "TQ1|1||||||||R~S", obr()), "stat"),
        ((ORC, "TQ1|1||||||||7^at once^L^S^Stat^HL70485", obr()), "stat"),
        ((ORC, "TQ1|1||||||||^at once^L^S", obr()), "stat"),
        ((ORC, obr()), None),
    ],
)
def test_the_priority_is_the_most_urgent_of_all_places(
    segments: tuple[str, ...], priority: str | None, context: Context
) -> None:
    assert told(context, *segments).priority == priority


@pytest.mark.parametrize(
    "segments",
    [
        (ORC, obr(f36="20260315083000")),
        (ORC, "TQ1|1||||||20260315083000", obr()),
        (ORC, obr(f27="^^^20260315083000")),
        (ORC, obr(f27="^^^^^R~^^^20260315083000")),
    ],
)
def test_the_time_of_the_exam_stands_in_three_places(
    segments: tuple[str, ...], context: Context
) -> None:
    assert told(context, *segments).scheduled_at == when("20260315083000", "Europe/Paris")


def test_a_time_is_of_the_sender_s_zone_unless_it_says_its_own(context: Context) -> None:
    there = sent_by(context, timezone="Asia/Tokyo")
    assert told(there, ORC, obr(f36="20260315083000")).scheduled_at == when(
        "202603150830+0900", "UTC"
    )
    assert told(there, ORC, obr(f36="20260315083000-0500")).scheduled_at == when(
        "202603151330", "UTC"
    )


def test_several_steps_with_several_uids_under_one_order(context: Context) -> None:
    """OMI^O23: PET and CT."""
    steps = ("IPC|A1|RP1|1.2.3|SP1|CT", "IPC|A1|RP1|1.2.4|SP2|PT")
    event = told(context, ORC, obr(), *steps)
    assert [n.value for n in event.numbers if n.kind == "study"] == ["1.2.3", "1.2.4"]
    assert [n.value for n in event.numbers if n.kind == "accession"] == ["A1"]


def test_a_procedure_is_known_by_its_other_code_too(context: Context) -> None:
    event = told(context, ORC, obr(f4="77^Head^L^CTHEAD^CT head^SITE"))
    assert (event.procedure, event.modality, event.subspecialty) == ("77", "CT", "neuro")
