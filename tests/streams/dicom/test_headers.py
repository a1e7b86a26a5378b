"""Header → facts: clamped, readable or not, and merged in any order, whatever the values say."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword

from streams.dicom import gate, part10, text
from streams.dicom.headers import Facts, facts, merge
from streams.dicom.publishing import event_of
from streams.events import Number, Patient, decode, encode
from streams.identity.seal import KeyRing


def facts_of(dicom: SimpleNamespace, ring: KeyRing, now: datetime, **more: Any) -> Facts:
    header = part10.header_of_file(dicom.file_of(dicom.image(**more)))
    return facts(header, dicom.Sender(), dicom.Site.authorities, ring, now)


def test_what_an_image_says(dicom: SimpleNamespace, ring: KeyRing, now: datetime) -> None:
    found = facts_of(
        dicom,
        ring,
        now,
        BodyPartExamined="HEAD",
        StudyDescription="CT Schädel",
        SeriesDescription="dünn",
        ViewPosition="AP",
        NumberOfSeriesRelatedInstances=40,
    )
    assert (found.body_part, found.description, found.series_description, found.view) == (
        "HEAD",
        "CT Schädel",
        "dünn",
        "AP",
    )
    assert (found.announced, found.readable, found.sop_class) == (40, True, dicom.CT)
    assert "LEF" not in found.model_dump_json()
    assert "P1" not in found.model_dump_json(exclude={"identity"})
    assert found.kind == "modality"


def test_long_numbers_that_differ_at_their_end_stay_two(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    patients, accessions = set(), set()
    for end in "12":
        header = part10.header_of_file(dicom.file_of(dicom.image()))
        long = b"L" * 80 + end.encode()
        said = {gate.PATIENT_ID: long, gate.ACCESSION: long}
        header = dataclasses.replace(header, values=header.values | said)
        found = facts(header, dicom.Sender(), dicom.Site.authorities, ring, now)
        patients.add(found.patient)
        accessions |= set(found.numbers)
    assert len(patients) == 2
    assert None not in patients
    assert accessions == set(), "no event holds one"


def test_an_image_that_lost_its_pixels_is_readable_so_that_it_is_said_to_be_unreadable(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    header = part10.header_of_file(dicom.file_of(dicom.image()))
    lost = dataclasses.replace(header, has_pixels=False)
    assert facts(lost, dicom.Sender(), dicom.Site.authorities, ring, now).readable
    nothing = {tag: value for tag, value in lost.values.items() if tag != gate.ROWS}
    document = dataclasses.replace(lost, values=nothing)
    assert not facts(document, dicom.Sender(), dicom.Site.authorities, ring, now).readable


@pytest.mark.parametrize("order", [1, -1])
def test_a_report_a_note_or_a_screenshot_in_a_series_does_not_name_it(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime, order: int
) -> None:
    slice_ = facts_of(dicom, ring, now, BodyPartExamined="HEAD", SeriesDescription="Axial")
    sr, ko, shot = (
        facts_of(dicom, ring, now, modality=modality, sop_class=sop_class, SeriesDescription="Zz")
        for modality, sop_class in (
            ("SR", "1.2.840.10008.5.1.4.1.1.88.22"),
            ("KO", "1.2.840.10008.5.1.4.1.1.88.59"),
            ("OT", "1.2.840.10008.5.1.4.1.1.7"),
        )
    )
    for odd in (sr, ko, shot):
        found = functools.reduce(merge, [slice_, odd, slice_][::order])
        assert (found.modality, found.series_description, found.sop_class) == (
            "CT",
            "Axial",
            dicom.CT,
        )


@pytest.mark.parametrize(
    ("image_type", "primary", "localizer"),
    [
        ("ORIGINAL\\PRIMARY\\AXIAL", True, False),
        ("ORIGINAL\\PRIMARY\\LOCALIZER", True, True),
        ("DERIVED\\SECONDARY", False, False),
        ("DERIVED\\SECONDARY\\MPR", False, False),
        ("ORIGINAL", True, False),
        ("", True, False),
        (None, True, False),
    ],
)
def test_primary_and_localizer(
    dicom: SimpleNamespace,
    ring: KeyRing,
    now: datetime,
    image_type: str | None,
    primary: bool,
    localizer: bool,
) -> None:
    more = {} if image_type is None else {"ImageType": image_type.split("\\")}
    found = facts_of(dicom, ring, now, **more)
    assert (found.primary, found.localizer) == (primary, localizer)


def test_a_part_is_primary_if_one_is_and_a_localizer_only_if_all_are(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    def made(*image_type: str, **more: Any) -> Facts:
        return facts_of(dicom, ring, now, ImageType=list(image_type), **more)

    scout, slice_ = made("ORIGINAL", "PRIMARY", "LOCALIZER"), made("ORIGINAL", "PRIMARY", "AXIAL")
    derived, report = made("DERIVED", "SECONDARY"), made("", sop_class=SR, modality="SR")
    assert merge(scout, scout).localizer
    assert not merge(scout, slice_).localizer
    assert merge(derived, slice_).primary
    assert not merge(derived, derived).primary
    # A report among them says nothing of the images.
    assert merge(scout, report).localizer
    assert not merge(derived, report).primary


SR = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"TimezoneOffsetFromUTC": "-0500"}, "2026-03-14T15:15:00+00:00"),
        ({"AcquisitionDateTime": "20260314090000.5+0200"}, "2026-03-14T07:00:00.500000+00:00"),
        ({"AcquisitionDate": "20260313", "AcquisitionTime": "235960"}, "2026-03-13T22:59:59+00:00"),
        ({"StudyDate": "20260231"}, None),
        ({"StudyTime": "noon"}, None),
        ({"StudyDate": "20260314", "StudyTime": "170459"}, "2026-03-14T16:00:00+00:00"),
        ({"StudyDate": "20990101", "StudyTime": "090000"}, "2099-01-01T08:00:00+00:00"),
    ],
)
def test_the_time_of_acquisition(
    dicom: SimpleNamespace, ring: KeyRing, fields: dict[str, str], expected: str | None
) -> None:
    """Its own offset, else the image's, else the sender's zone; far ahead stays."""
    received = datetime(2026, 3, 14, 16, 0, tzinfo=UTC)
    header = part10.header_of_file(dicom.file_of(dicom.image()))
    said = {tag_for_keyword(keyword): value.encode() for keyword, value in fields.items()}
    header = dataclasses.replace(header, values=header.values | said)
    found = facts(header, dicom.Sender(), dicom.Site.authorities, ring, received)
    assert (found.acquired_at.isoformat() if found.acquired_at else None) == expected


@pytest.mark.parametrize(
    ("fields", "years"),
    [
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "003D"}, 0.008),
        ({"PatientAge": "999Y"}, None),
        ({"PatientAge": "", "PatientBirthDate": "19760314"}, 50.0),
    ],
)
def test_age(
    dicom: SimpleNamespace,
    ring: KeyRing,
    now: datetime,
    fields: dict[str, str],
    years: float | None,
) -> None:
    found = facts_of(dicom, ring, now, **fields).age_years
    assert found == (None if years is None else pytest.approx(years, abs=0.01))


def test_a_child_is_six_from_its_sixth_birthday_on(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    found = facts_of(dicom, ring, now, PatientAge="", PatientBirthDate="20200314")
    assert found.age_years == 6.0


@pytest.mark.parametrize(
    ("sop_class", "modality", "readable"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT", True),
        ("1.2.840.10008.5.1.4.1.1.481.1", "RTIMAGE", True),
        ("1.2.840.10008.5.1.4.1.1.88.67", "SR", False),
        ("1.2.840.10008.5.1.4.1.1.88.59", "KO", False),
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR", False),
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", False),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", False),
        ("1.2.840.10008.5.1.4.1.1.104.1", "DOC", False),
        ("1.2.840.10008.5.1.4.1.1.7", "SR", False),
    ],
)
def test_only_images_are_readable(
    dicom: SimpleNamespace,
    ring: KeyRing,
    now: datetime,
    sop_class: str,
    modality: str,
    readable: bool,
) -> None:
    assert facts_of(dicom, ring, now, sop_class=sop_class, modality=modality).readable is readable
    assert not facts_of(
        dicom, ring, now, sop_class=sop_class, modality=modality, Manufacturer="Vigie"
    ).readable


VALUES = st.dictionaries(st.sampled_from(sorted(gate.FACTS)), st.binary(max_size=80), max_size=12)
ITEMS = st.dictionaries(
    st.sampled_from(
        [gate.REQUESTS, gate.ACCESSION_ISSUER, gate.PATIENT_ISSUER, gate.OTHER_PATIENT_IDS]
    ),
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [gate.ACCESSION, gate.NAMESPACE, gate.UNIVERSAL, gate.PATIENT_ID, gate.ISSUER]
            ),
            st.binary(max_size=80),
        ),
        max_size=2,
    ),
)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(values=VALUES, items=ITEMS)
def test_any_values_make_an_event(
    dicom: SimpleNamespace,
    ring: KeyRing,
    values: dict[int, bytes],
    items: dict[int, list[dict[int, bytes]]],
) -> None:
    received = datetime(2026, 3, 14, tzinfo=UTC)
    header = gate.Header("1.2.840.10008.1.2", dicom.CT, "1.2", "1.3", "1.4", True, 1, values, items)
    sender = dicom.Sender(timezone="Nowhere/There")
    found = facts(header, sender, dicom.Site.authorities, ring, received)
    event = event_of(found, "a" * 32 + "/" + "b" * 32, ["c" * 16], "gateway-1", None)
    assert decode(encode(event)) == event


@given(data=st.data())
def test_promise_5_facts_merge_alike_in_any_order(data: Any) -> None:
    start = datetime(2026, 3, 14, tzinfo=UTC)
    times = st.integers(0, 100).map(lambda seconds: start + timedelta(seconds=seconds))
    part = st.builds(
        Facts,
        study_uid=st.just("1"),
        series_uid=st.just("2"),
        sop_class=st.sampled_from(["1.1", "1.2"]),
        sender=st.sampled_from(["a", "b"]),
        kind=st.sampled_from(["modality", "archive", "mixed"]),
        numbers=st.lists(
            st.sampled_from([Number(kind="accession", value=value) for value in "AB"]),
            max_size=2,
            unique=True,
        ).map(lambda found: tuple(sorted(found, key=lambda number: number.value))),
        modality=st.sampled_from(["", "CT", "SR"]),
        age_years=st.none() | st.sampled_from([1.0, 2.0]),
        acquired_at=st.none() | times,
        readable=st.booleans(),
        primary=st.booleans(),
        localizer=st.booleans(),
        other_bytes=st.booleans(),
        stated=st.integers(0, 2),
        announced=st.none() | st.integers(1, 9),
        # Of one part: there is only one.
        patient=st.just(Patient(value="ab" * 16)),
        identity=st.none() | st.sampled_from(["i", "j"]),
        first_received=times,
        last_received=times,
    )
    parts = data.draw(st.lists(part, min_size=2, max_size=4))
    merged = {
        functools.reduce(merge, order, order[0]).model_dump_json()
        for order in itertools.permutations(parts)
    }
    assert len(merged) == 1


def test_a_series_with_a_number_for_each_image_still_makes_an_event(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    each = [facts_of(dicom, ring, now, AccessionNumber=f"A{number:03}") for number in range(250)]
    one, other = (functools.reduce(merge, order) for order in (each, each[::-1]))
    assert one.numbers == other.numbers == functools.reduce(merge, each[:200]).numbers
    event = event_of(one, "a" * 32 + "/" + "b" * 32, ["c" * 16], "gateway-1", None)
    assert len(event.numbers) == 200


CHARSETS = [
    b"",
    b"ISO_IR 192",
    b"ISO 2022 IR 6\\ISO 2022 IR 87",
    b"\\ISO 2022 IR 149",
    b"\xff",
    b"ISO_IR 13",
]


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(raw=st.binary(max_size=100), charset=st.sampled_from(CHARSETS))
def test_any_text_is_printable(raw: bytes, charset: bytes) -> None:
    assert all(character.isprintable() for character in text.decode(raw, charset))


@pytest.mark.needs("corpora")
def test_names_of_the_character_set_files(
    corpora_dir: Path, ring: KeyRing, dicom: SimpleNamespace, now: datetime
) -> None:
    """Names as PS3.5 Annexes H to K print them."""
    names = {}
    for name in ("chrArab", "chrFren", "chrGreek", "chrH32", "chrRuss", "chrX1", "chrKoreanMulti"):
        header = part10.header_of_file(
            (corpora_dir / "dicom" / f"charset__{name}.dcm").read_bytes()
        )
        identity = facts(header, dicom.Sender(), dicom.Site.authorities, ring, now).identity
        assert identity is not None
        names[name] = ring.open_identity(identity).name
    assert names == {
        "chrArab": "قباني^لنزار",
        "chrFren": "Buc^Jérôme",
        "chrGreek": "Διονυσιος",
        "chrH32": "ﾔﾏﾀﾞ^ﾀﾛｳ",
        "chrRuss": "Люкceмбypг",
        "chrX1": "Wang^XiaoDong",
        "chrKoreanMulti": "김희중",
    }
