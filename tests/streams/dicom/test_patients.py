"""Whom an image names: number and authority, accession numbers, and what stands for nothing."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from streams.dicom import part10
from streams.dicom.headers import Facts, facts
from streams.identity.seal import KeyRing
from streams.identity.studykey import patient_of
from streams.sealed import Identity, OtherNumber


@pytest.fixture
def made(dicom: SimpleNamespace, ring: KeyRing, now: datetime) -> Any:
    """Makes the facts of an image with these elements, sent by a sender like that."""

    def make(sender: Any = None, **more: Any) -> Facts:
        header = part10.header_of_file(dicom.file_of(dicom.image(**more)))
        return facts(header, sender or dicom.Sender(), dicom.Site.authorities, ring, now)

    return make


def test_several_accession_numbers_in_one_value_are_several(made: Any) -> None:
    found = made(AccessionNumber="A1\\A2 \\0\\A1")
    assert [number.value for number in found.numbers] == ["A1", "A2"]
    request = Dataset()
    request.AccessionNumber = "A3\\A1"
    found = made(AccessionNumber="A1", RequestAttributesSequence=[request])
    assert [number.value for number in found.numbers] == ["A1", "A3"]


@pytest.mark.parametrize("name", ["^^^^", " ^ ", "=", "==^"])
def test_a_name_of_separators_alone_is_none(made: Any, ring: KeyRing, name: str) -> None:
    assert who(made(PatientName=name), ring).name is None


def who(found: Facts, ring: KeyRing) -> Identity:
    return ring.open_identity(found.identity or "")


def qualifiers(**more: str) -> list[Dataset]:
    item = Dataset()
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return [item]


@pytest.mark.parametrize(
    ("elements", "value", "authority"),
    [
        ({"PatientID": "P1"}, "P1", "HOSP"),  # the sender's
        ({"PatientID": "P1", "IssuerOfPatientID": "CHU"}, "P1", "HOSP"),
        ({"PatientID": "P1", "IssuerOfPatientID": "CLINIC"}, "P1", "CLINIC"),
        (
            {
                "PatientID": "P1",
                "IssuerOfPatientID": "CLINIC",
                "IssuerOfPatientIDQualifiersSequence": qualifiers(
                    UniversalEntityID="1.2.250", UniversalEntityIDType="ISO"
                ),
            },
            "P1",
            "HOSP",
        ),
        ({"PatientID": "P1^^^CLINIC"}, "P1", "CLINIC"),
        ({"PatientID": "P1^^^&1.2.250&ISO"}, "P1", "HOSP"),
        ({"PatientID": "P1^^^CLINIC", "IssuerOfPatientID": "CHU"}, "P1", "HOSP"),
        ({"PatientID": " P1 "}, "P1", "HOSP"),
        ({"PatientID": "0001"}, "0001", "HOSP"),  # zeros in front are part of a number
        ({"PatientID": "0"}, None, ""),
        ({"PatientID": "UNKNOWN"}, None, ""),
        ({"PatientID": ""}, None, ""),
    ],
)
def test_number_and_authority(
    made: Any, ring: KeyRing, elements: dict[str, Any], value: str | None, authority: str
) -> None:
    patient = made(**elements).patient
    assert patient == (patient_of(ring.pseudonym, authority, value) if value else None)


def test_a_number_is_open_where_nobody_says_whose_it_is(
    made: Any, ring: KeyRing, dicom: SimpleNamespace
) -> None:
    found = made(dicom.Sender(issuer="", authority=""))
    assert found.patient == patient_of(ring.pseudonym, "", "P1")
    assert [number.authority for number in found.numbers] == [""]


def test_what_an_image_leaves_out_it_does_not_say(made: Any, ring: KeyRing) -> None:
    found = who(made(PatientName="", PatientSex="", PatientBirthDate=""), ring)
    assert (found.name, found.sex, found.birth_date) == (None, None, None)
    assert made(PatientName="", PatientID="", PatientSex="").identity is None


def test_a_birth_date_that_stands_for_an_unknown_one_is_none(made: Any, ring: KeyRing) -> None:
    found = made(PatientBirthDate="19000101", PatientAge="")
    assert who(found, ring).birth_date is None
    assert found.age_years is None
    assert who(made(PatientBirthDate="19610402"), ring).birth_date == "19610402"


def test_other_patient_ids_are_kept_and_join_nobody(made: Any, ring: KeyRing) -> None:
    other = qualifiers(PatientID="X7", IssuerOfPatientID="CHU")
    found = made(OtherPatientIDsSequence=other, OtherPatientIDs=["P1", "Y8"])
    assert set(who(found, ring).others) == {
        OtherNumber(value="X7", authority="HOSP"),
        OtherNumber(value="Y8"),
    }
    assert found.patient == made().patient


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({}, {"PatientID": "P9"}, True),
        ({}, {"IssuerOfPatientID": "CLINIC"}, True),
        ({"PatientBirthDate": "19610402"}, {"PatientBirthDate": "19610204"}, True),
        ({}, {"PatientName": "OTHER"}, False),
        ({}, {"PatientBirthDate": "19000101"}, False),
        ({}, {"AccessionNumber": "A2"}, False),
        ({"IssuerOfPatientID": "CHU"}, {"IssuerOfPatientID": "HOSP"}, False),
    ],
)
def test_whose_part_of_a_series_it_is(
    made: Any, one: dict[str, str], other: dict[str, str], apart: bool
) -> None:
    assert (made(**one).statement != made(**other).statement) is apart


def test_a_statement_is_keyed(made: Any) -> None:
    assert "P1" not in made().statement
    assert len(made().statement) == 32


@pytest.mark.parametrize(
    ("elements", "numbers"),
    [
        ({"AccessionNumber": "A1"}, {("A1", "RIS1")}),
        ({"AccessionNumber": "0"}, set()),
        ({"AccessionNumber": ""}, set()),
        (
            {
                "AccessionNumber": "A1",
                "IssuerOfAccessionNumberSequence": qualifiers(LocalNamespaceEntityID="CHU"),
            },
            {("A1", "HOSP")},
        ),
        (
            {
                "AccessionNumber": "A1",
                "IssuerOfAccessionNumberSequence": qualifiers(
                    LocalNamespaceEntityID="X", UniversalEntityID="1.2.250"
                ),
            },
            {("A1", "HOSP")},
        ),
        (
            {
                "AccessionNumber": "A1",
                "RequestAttributesSequence": qualifiers(AccessionNumber="A2"),
            },
            {("A1", "RIS1"), ("A2", "RIS1")},
        ),
        (
            {
                "AccessionNumber": "",
                "RequestAttributesSequence": qualifiers(
                    AccessionNumber="A2",
                    IssuerOfAccessionNumberSequence=qualifiers(UniversalEntityID="1.2.250"),  # type: ignore[arg-type]
                ),
            },
            {("A2", "HOSP")},
        ),
    ],
)
def test_accession_numbers_and_who_gave_them_out(
    made: Any, elements: dict[str, Any], numbers: set[tuple[str, str]]
) -> None:
    found = made(**elements).numbers
    assert {(number.value, number.authority) for number in found} == numbers
    assert {number.kind for number in found} <= {"accession"}
