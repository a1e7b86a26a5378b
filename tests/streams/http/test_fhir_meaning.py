"""FHIR R4: what turns a resource's meaning round, whom it means, and what is no imaging."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class

from streams.errors import Reason, Refuse
from streams.identity.seal import KeyRing
from tests.streams.http.test_fhir import MRN, ORDER, PATIENT, REPORT, STUDY, bundle, changed, told

OLD = {**MRN, "use": "old", "value": "P0"}


def category(*codes: str) -> list[dict[str, Any]]:
    return [{"coding": [{"code": code}]} for code in codes]


@pytest.mark.parametrize(
    ("codes", "imaging"),
    [
        (["108252007"], False),  # SNOMED CT: laboratory procedure
        (["LAB"], False),  # table 0074, by the sender's rule for OBR-24
        (["lab"], False),
        (["108252007", "363679005"], True),
        (["363679005"], True),
        (["394914008"], True),  # SNOMED CT: radiology; in no table of ours
        (["OUR-SCANNER"], True),
        (["RUS"], True),
        (["LAB", "OUR-SCANNER"], True),
        ([], None),
    ],
)
def test_an_order_of_an_unknown_category_is_an_order_and_a_laboratory_s_is_hidden_not_dropped(
    request_of: Any, codes: list[str], imaging: bool | None
) -> None:
    (event,) = told(changed(ORDER, category=category(*codes)), request_of())
    assert event.imaging is imaging


async def test_a_hidden_order_is_counted_with_its_procedure(
    client: httpx.AsyncClient, door: Any, broker: Any
) -> None:
    body = changed(ORDER, category=category("108252007"))
    assert (await client.post("/fhir/ServiceRequest", json=body)).status_code == 201
    assert [event.imaging for event in broker.events] == [False]
    (ehr,) = (one for one in door.seen.events(broker.events[0].received_at) if one.sender == "ehr")
    assert ehr.not_imaging == {"CTHEAD": 1}


def test_a_report_of_the_laboratory_closes_nothing(request_of: Any) -> None:
    assert told(changed(REPORT, category=category("LAB")), request_of()) == []
    assert len(told(changed(REPORT, category=category("RAD")), request_of())) == 1


@pytest.mark.parametrize(
    "former",
    [OLD, {**OLD, "use": "usual", "period": {"end": "2026-03-13"}}, {**OLD, "system": "x"}],
)
def test_a_number_that_somebody_had_before_is_not_the_patient_s(
    request_of: Any, ring: KeyRing, former: dict[str, Any]
) -> None:
    for identifiers in ([former, MRN], [MRN, former]):
        (event,) = told(changed(PATIENT, identifier=identifiers), request_of())
        assert ring.open_identity(event.identity).patient_id == "P1"


def test_a_number_that_ends_today_or_next_year_still_counts(request_of: Any, ring: KeyRing) -> None:
    for end in ("2026-03-14", "2026-03", "2026", "2027-01-01"):
        number = {**MRN, "value": "P9", "period": {"end": end}}
        (event,) = told(changed(PATIENT, identifier=[number, MRN]), request_of())
        assert ring.open_identity(event.identity).patient_id == "P9"


@pytest.mark.parametrize("use", ["maiden", "old", "nickname"])
def test_the_name_in_use_is_shown_not_an_earlier_one(
    request_of: Any, ring: KeyRing, use: str
) -> None:
    names = [{"use": use, "family": "BEFORE"}, {"use": "usual", "family": "NOW"}]
    (event,) = told(changed(PATIENT, name=names), request_of())
    assert ring.open_identity(event.identity).name == "NOW"
    (event,) = told(changed(PATIENT, name=names[:1]), request_of())
    assert ring.open_identity(event.identity).name == "BEFORE"


def test_a_subject_that_is_no_patient_names_nobody(request_of: Any) -> None:
    device = {"resourceType": "Device", "id": "d", "identifier": [{"value": "SERIAL"}]}
    body = changed(ORDER, contained=[device], subject={"reference": "#d"})
    with pytest.raises(Refuse) as refusal:
        told(body, request_of())
    assert (refusal.value.reason, refusal.value.where) == (Reason.BAD_FIELD, "subject.reference")


async def test_a_large_bundle_holds_up_nobody_else(client: httpx.AsyncClient, broker: Any) -> None:
    """The loop that reads it answers HL7 too."""
    orders = [changed(ORDER, id=f"o{number}") for number in range(80)]
    large = asyncio.create_task(client.post("/fhir", json=bundle("transaction", *orders)))
    while not large.done():
        await asyncio.sleep(0.01)
        other = await client.post("/fhir/Patient", json=PATIENT)
        assert other.status_code == 201
        if not large.done():
            break
    else:
        pytest.fail("nothing was answered beside it")
    assert (await large).status_code == 200


async def test_a_version_of_a_patient_is_the_patient(
    client: httpx.AsyncClient, broker: Any, ring: KeyRing
) -> None:
    order = changed(ORDER, subject={"reference": "Patient/p/_history/7"})
    del order["contained"]
    answer = await client.post("/fhir", json=bundle("transaction", PATIENT, order))
    assert answer.status_code == 200
    assert ring.open_identity(broker.events[1].identity).patient_id == "P1"


async def test_a_sender_is_warned_that_nobody_knows_its_patient_by_that_reference(
    client: httpx.AsyncClient, broker: Any
) -> None:
    order = changed(ORDER, subject={"reference": "Patient/9"})
    answer = await client.post("/fhir/ServiceRequest", json=order)
    assert answer.status_code == 201
    (issue,) = answer.json()["issue"]
    assert (issue["severity"], issue["code"], issue["expression"]) == (
        "warning",
        "not-found",
        ["subject"],
    )
    for kind in ("transaction", "batch"):
        answer = await client.post("/fhir", json=bundle(kind, ORDER, order))
        get_fhir_model_class("Bundle").model_validate(answer.json())
        known, unknown = (entry["response"] for entry in answer.json()["entry"])
        assert "outcome" not in known
        assert unknown["outcome"]["issue"] == [issue]
    assert len(broker.events) == 5  # listed all the same, without a patient


async def test_a_patient_that_is_refused_in_a_batch_is_nobody_s_subject(
    client: httpx.AsyncClient, broker: Any
) -> None:
    order = changed(ORDER, subject={"reference": "urn:uuid:0"})
    patient = changed(PATIENT, name="Eva", identifier="P1")
    answer = await client.post("/fhir", json=bundle("batch", patient, order))
    assert [entry["response"]["status"] for entry in answer.json()["entry"]] == ["422", "422"]
    assert broker.sent == []


def test_a_prohibition_is_no_order(request_of: Any) -> None:
    assert told(changed(ORDER, doNotPerform=True), request_of()) == []
    assert len(told(changed(ORDER, doNotPerform=False), request_of())) == 1


@pytest.mark.parametrize(
    "unknown",
    [
        {"modifierExtension": [{"url": "http://example.org/negated", "valueBoolean": True}]},
        {"implicitRules": "http://example.org/rules"},
    ],
)
def test_what_changes_the_meaning_and_is_not_understood_is_refused(
    request_of: Any, unknown: dict[str, Any]
) -> None:
    with pytest.raises(Refuse) as refusal:
        told(changed(ORDER, **unknown), request_of())
    assert refusal.value.reason is Reason.UNSUPPORTED_MESSAGE


def test_test_data_makes_no_row(request_of: Any) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
    assert told(changed(ORDER, meta={"security": [label]}), request_of()) == []


@pytest.mark.parametrize("method", ["DELETE", "GET", "PATCH"])
async def test_an_order_that_is_deleted_in_a_bundle_is_not_taken_for_ordered(
    client: httpx.AsyncClient, broker: Any, method: str
) -> None:
    body = bundle("transaction", ORDER)
    body["entry"][0]["request"]["method"] = method
    assert (await client.post("/fhir", json=body)).status_code == 422
    body["type"] = "batch"
    answer = await client.post("/fhir", json=body)
    assert answer.json()["entry"][0]["response"]["status"] == "422"
    assert broker.sent == []


async def test_an_update_of_another_resource_than_its_path_names_is_refused(
    client: httpx.AsyncClient, broker: Any
) -> None:
    answer = await client.put("/fhir/ServiceRequest/o1", json=changed(ORDER, id="o2"))
    assert answer.status_code == 400
    assert broker.sent == []
    assert (
        await client.put("/fhir/ServiceRequest/o2", json=changed(ORDER, id="o2"))
    ).status_code == 200


@pytest.mark.parametrize(
    ("more", "readable"),
    [
        ({"numberOfInstances": 0}, False),
        ({"modality": [{"code": "SR"}]}, False),
        ({"modality": [{"code": "KO"}, {"code": "PR"}]}, False),
        ({"modality": [{"code": "CT"}, {"code": "SR"}]}, True),
        ({"series": [{"uid": "1.2", "modality": {"code": "SR"}}]}, False),
        ({"modality": [{"code": "US"}]}, True),
        ({}, True),
    ],
)
def test_a_study_without_an_image_is_not_readable(
    request_of: Any, more: dict[str, Any], readable: bool
) -> None:
    assert len(told(changed(STUDY, **more), request_of())) == int(readable)


@pytest.mark.parametrize("uid", ["1..2", ".1.2", "1.2.", "", "1" * 65, "1.2\u0663"])
def test_a_uid_that_no_image_can_have_is_refused(request_of: Any, uid: str) -> None:
    identifier = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
    with pytest.raises(Refuse) as refusal:
        told(changed(STUDY, identifier=identifier), request_of())
    assert refusal.value.reason is Reason.BAD_UID


def test_a_type_of_a_number_may_be_said_in_several_systems(request_of: Any) -> None:
    coded = {"coding": [{"system": "urn:ours", "code": "X"}, {"code": "ACSN"}]}
    (event,) = told(changed(ORDER, identifier=[{"type": coded, "value": "A7"}]), request_of())
    assert [(number.kind, number.value) for number in event.numbers] == [("accession", "A7")]
