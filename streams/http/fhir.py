"""FHIR R4 resources become events; what a resource means is in `fhir_tables`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from streams import metrics
from streams.dicom.headers import UNREADABLE_MODALITIES
from streams.errors import Reason, Refuse
from streams.events import (
    ExamProgressed,
    Number,
    NumberKind,
    OrderChanged,
    PatientChanged,
    ReportReceived,
)
from streams.http import fhir_tables as tables
from streams.http.bodies import merged
from streams.http.fhir_names import Resource, identity_of, numbers_of, patient_number
from streams.http.making import Keyed, Request
from streams.sealed import Identity

#: Finds what a reference names: in the resource itself, or in its Bundle.
Resolve = Callable[[Resource, str], Resource | None]
_TEXT, _CODE = 256, 64
#: Where HL7 v2 says what an order's category is: a sender's rules are written for both doors.
_SECTION = ("OBR", 24)
_DEEPEST = 48  # lists and objects in each other


def validated(resource: Any, where: str) -> Resource:
    """`resource` where it is one of ours and valid. Raises Refuse `unsupported_message`, or
    `bad_field` with the element; never a value.
    """
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if kind not in tables.RESOURCES:
        raise Refuse(Reason.UNSUPPORTED_MESSAGE, f"{where}.resourceType")
    _check_texts(resource, where)
    try:
        _model(kind).model_validate(resource)
    except (ValidationError, ValueError, TypeError) as error:
        place = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        raise Refuse(Reason.BAD_FIELD, ".".join(map(str, (where, *place)))[:_CODE]) from None
    # It changes what all the rest means (R4 §2.4.1.2): a guess may be the opposite.
    for element in ("modifierExtension", "implicitRules"):
        if resource.get(element):
            raise Refuse(Reason.UNSUPPORTED_MESSAGE, f"{where}.{element}"[:_CODE])
    return dict(resource)


@cache
def _model(kind: str) -> Any:
    return getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)


def _check_texts(value: Any, where: str) -> None:
    """Control characters stand in no number and no name, and the record could not keep them; what
    is nested deeper than any resource would be too deep for who validates it.
    """
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > _DEEPEST:
            raise Refuse(Reason.BAD_FIELD, where)
        if isinstance(one, dict):
            waiting += ((inner, depth + 1) for inner in one.values())
        elif isinstance(one, list):
            waiting += ((inner, depth + 1) for inner in one)
        elif isinstance(one, str) and any(
            (character < " " and character not in "\t\r\n") or "\ud800" <= character <= "\udfff"
            for character in one
        ):
            raise Refuse(Reason.BAD_FIELD, where)


def events(resource: Resource, request: Request, resolve: Resolve) -> list[Keyed]:
    """The events of a valid resource; none for what has no effect here. Raises Refuse."""
    labels = (resource.get("meta") or {}).get("security") or ()
    if any(label.get("code") == tables.TEST_DATA for label in labels):
        metrics.test_messages.labels("http").inc()
        return []
    try:
        return _MAPPED[resource["resourceType"]](_Reader(resource, request, resolve))
    except ValidationError:
        raise Refuse(Reason.BAD_FIELD, str(resource["resourceType"])) from None


class _Reader:
    """One resource and what it refers to."""

    def __init__(self, resource: Resource, request: Request, resolve: Resolve) -> None:
        self.resource, self.request, self._resolve = resource, request, resolve

    def code(self, name: str) -> str:
        """A code of the resource."""
        value = self.resource.get(name)
        return value if isinstance(value, str) else ""

    def at(self, text: Any) -> datetime | None:
        """A dateTime or date; without a zone it is the sender's."""
        if not isinstance(text, str) or len(text) < len("2026-01-01"):
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return None
        if not 1900 < found.year < 2199:  # no event can hold it (`streams.events.Instant`)
            return None
        if found.tzinfo is None:
            found = found.replace(tzinfo=ZoneInfo(self.request.sender.timezone))
        return found.astimezone(UTC)

    def base(self, who: Identity) -> dict[str, Any]:
        """The fields of an event about `who`."""
        return self.request.base(who, self.at((self.resource.get("meta") or {}).get("lastUpdated")))

    def refers(self, name: str) -> Iterator[tuple[Resource, Resource | None]]:
        """The references of an element, each with what it names where that is at hand, and valid if
        it is one of ours. Raises Refuse.
        """
        value = self.resource.get(name) or []
        references: list[Resource] = value if isinstance(value, list) else [value]
        for reference in references:
            # A version of it is still it (R4 §2.3.0.1).
            address = (reference.get("reference") or "").partition("/_history/")[0]
            found = self._resolve(self.resource, address)
            if found is not None and found.get("resourceType") in tables.RESOURCES:
                valid = self.request.valid
                if id(found) not in valid:  # many orders are about one patient
                    valid[id(found)] = validated(found, name)
            yield reference, found

    def subject(self, name: str) -> Identity:
        """The patient that an element refers to. Raises Refuse where it is no patient."""
        for reference, patient in self.refers(name):
            if patient is not None:
                if patient.get("resourceType") != "Patient":
                    raise Refuse(Reason.BAD_FIELD, f"{name}.reference")
                return identity_of(patient, self.request)
            if identifier := reference.get("identifier"):
                value, issuer = patient_number([identifier], self.request, name)
                return Identity(patient_id=value, issuer=issuer)
            self.request.unknown.append(name)
        return Identity()

    def numbers(self, untyped: NumberKind | None = None) -> list[Number]:
        """The numbers of its own."""
        return numbers_of(self.resource.get("identifier") or (), self.request, untyped)

    def orders(self) -> list[Number]:
        """The numbers of the orders that it is based on."""
        found: list[Number] = []
        for reference, order in self.refers("basedOn"):
            found += numbers_of(_named(reference, order), self.request, "placer")
        return found

    def imaging(self) -> bool | None:
        """Whether its categories say that it is imaging; None where it has none. One that nobody
        knows is taken for imaging: a word too many on the list does less harm than one too few.
        """
        codings = [
            coding
            for category in self.resource.get("category") or ()
            for coding in category.get("coding") or ()
        ]
        codes = {(coding.get("code") or "").upper() for coding in codings} - {""}
        if not codes:
            return None
        sections = [
            rule.value
            for rule in self.request.sender.not_imaging_rules
            if (rule.segment, rule.field) == _SECTION
        ]
        others = {
            code
            for code in codes
            if code in tables.NOT_IMAGING or any(section.match(code) for section in sections)
        }
        return bool(codes & tables.IMAGING or codes - others)

    def of_study(self, made: Any) -> list[Keyed]:
        """The event under its key."""
        return [self.request.of_study(made)]


def _named(reference: Resource, found: Resource | None) -> Iterable[Resource]:
    """The identifiers of what a reference names: its own, where it is at hand."""
    if found is None:
        return [reference.get("identifier") or {}]
    return found.get("identifier") or () if found.get("resourceType") in tables.RESOURCES else ()


def _service_request(reader: _Reader) -> list[Keyed]:
    resource, request = reader.resource, reader.request
    intent, status = reader.code("intent"), reader.code("status")
    if intent not in tables.ORDERS | tables.NO_ORDERS:
        raise Refuse(Reason.BAD_FIELD, "ServiceRequest.intent")
    if status not in tables.SERVICE_REQUEST:
        raise Refuse(Reason.BAD_FIELD, "ServiceRequest.status")
    said = tables.SERVICE_REQUEST[status]
    if intent in tables.NO_ORDERS or said is None or resource.get("doNotPerform"):
        return []
    if said == "cancelled":
        request.need("cancel", "ServiceRequest.status")
    priority = reader.code("priority")
    if priority and priority not in tables.PRIORITY:
        raise Refuse(Reason.BAD_FIELD, "ServiceRequest.priority")
    concept = resource.get("code") or {}
    coding: Resource = next(iter(concept.get("coding") or ()), {})
    procedure = request.site.codes.procedures.get(coding.get("code") or "")
    description = concept.get("text") or coding.get("display") or ""
    made = OrderChanged(
        **reader.base(reader.subject("subject")),
        numbers=tuple(reader.numbers("placer")),
        site=request.sender.site,
        status=said or None,
        priority=request.site.codes.worst((tables.PRIORITY[priority],)) if priority else None,
        modality=procedure.modality or None if procedure else None,
        body_part=procedure.body_part or None if procedure else None,
        subspecialty=procedure.subspecialty or None if procedure else None,
        procedure=(coding.get("code") or "")[:_CODE] or None,
        description=description[:_TEXT] or None,
        ordered_at=reader.at(resource.get("authoredOn")),
        scheduled_at=reader.at(resource.get("occurrenceDateTime")),
        imaging=reader.imaging(),
    )
    return reader.of_study(made)


def _imaging_study(reader: _Reader) -> list[Keyed]:
    status = reader.code("status")
    if status not in tables.IMAGING_STUDY:
        raise Refuse(Reason.BAD_FIELD, "ImagingStudy.status")
    if not tables.IMAGING_STUDY[status] or not _has_images(reader.resource):
        return []
    made = ExamProgressed(
        **reader.base(reader.subject("subject")),
        numbers=tuple(dict.fromkeys((*reader.numbers(), *reader.orders()))),
        site=reader.request.sender.site,
        status="available",
        announced_instances=reader.resource.get("numberOfInstances"),
    )
    return reader.of_study(made)


def _has_images(study: Resource) -> bool:
    """Whether there is something to read: no report, no presentation state makes a study readable.
    Where it does not say, there is.
    """
    series = study.get("series") or ()
    codings = [*(study.get("modality") or ()), *(one.get("modality") or {} for one in series)]
    modalities = {(coding.get("code") or "").upper() for coding in codings} - {""}
    return study.get("numberOfInstances") != 0 and not (
        modalities and modalities <= UNREADABLE_MODALITIES
    )


def _report(reader: _Reader) -> list[Keyed]:
    status = reader.code("status")
    if status not in tables.REPORT:
        raise Refuse(Reason.BAD_FIELD, "DiagnosticReport.status")
    said = tables.REPORT[status]
    if said is None or reader.imaging() is False:
        return []
    reader.request.need("close", "DiagnosticReport.status")
    studies: list[Number] = []
    for reference, study in reader.refers("imagingStudy"):
        studies += numbers_of(_named(reference, study), reader.request, None)
    numbers = dict.fromkeys((*reader.numbers(), *reader.orders(), *studies))
    made = ReportReceived(
        **reader.base(reader.subject("subject")),
        numbers=tuple(numbers),
        site=reader.request.sender.site,
        status=said,
    )
    return reader.of_study(made)


def _patient(reader: _Reader) -> list[Keyed]:
    request, resource = reader.request, reader.resource
    own = identity_of(resource, request)
    found: list[Keyed] = []
    for link in resource.get("link") or ():
        kind = link.get("type") or ""
        if kind not in tables.LINK:
            raise Refuse(Reason.BAD_FIELD, "Patient.link.type")
        if (retired := tables.LINK[kind]) is None:
            continue
        reference = link.get("other") or {}
        inner = _Reader({**resource, "other": reference}, request, reader._resolve)
        other = inner.subject("other")
        if not other.patient_id:
            raise Refuse(Reason.MISSING_FIELD, "Patient.link.other")
        kept, gone = (other, own) if retired == "this" else (own, other)
        act: Literal["merge", "link"] = "link" if retired == "both" else "merge"
        stamp = reader.at((resource.get("meta") or {}).get("lastUpdated"))
        found += merged(request, kept, gone, act, stamp)
    if any(tables.LINK[link["type"]] == "this" for link in resource.get("link") or ()):
        return found  # what is retired says nothing of the one that stands
    if not own.patient_id:
        if resource.get("identifier"):
            return found  # a dummy number: nobody is meant
        raise Refuse(Reason.MISSING_FIELD, "Patient.identifier")
    changed = PatientChanged(**reader.base(own), event="A08")
    return [request.of_patient(changed), *found]


_MAPPED: dict[str, Callable[[_Reader], list[Keyed]]] = {
    "ServiceRequest": _service_request,
    "ImagingStudy": _imaging_study,
    "DiagnosticReport": _report,
    "Patient": _patient,
}
