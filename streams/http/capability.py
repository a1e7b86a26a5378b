"""The CapabilityStatement: what the FHIR side of the door does, from its tables."""

from __future__ import annotations

from typing import Any

from streams.http import fhir_tables as tables

_WHAT = {
    "ServiceRequest": "an imaging order; status and intent as stated in the conformance page",
    "ImagingStudy": "available: the archive has the images, the study can be read",
    "DiagnosticReport": "a report's state",
    "Patient": "demographics, and Patient.link: replaced-by and replaces merge, seealso links",
}


def statement(date: str) -> dict[str, Any]:
    """Of FHIR R4; what is not named is refused."""
    resources: list[dict[str, Any]] = [
        {
            "type": kind,
            "documentation": _WHAT[kind],
            "interaction": [{"code": "create"}, {"code": "update"}],
        }
        for kind in sorted(tables.RESOURCES)
    ]
    merge = {
        "name": "merge",
        "definition": "http://hl7.org/fhir/OperationDefinition/Patient-merge",
    }
    for resource in resources:
        if resource["type"] == "Patient":
            resource["operation"] = [merge]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": "Vigie"},
        "implementation": {"description": "Vigie, reading list: the HTTP door"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {"description": "a bearer token, or a certificate of the door's CA"},
                "resource": resources,
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
