"""The JSON that the HTTP door takes, and the events of each: what is left out says nothing."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.errors import Reason, Refuse
from streams.events import (
    Event,
    Instant,
    Number,
    NumberKind,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
)
from streams.http.making import Keyed, Request
from streams.identity.studykey import patient_of
from streams.sealed import Identity

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)]
Text = Annotated[str, Field(max_length=256, pattern=_PRINTABLE)]
Uid = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberBody(_Body):
    """A number and who gave it out: a name or an OID of the site's authorities."""

    value: Code
    authority: Annotated[str, Field(max_length=64, pattern=_PRINTABLE)] = ""


class PatientBody(_Body):
    """Whom it is about."""

    number: NumberBody | None = None
    family: Text | None = None
    given: Text | None = None
    birth_date: date | None = None
    sex: Literal["F", "M", "O", "U"] | None = None

    def identity(self, request: Request) -> Identity:
        """As it travels under seal. Raises Refuse `bad_field`."""
        number = self.number
        value, authority = (
            request.patient_number(number.value, number.authority, where="patient.number")
            if number
            else ("", "")
        )
        named = self.family is not None or self.given is not None
        stamp = self.birth_date.strftime("%Y%m%d") if self.birth_date else ""
        return Identity(
            patient_id=value,
            issuer=authority,
            name=f"{self.family or ''}^{self.given or ''}".rstrip("^") if named else None,
            birth_date=request.site.authorities.birth_date(stamp),
            sex=self.sex,
        )


class _Said(_Body):
    occurred_at: Instant | None = Field(
        None, description="when it happened; the receipt where it is left out"
    )


class _OfStudy(_Said):
    patient: PatientBody = PatientBody()
    accession: NumberBody | None = None
    placer: NumberBody | None = Field(None, description="the order's number where it was placed")
    filler: NumberBody | None = Field(None, description="the order's number in radiology")
    study_uid: Uid | None = None

    def numbers(self, request: Request) -> tuple[Number, ...]:
        """What it names. Raises Refuse `bad_field`."""
        kinds: tuple[NumberKind, ...] = ("accession", "placer", "filler")
        stated = [(kind, getattr(self, kind)) for kind in kinds]
        found = [
            request.number(kind, number.value, number.authority, where=kind)
            for kind, number in stated
            if number is not None
        ]
        if self.study_uid:
            found.append(Number(kind="study", value=self.study_uid))
        return tuple(number for number in found if number is not None)


class OrderBody(_OfStudy):
    """An imaging order, or what has changed of it."""

    status: Literal["scheduled", "in_progress", "performed", "cancelled"] | None = None
    priority: Code | None = Field(None, description="a code of the site's table")
    location: Code | None = Field(None, description="a code of the site's table")
    modality: Annotated[str, Field(pattern=r"^[A-Z]{2,16}$")] | None = None
    body_part: Code | None = None
    procedure: Code | None = None
    description: Text | None = None
    ordered_at: Instant | None = None
    scheduled_at: Instant | None = None

    def events(self, request: Request) -> list[Keyed]:
        """Raises Refuse, with the field."""
        if self.status == "cancelled":
            request.need("cancel", "status")
        codes = request.site.codes
        location = codes.location.get(self.location.upper()) if self.location else None
        priority = codes.worst((self.priority,)) if self.priority else None
        # A misspelt code would take an urgent order's class away.
        if priority == "unknown":
            raise Refuse(Reason.BAD_FIELD, "priority")
        if self.location and location is None:
            raise Refuse(Reason.BAD_FIELD, "location")
        said = self.model_dump(
            include={"status", "modality", "body_part", "procedure", "description"}
            | {"ordered_at", "scheduled_at"}
        )
        made = OrderChanged(
            **request.base(self.patient.identity(request), self.occurred_at),
            numbers=self.numbers(request),
            site=request.sender.site,
            priority=priority,
            location=location,
            **said,
        )
        return [request.of_study(made)]


class ReportBody(_OfStudy):
    """A report's state."""

    status: Literal["preliminary", "final", "corrected", "addendum", "withdrawn"]

    def events(self, request: Request) -> list[Keyed]:
        """Raises Refuse, with the field."""
        request.need("close", "status")
        made = ReportReceived(
            **request.base(self.patient.identity(request), self.occurred_at),
            numbers=self.numbers(request),
            site=request.sender.site,
            status=self.status,
        )
        return [request.of_study(made)]


class PersonBody(_Said):
    """What is known of a patient."""

    patient: PatientBody

    def events(self, request: Request) -> list[Keyed]:
        """Raises Refuse, with the field."""
        who = self.patient.identity(request)
        made: Event = PatientChanged(**request.base(who, self.occurred_at), event="A08")
        return [request.of_patient(made)]


class MergeBody(_Said):
    """Two patient numbers are one patient, are linked, or are no longer."""

    kept: PatientBody
    retired: PatientBody
    act: Literal["merge", "link", "unlink"] = "merge"

    def events(self, request: Request) -> list[Keyed]:
        """Raises Refuse, with the field."""
        return merged(
            request,
            self.kept.identity(request),
            self.retired.identity(request),
            self.act,
            self.occurred_at,
        )


def merged(
    request: Request,
    kept: Identity,
    retired: Identity,
    act: Literal["merge", "link", "unlink"],
    at: Any,
) -> list[Keyed]:
    """`retired` is now `kept`; nothing where one of them is a dummy: nobody is meant."""
    request.need("merge", act)
    base = request.base(kept, at)
    other = patient_of(request.ring.pseudonym, retired.issuer, retired.patient_id)
    if base["patient"] is None or other is None:
        return []
    made = PatientMerged(
        **base, act=act, retired=other, retired_identity=request.ring.seal_identity(retired)
    )
    return [request.of_patient(made)]
