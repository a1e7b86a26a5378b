"""Conformance statements of the DICOM and the HTTP door, written from the tested tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pynetdicom  # noqa: F401 — it knows more transfer syntaxes than pydicom
from pydicom.uid import UID

from streams.dicom import agreed, exams, receiving
from streams.dicom.steps import MPPS
from streams.dicom.upper import admission, association, pdu, wire
from streams.errors import Reason
from streams.http import door, fhir_tables, gatekeeper, problems, stow

WRITTEN = "Written by `python -m infra.docs.build` from the code; changes by hand are lost."


def _table(head: str, rows: Iterable[Iterable[str]]) -> list[str]:
    columns = head.count("|") + 1
    return [
        "",
        f"| {head} |",
        f"|{'---|' * columns}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


#: Of the standard, and not in every pydicom's dictionary (other libraries add to it).
_NEW = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


def _named(uid: str) -> str:
    found = UID(uid)
    return _NEW.get(uid) or (found.name if found.name != uid else "private")


def _statuses(table: Mapping[Reason, int]) -> list[list[str]]:
    by_status: dict[int, list[str]] = {}
    for reason, status in table.items():
        by_status.setdefault(status, []).append(f"`{reason.value}`")
    return [[f"`0x{status:04X}`", ", ".join(found)] for status, found in sorted(by_status.items())]


def dicom_page() -> str:
    """The DICOM Conformance Statement (PS3.2), as far as there is something to say."""
    lines = [
        "# DICOM Conformance Statement",
        "",
        WRITTEN,
        "",
        "Vigie is called; it calls nobody, but for the archive of `VIGIE_ARCHIVE`, by C-FIND",
        "(Study Root) or QIDO-RS.",
        "It is not the",
        "archive: **storage commitment is refused; send to the PACS first.** Nothing can be",
        "retrieved by DICOM.",
        "",
        "## Who may call",
        "",
        "The called AE title is `VIGIE_AE_TITLE`. The calling AE title, and the address where",
        "the site names it",
        "(`ae` of a sender: `TITLE` or `TITLE@address`), make the sender; strangers are",
        "rejected unless the site says",
        "`accept_unknown`. With `VIGIE_DICOM_TLS_CERT` the door speaks TLS 1.2 or newer alone,",
        "and a caller shows a",
        "certificate of `VIGIE_DICOM_TLS_CA`; `certificates` of a sender names those that may",
        "speak for it.",
        *_table(
            "rejected with (result, source, reason) | because",
            [
                [f"{result}, {source}, {reason}", f"`{why.value}`"]
                for why, (result, source, reason) in association.REJECTIONS.items()
            ],
        ),
        "",
        "## Bounds",
        *_table(
            "what | bound",
            [
                ["P-DATA-TF that we ask for", f"{pdu.MAX_DATA} bytes"],
                ["held of one association that sends", f"{wire.BUFFER} bytes, whatever it sends"],
                ["association request whole within", f"{association.REQUEST_S:g} s"],
                [
                    "connections without an association, of one address",
                    f"{admission.HALF_OPEN_OF_ONE}",
                ],
                ["a message, once it took 30 s", f"at least {wire.SLOWEST} bytes a second"],
                [
                    "associations, each caller's, silence, largest instance",
                    "[settings](settings.md)",
                ],
            ],
        ),
        "",
        *_services(),
        *_answers(),
    ]
    return "\n".join(lines) + "\n"


def _services() -> list[str]:
    return [
        "## Services as SCP",
        *_table(
            "service | SOP classes | operations",
            [
                ["Verification", f"`{agreed.VERIFICATION}`", "C-ECHO"],
                ["Storage", "every storage class of PS3.4, every private one", "C-STORE"],
                ["Modality Performed Procedure Step", f"`{MPPS}`", "N-CREATE, N-SET"],
                ["Instance Availability Notification", f"`{agreed.NOTICE}`", "N-CREATE"],
            ],
        ),
        "",
        "## Transfer syntaxes of Storage",
        "",
        "The first of a proposal that is listed is taken. What triage cannot decode is stored",
        "and listed, *not analysed*.",
        *_table(
            "transfer syntax | name",
            [[f"`{uid}`", _named(uid)] for uid in sorted(agreed.SYNTAXES, key=_by_number)],
        ),
        "",
    ]


def _answers() -> list[str]:
    return [
        "## Statuses",
        "",
        "Each refusal carries its reason as Error Comment (0000,0902); no value of a data set",
        "is quoted.",
        "",
        "C-STORE: `0x0000` once the instance is durable; `0xB007` where it is damaged and",
        "still names its study: kept,",
        "listed, *not analysed*; else",
        *_table("status | reasons", [*_statuses(receiving.STATUS), ["`0xC000`", "all others"]]),
        "",
        "N-CREATE and N-SET: `0x0000` once the broker has confirmed; `0x0111` where a step has",
        "begun with other words; `0x0112`",
        "for an N-SET of a step that nobody began; `0x0110` with Error ID `0xA710` once it has",
        "ended; else",
        *_table("status | reasons", [*_statuses(exams.STATUS), ["`0x0110`", "all others"]]),
        "",
        "An N-CREATE without SOP Instance UID is given one. An N-CREATE that is sent again",
        "changes nothing.",
        "",
        "## Character sets",
        "",
        "All of PS3.3 §C.12.1.1.2, with code extensions; common misspellings are understood.",
        "Bytes that contradict what is declared",
        "are read by the sender's `charset`, and the name is marked doubtful.",
    ]


def _by_number(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def http_page() -> str:
    """What the HTTP door takes: JSON, FHIR, STOW-RS."""
    lines = [
        "# The HTTP door",
        "",
        WRITTEN,
        "",
        "A bearer token (`tokens_sha256` of a sender) or, at a door with TLS, a certificate",
        "that a sender names. 2xx once it is durable. The",
        "same `Idempotency-Key` has no second effect, whichever gateway it comes to (with another",
        "body it is refused by the gateway that knows it); nor has the same body that states its",
        "time, or that follows nothing else on its subject.",
        "JSON of our own: `GET /openapi.json`.",
        *_table(
            "status | reasons",
            [
                [f"{status}", ", ".join(f"`{reason.value}`" for reason in found)]
                for status, found in sorted(_by_http_status().items())
            ]
            + [["422", "all others"]],
        ),
        "",
        f"429 and 503 say when to come again: `Retry-After: {problems.RETRY_AFTER_S}`.",
        "",
        *_fhir(),
        "## STOW-RS",
        "",
        "`POST /dicomweb/studies` and `/dicomweb/studies/UID`, `multipart/related;",
        'type="application/dicom"`; the answer is DICOM JSON. 200 all stored, 202',
        "some, 409 none. Classes, transfer syntaxes and Failure Reasons are those of C-STORE",
        "([DICOM](dicom.md)). Nothing can be retrieved.",
        "",
        "## Bounds",
        *_table(
            "what | bound",
            [
                ["a compressed body (Content-Encoding)", "415: nothing is unpacked"],
                ["parts of a STOW-RS request", f"{stow.MOST_PARTS}, one held at a time"],
                ["a body, once it took 30 s", f"at least {gatekeeper.SLOWEST} bytes a second"],
                ["connections that have not said what they want", f"{door.HALF_OPEN}"],
                ["bodies, instances, requests at once of a sender", "[settings](settings.md)"],
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _fhir() -> list[str]:
    orders = ", ".join(f"*{intent}*" for intent in sorted(fhir_tables.ORDERS))
    nothing = ", ".join(f"*{intent}*" for intent in sorted(fhir_tables.NO_ORDERS))
    return [
        "## FHIR R4",
        "",
        "`POST /fhir/TYPE`, `PUT /fhir/TYPE/ID`, `POST /fhir` with a Bundle (transaction,",
        "batch, message, collection), `POST",
        "/fhir/Patient/$merge`; `GET /fhir/metadata`. The answer is an OperationOutcome or a",
        "response Bundle. A resource is JSON, and validated whole; one with `modifierExtension` or",
        f"`implicitRules` is refused, one labelled `{fhir_tables.TEST_DATA}` has no effect.",
        "The event's time is `meta.lastUpdated`, else the receipt. Identifiers by type: "
        + ", ".join(f"`{code}` {kind}" for code, kind in fhir_tables.IDENTIFIERS.items())
        + "; one without",
        "type is a ServiceRequest's placer number; the system `urn:dicom:uid` is a study's",
        "UID. Systems are names of authorities. Numbers and names that are *old*, or whose",
        "period has ended, are nobody's.",
        "A subject is read where it is in the resource, in its Bundle, or has an identifier;",
        "else the answer warns: *not-found*.",
        "",
        f"**ServiceRequest**: intents {orders} are orders; {nothing} and `doNotPerform` have no",
        "effect. Whose `category` is of the laboratory",
        "("
        + ", ".join(f"`{code}`" for code in sorted(fhir_tables.NOT_IMAGING))
        + "; else by the sender's `not_imaging` for OBR-24) is kept off the list until an image",
        "names its number; a report with such a category has no effect.",
        *_table(
            "status | the order is",
            [[one, _said(to)] for one, to in fhir_tables.SERVICE_REQUEST.items()],
        ),
        *_table(
            "priority | code of the site's table",
            [[one, f"`{code}`"] for one, code in fhir_tables.PRIORITY.items()],
        ),
        "",
        "**DiagnosticReport**, from a sender that may close:",
        *_table(
            "status | the report is",
            [[one, _said(to)] for one, to in fhir_tables.REPORT.items()],
        ),
        "",
        "**ImagingStudy**: *available* makes the study readable, with its number of instances;",
        "other states have no effect, nor has one without an image (none, or only reports,",
        "presentation states and their like).",
        "",
        "**Patient**: demographics. `link`: *replaced-by* and *replaces* merge, *seealso*",
        "links, *refer* has no effect.",
        "",
    ]


def _by_http_status() -> dict[int, list[Reason]]:
    found: dict[int, list[Reason]] = {}
    for reason, status in problems.STATUS.items():
        found.setdefault(status, []).append(reason)
    return found


def _said(to: str | None) -> str:
    return "no effect" if to is None else (to or "unchanged")
