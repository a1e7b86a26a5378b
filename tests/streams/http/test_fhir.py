"""FHIR R4: each cell of the tables, identities, Bundles, $merge; OperationOutcome as answer."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Reason, Refuse
from streams.http import bundles, capability, fhir
from streams.http import fhir_tables as tables
from streams.http.making import Request
from streams.identity.seal import KeyRing
from tests.streams.http.conftest import MAY_NOT_CLOSE, NOW

MRN = {"type": {"coding": [{"code": "MR"}]}, "system": "urn:oid:1.2.250", "value": "P1"}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [{"system": "urn:ssn", "value": "999-1"}, MRN],
    "name": [
        {"use": "nickname", "text": "Z"},
        {"use": "official", "family": "LEFÈVRE", "given": ["Zoé"]},
    ],
    "birthDate": "1966-01-02",
    "gender": "female",
}
ORDER: dict[str, Any] = {
    "resourceType": "ServiceRequest",
    "meta": {"lastUpdated": "2026-03-14T09:00:00Z"},
    "contained": [PATIENT],
    "identifier": [
        {"type": {"coding": [{"code": "PLAC"}]}, "value": "O1"},
        {"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"},
    ],
    "status": "active",
    "intent": "order",
    "priority": "stat",
    "subject": {"reference": "#p"},
    "code": {"coding": [{"code": "CTHEAD", "display": "CT head"}]},
    "authoredOn": "2026-03-14T08:55:00+01:00",
}
STUDY: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    "status": "available",
    "subject": {"identifier": MRN},
    "numberOfInstances": 12,
}
REPORT: dict[str, Any] = {
    "resourceType": "DiagnosticReport",
    "status": "final",
    "code": {"text": "CT"},
    "subject": {"identifier": MRN},
    "basedOn": [{"identifier": {"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"}}],
}


def nobody(_resource: Any, _reference: str) -> None:
    """Nothing is at hand."""


def changed(resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(resource), **more}


def told(resource: dict[str, Any], request: Any) -> list[Any]:
    valid = fhir.validated(resource, "resource")
    return [event for _, event in fhir.events(valid, request, bundles._resolver({}))]


@pytest.mark.parametrize("intent", sorted(tables.ORDERS | tables.NO_ORDERS))
@pytest.mark.parametrize(("status", "said"), sorted(tables.SERVICE_REQUEST.items()))
def test_each_cell_of_status_and_intent(
    request_of: Any, intent: str, status: str, said: str | None
) -> None:
    found = told(changed(ORDER, status=status, intent=intent), request_of())
    if intent in tables.NO_ORDERS or said is None:
        assert found == []
    else:
        assert [(event.type, event.status) for event in found] == [("OrderChanged", said or None)]


@pytest.mark.parametrize(("status", "said"), sorted(tables.REPORT.items()))
def test_each_status_of_a_report(request_of: Any, status: str, said: str | None) -> None:
    found = told(changed(REPORT, status=status), request_of())
    assert [event.status for event in found] == ([said] if said else [])


@pytest.mark.parametrize(("status", "there"), sorted(tables.IMAGING_STUDY.items()))
def test_each_status_of_a_study(request_of: Any, status: str, there: bool) -> None:
    found = told(changed(STUDY, status=status), request_of())
    assert [(e.status, e.announced_instances) for e in found] == [("available", 12)] * there


@pytest.mark.parametrize(("priority", "code"), sorted(tables.PRIORITY.items()))
def test_each_priority_is_a_code_of_the_site_s_table(
    request_of: Any, priority: str, code: str
) -> None:
    request = request_of()
    (event,) = told(changed(ORDER, priority=priority), request)
    assert event.priority == request.site.codes.worst((code,)) != "unknown"


def test_an_order_says_what_it_says_and_nothing_more(request_of: Any, ring: KeyRing) -> None:
    (event,) = told(ORDER, request_of())
    who = ring.open_identity(event.identity)
    assert (who.patient_id, who.issuer, who.name) == ("P1", "1.2.250", "LEFÈVRE^Zoé")
    assert (who.birth_date, who.sex) == ("19660102", "F")
    assert {(n.kind, n.value) for n in event.numbers} == {("placer", "O1"), ("accession", "A1")}
    assert (event.procedure, event.modality) == ("CTHEAD", "CT")
    assert event.ordered_at.isoformat() == "2026-03-14T07:55:00+00:00"
    assert event.version.time.isoformat() == "2026-03-14T09:00:00+00:00"
    without = changed(ORDER)
    del without["priority"], without["code"]
    (event,) = told(without, request_of())
    assert (event.priority, event.procedure, event.description) == (None, None, None)


@pytest.mark.parametrize(
    ("link", "act", "kept"),
    [("replaced-by", "merge", "P2"), ("replaces", "merge", "P1"), ("seealso", "link", "P1")],
)
def test_links_of_patients(request_of: Any, ring: KeyRing, link: str, act: str, kept: str) -> None:
    other = {"identifier": {**MRN, "value": "P2"}}
    found = told(changed(PATIENT, link=[{"type": link, "other": other}]), request_of())
    event = found[-1]
    assert (event.type, event.act) == ("PatientMerged", act)
    assert ring.open_identity(event.identity).patient_id == kept
    assert len(found) == (1 if link == "replaced-by" else 2)


def test_a_link_that_only_refers_merges_nobody(request_of: Any) -> None:
    linked = changed(PATIENT, link=[{"type": "refer", "other": {"reference": "Patient/9"}}])
    assert [event.type for event in told(linked, request_of())] == ["PatientChanged"]


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (changed(ORDER, status="almost"), Reason.BAD_FIELD),
        (changed(ORDER, colour="red"), Reason.BAD_FIELD),
        (changed(ORDER, identifier=[]), Reason.NO_STUDY_KEY),
        (changed(PATIENT, identifier=[]), Reason.MISSING_FIELD),
        (changed(STUDY, identifier=[{"system": "urn:dicom:uid", "value": "../x"}]), Reason.BAD_UID),
        (changed(PATIENT, name=[{"family": "A\0"}]), Reason.BAD_FIELD),
        ({"resourceType": "Device"}, Reason.UNSUPPORTED_MESSAGE),
        ([], Reason.UNSUPPORTED_MESSAGE),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_element(
    request_of: Any, resource: Any, reason: Reason
) -> None:
    with pytest.raises(Refuse) as refusal:
        told(resource, request_of())
    assert refusal.value.reason is reason


_NAMES = ["identifier", "value", "system", "type"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["identifier", "value", "system", "type"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(
    st.sampled_from([ORDER, STUDY, REPORT, PATIENT]),
    st.sampled_from(["identifier", "subject", "status", "link", "basedOn", "name", "code", "meta"]),
    _JSON,
)
def test_any_value_of_an_element_is_taken_or_refused(
    ring: KeyRing, site: Any, resource: dict[str, Any], element: str, value: Any
) -> None:
    request = Request(site, site.senders[0], ring, NOW, b"")
    with suppress(Refuse):
        assert isinstance(told(changed(resource, **{element: value}), request), list)


async def test_a_resource_is_answered_with_an_outcome(
    client: httpx.AsyncClient, broker: Any
) -> None:
    created = await client.post("/fhir/ServiceRequest", json=ORDER)
    updated = await client.put("/fhir/ServiceRequest/o1", json=ORDER)
    assert [created.status_code, updated.status_code] == [201, 200]
    assert created.headers["content-type"] == "application/fhir+json"
    assert len({event.event_id for event in broker.events}) == 1
    for wrong, status in ((changed(ORDER, status="x"), 422), (STUDY, 422)):
        answer = await client.post("/fhir/ServiceRequest", json=wrong)
        assert answer.status_code == status
        get_fhir_model_class("OperationOutcome").model_validate(answer.json())
    headers = {"Authorization": f"Bearer {MAY_NOT_CLOSE}"}
    forbidden = await client.post("/fhir/DiagnosticReport", json=REPORT, headers=headers)
    assert forbidden.status_code == 403
    assert forbidden.json()["issue"][0]["code"] == "forbidden"
    nobody_s = await client.post("/fhir/Patient", json=PATIENT, headers={"Authorization": ""})
    assert nobody_s.json()["resourceType"] == "OperationOutcome"


async def test_xml_and_resources_that_are_none_of_ours_are_told_so(
    client: httpx.AsyncClient, broker: Any
) -> None:
    xml = {"Content-Type": "application/fhir+xml; charset=UTF-8"}
    answer = await client.post("/fhir/ServiceRequest", content=b"<ServiceRequest/>", headers=xml)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (415, "not-supported")
    for kind in ("Medication", "DOE^Jane"):
        answer = await client.post(f"/fhir/{kind}", json={"resourceType": kind})
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (422, "not-supported")
        assert kind not in answer.text
    assert broker.events == []


def bundle(kind: str, *resources: Any) -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"urn:uuid:{number}",
            "resource": resource,
            "request": {"method": "POST", "url": "x"},
        }
        for number, resource in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


async def test_a_transaction_is_taken_whole_or_not_at_all(
    client: httpx.AsyncClient, broker: Any, ring: KeyRing
) -> None:
    order = changed(ORDER, subject={"reference": "urn:uuid:0"})
    del order["contained"]
    answer = await client.post("/fhir", json=bundle("transaction", PATIENT, order))
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "transaction-response"
    get_fhir_model_class("Bundle").model_validate(answer.json())
    assert [event.type for event in broker.events] == ["PatientChanged", "OrderChanged"]
    assert ring.open_identity(broker.events[1].identity).patient_id == "P1"
    broker.sent.clear()
    broken = bundle("transaction", PATIENT, changed(ORDER, status="almost"))
    assert (await client.post("/fhir", json=broken)).status_code == 422
    assert broker.sent == []


async def test_each_entry_of_a_batch_is_answered_on_its_own(
    client: httpx.AsyncClient, broker: Any
) -> None:
    wrong = changed(ORDER, status="almost")
    answer = await client.post("/fhir", json=bundle("batch", PATIENT, wrong, ORDER, None))
    assert answer.status_code == 200
    found = [entry["response"]["status"] for entry in answer.json()["entry"]]
    assert found == ["200", "422", "200", "422"]
    assert len(broker.sent) == 2


async def test_merge_by_identifiers(client: httpx.AsyncClient, broker: Any, ring: KeyRing) -> None:
    def identifier(name: str, value: str) -> dict[str, Any]:
        return {"name": name, "valueIdentifier": {**MRN, "value": value}}

    body = {
        "resourceType": "Parameters",
        "parameter": [
            identifier("source-patient-identifier", "P1"),
            identifier("target-patient-identifier", "P2"),
        ],
    }
    answer = await client.post("/fhir/Patient/$merge", json=body)
    assert answer.status_code == 200, answer.text
    (event,) = broker.events
    assert ring.open_identity(event.identity).patient_id == "P2"
    assert ring.open_identity(event.retired_identity).patient_id == "P1"
    half = {**body, "parameter": body["parameter"][:1]}
    assert (await client.post("/fhir/Patient/$merge", json=half)).status_code == 422


def test_the_capability_statement_is_valid_and_names_the_tables_resources() -> None:
    statement = capability.statement("2026-11-26")
    get_fhir_model_class("CapabilityStatement").model_validate(statement)
    named = {one["type"] for one in statement["rest"][0]["resource"]}
    assert named == set(tables.RESOURCES)
