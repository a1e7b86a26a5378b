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
    ReportReceived,
    encode,
)
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.message import parse
from streams.hl7.text.times import when
from streams.identity.seal import KeyRing
from streams.identity.studykey import patient_of
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
    assert named(event) == {
        "accession": ["A1"],
        "placer": ["PL1"],
        "filler": ["FI1"],
        "study": ["1.2.3"],
    }
    assert event.status == "scheduled"
    assert event.patient == patient_of(ring.pseudonym, "HOSP", "P1")
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


def named(event: Event) -> dict[str, list[str]]:
    """The event's numbers by kind."""
    found: dict[str, list[str]] = {}
    for number in getattr(event, "numbers", ()):
        found.setdefault(number.kind, []).append(number.value)
    return found


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
    [("S", "stat"), ("A", "urgent"), ("R", "routine"), ("", None), ("Z9", "unknown")],
)
def test_a_missing_priority_says_nothing_and_a_strange_one_is_never_routine(
    code: str, word: str | None, context: Context
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
        ("X", "withdrawn"),
        ("A", "addendum"),
        ("Prelim", "preliminary"),
    ],
)
def test_reports(status: str, word: str, context: Context) -> None:
    event = only(report(status), context)
    assert isinstance(event, ReportReceived)
    assert (event.status, named(event)["accession"]) == (word, ["A1"])


def test_a_word_of_the_site_says_that_somebody_reads_it_elsewhere(context: Context) -> None:
    codes = context.site.codes.model_copy(update={"report": {"READING": "reading"}})
    site = context.site.model_copy(update={"codes": codes})
    event = made(report("Reading"), Context(site, context.sender, context.ring, NOW))
    assert (event.reading, event.status, event.priority) == (True, None, None)
    assert named(event)["accession"] == ["A1"]
    stranger = context.sender.model_copy(update={"rights": ("order",)})
    with pytest.raises(Refuse) as refused:  # it takes a study out of everybody's next
        made(report("Reading"), Context(site, stranger, context.ring, NOW))
    assert refused.value.reason is Reason.NOT_AUTHORISED


def test_only_senders_that_the_site_names_close_a_study(context: Context) -> None:
    stranger = Context(
        context.site, context.sender.model_copy(update={"rights": ("order",)}), context.ring, NOW
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
    assert [(named(event)["accession"], named(event)["study"]) for event in found] == [
        (["A1"], ["1.2.3"]),
        (["A2"], ["1.2.3"]),
    ]


@pytest.mark.parametrize(
    ("raw", "reason", "where"),
    [
        (b"MSH|^~\\&|A|B|||||ORM^O01|1|P|2.5\r", Reason.MISSING_FIELD, "ORC"),
        (order().replace(b"ORM^O01", b"DFT^P03"), Reason.UNSUPPORTED_MESSAGE, "MSH-9"),
        (order("Q?"), Reason.BAD_FIELD, "ORC-1"),
        (order(accession="A" * 65), Reason.BAD_FIELD, "OBR-18"),
        (order().replace(b"1.2.3^", b"one^"), Reason.BAD_FIELD, "ZDS-1"),
        (order().replace(b"MSH|^~", b"MSH|^^"), Reason.NOT_HL7, "MSH-2"),
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
        ("20260314101500.9999999+0100", "2026-03-14T09:15"),  # ticks of 100 ns
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


def test_what_a_message_does_not_mention_it_does_not_say(context: Context) -> None:
    """A status message of the RIS: no priority, no place, nothing about the exam."""
    raw = (
        b"MSH|^~\\&|RIS|HOSP|||20260314101500||ORM^O01|M9|P|2.5.1\r"
        b"PID|1||P1^^^HOSP^MR\rORC|SC|PL1|FI1||IP\rOBR|1|PL1|FI1\r"
    )
    event = made(raw, context)
    said = event.model_dump(include=set(_SAID), exclude_none=True)
    assert said == {"status": "in_progress"}
    assert event.emptied == ()


_SAID = (
    "status",
    "priority",
    "location",
    "modality",
    "body_part",
    "procedure",
    "description",
    "subspecialty",
    "ordered_at",
    "scheduled_at",
)


@pytest.mark.parametrize(
    ("old", "new", "emptied"),
    [
        (b"^^^20260314110000^^S", b'""', {"priority", "scheduled_at"}),
        (b"^^^20260314110000^^S", b'^^^20260314110000^^""', {"priority"}),
        (b"^^^20260314110000^^S", b'^^^""^^S', {"scheduled_at"}),
        (b"ZDS|", b'TQ1|1||||||""||""\rZDS|', set()),
        (b"CTHEAD^CT head^L", b'""', {"procedure", "description"}),
        (b"PV1|1|E", b'PV1|1|""', {"location"}),
        (b"PV1|1|E", b'PV1|1|E|""', set()),
        (b"CTHEAD^CT head^L", b"CT2^head", set()),
        (
            b"CTHEAD^CT head^L||||||||||||||A1||||||CT\r",
            b'CT2^head||||||||||||||A1||||||""\r',
            {"modality"},
        ),
    ],
)
def test_two_quotes_empty_what_they_stand_for(
    old: bytes, new: bytes, emptied: set[str], context: Context
) -> None:
    event = made(order(accession="A1").replace(old, new), context)
    assert set(event.emptied) == emptied
    assert all(getattr(event, name) is None for name in emptied)


@pytest.mark.parametrize("dummy", ["UNKNOWN", "0", ""])
def test_a_number_that_identifies_nothing_is_as_an_empty_one(dummy: str, context: Context) -> None:
    """The next field's is the accession then, by which images may come: with STAT behind it."""
    assert named(made(order(accession=dummy), context)) == {
        "accession": ["FI1"],
        "placer": ["PL1"],
        "filler": ["FI1"],
        "study": ["1.2.3"],
    }


def test_where_every_number_is_a_dummy_there_is_no_accession(context: Context) -> None:
    raw = order(accession="0").replace(b"PL1|FI1", b"UNKNOWN|0")
    assert named(made(raw, context)) == {"study": ["1.2.3"]}


def test_an_order_that_knows_no_more_than_its_placer_number_is_taken(context: Context) -> None:
    raw = order().replace(b"PL1|FI1", b"PL1|").replace(b"|A1|", b"||").replace(b"ZDS", b"ZZZ")
    assert named(made(raw, context)) == {"accession": ["PL1"], "placer": ["PL1"]}


@pytest.mark.parametrize("control", ["CA", "DC", "SC"])
def test_an_order_segment_alone_changes_a_state(control: str, context: Context) -> None:
    raw = (
        "MSH|^~\\&|RIS|HOSP|||20260314101500||ORM^O01|M9|P|2.5.1\r"
        f"PID|1||P1^^^HOSP^MR\rORC|{control}|PL1|||CM\r"
    ).encode()
    event = made(raw, context)
    assert event.status == ("performed" if control == "SC" else "cancelled")
    assert named(event)["placer"] == ["PL1"]


def test_an_order_segment_alone_that_says_no_state_is_a_pharmacy_s(context: Context) -> None:
    raw = (
        b"MSH|^~\\&|RIS|HOSP|||20260314101500||ORM^O01|M9|P|2.5.1\r"
        b"PID|1||P1^^^HOSP^MR\rORC|NW|PL1\r"
    )
    assert events(parse(raw), context) == []


@pytest.mark.parametrize("what", ["RXO|ASA^Aspirin", "ODS|D||VEG", "RQD|1|7^Needle"])
@pytest.mark.parametrize("control", ["NW", "CA"])
def test_an_order_of_medicine_or_a_meal_is_none_of_ours(
    control: str, what: str, context: Context
) -> None:
    raw = (
        "MSH|^~\\&|RIS|HOSP|||20260314101500||ORM^O01|M9|P|2.5.1\r"
        f"PID|1||P1^^^HOSP^MR\rORC|{control}|PL1|FI1||SC\r{what}\r"
    )
    assert events(parse(raw.encode()), context) == []


def test_a_second_exam_under_one_order_segment_has_its_control_and_priority(
    context: Context,
) -> None:
    for before in ("", "TQ1|1||||||||S\r"):
        raw = order(priority="" if before else "S").replace(b"OBR|1", before.encode() + b"OBR|1")
        raw = raw.replace(b"ZDS|", b"OBR|2|PL2|FI2|CTHEAD||||||||||||||A2||||||CT\rZDS|")
        found = [event for _, event in events(parse(raw), context)]
        assert [
            (event.priority, event.status, named(event)["filler"], named(event)["accession"])
            for event in found
            if isinstance(event, OrderChanged)
        ] == [("stat", "scheduled", ["FI1"], ["A1"]), ("stat", "scheduled", ["FI2"], ["A2"])]
        assert len({event.event_id for event in found}) == 2


def test_two_accessions_under_one_order_number_are_both_told(context: Context) -> None:
    raw = order().replace(b"ZDS|", b"OBR|2|PL1|FI1|CTHEAD||||||||||||||A2||||||CT\rZDS|")
    found = [event for _, event in events(parse(raw), context)]
    assert [named(event)["accession"] for event in found] == [["A1"], ["A2"]]
    two = order(event="OMI^O23") + b"IPC|A1|RP1|1.2.3|SP1|CT\rIPC|A9|RP2|1.2.3|SP2|CR\r"
    assert named(made(two, context))["accession"] == ["A1", "A9"]


def test_a_cancel_under_which_two_exams_stand_cancels_both(context: Context) -> None:
    raw = order("CA").replace(b"ZDS|", b"OBR|2|PL2|FI2|CTHEAD||||||||||||||A2||||||CT\rZDS|")
    found = [event for _, event in events(parse(raw), context)]
    assert [getattr(event, "status", "") for event in found] == ["cancelled", "cancelled"]


def test_reports_of_two_patients_in_one_message_are_each_one_s(
    context: Context, ring: KeyRing
) -> None:
    other = report().split(b"\r", 1)[1].replace(b"P1^", b"P2^").replace(b"A1", b"A2")
    found = [event for _, event in events(parse(report() + other), context)]
    assert [(getattr(event, "patient", None), named(event)["accession"]) for event in found] == [
        (patient_of(ring.pseudonym, "HOSP", "P1"), ["A1"]),
        (patient_of(ring.pseudonym, "HOSP", "P2"), ["A2"]),
    ]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_line_end_within_a_field_loses_nothing_behind_it(end: str, context: Context) -> None:
    raw = order().replace(b"CTHEAD^CT head^L", f"CTHEAD^CT{end}head^L".encode())
    event = made(raw, context)
    assert (named(event)["accession"], event.priority) == (["A1"], "stat")
    assert event.description == "CT head"


def test_orders_ask_for_a_time_only_where_they_are_given(context: Context) -> None:
    """ORC-9 of a change is when it was changed."""
    assert made(order("NW"), context).ordered_at == when("20260314101400", "Europe/Paris")
    assert made(order("XO"), context).ordered_at is None
