"""What FHIR's codes mean on a list of studies to read: data, each cell tested."""

from __future__ import annotations

from typing import Literal

OrderStatus = Literal["scheduled", "performed", "cancelled"]
Report = Literal["preliminary", "final", "corrected", "addendum", "withdrawn"]

#: Intents that ask for something to be done (request-intent, R4).
ORDERS = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order"})
#: Those that do not: they have no effect here.
NO_ORDERS = frozenset({"proposal", "plan", "directive", "option"})
#: request-status → status of the order; "" says nothing of it, None has no effect here.
SERVICE_REQUEST: dict[str, OrderStatus | Literal[""] | None] = {
    "draft": None,
    "active": "scheduled",
    "on-hold": "",
    "revoked": "cancelled",
    "completed": "performed",
    "entered-in-error": "cancelled",
    "unknown": "",
}
#: request-priority → a code of HL7 table 0485, which the site's table explains.
PRIORITY = {"routine": "R", "urgent": "URGENT", "asap": "A", "stat": "S"}
#: diagnostic-report-status → state of the report; None is no report yet.
REPORT: dict[str, Report | None] = {
    "registered": None,
    "partial": "preliminary",
    "preliminary": "preliminary",
    "final": "final",
    "amended": "corrected",
    "corrected": "corrected",
    "appended": "addendum",
    "cancelled": "withdrawn",
    "entered-in-error": "withdrawn",
    "unknown": None,
}
#: imagingstudy-status → whether the archive says that it has the images.
IMAGING_STUDY = {
    "registered": False,
    "available": True,
    "cancelled": False,
    "entered-in-error": False,
    "unknown": False,
}
#: link-type of Patient.link → what it says: which of the two is retired, or that both are one.
LINK: dict[str, Literal["this", "other", "both"] | None] = {
    "replaced-by": "this",
    "replaces": "other",
    "refer": None,
    "seealso": "both",
}
GENDER = {"female": "F", "male": "M", "other": "O", "unknown": "U"}
#: Codes of identifier types (HL7 table 0203) → kinds of numbers.
IDENTIFIERS: dict[str, Literal["accession", "placer", "filler"]] = {
    "ACSN": "accession",
    "PLAC": "placer",
    "FILL": "filler",
}
#: Categories (upper case) that are imaging, and those of the value set of ServiceRequest.category
#: that are not; beside these the sender's rules for OBR-24 (HL7 table 0074) tell.
IMAGING = frozenset({"363679005", "IMAGING", "RAD", "IMG", "LP29684-5"})
NOT_IMAGING = frozenset(
    {"108252007", "387713003", "409063005", "409073007", "LABORATORY", "LP29693-6"}
)
#: name-use, the first that is there is shown; "" is none stated.
NAME_USE = ("official", "usual", "", "temp", "nickname", "anonymous", "maiden", "old")
#: Security label of a resource that is about nobody (v3-ActReason), as MSH-11 T.
TEST_DATA = "HTEST"
RESOURCES = ("ServiceRequest", "ImagingStudy", "Patient", "DiagnosticReport")
