"""What travels: frozen, versioned events. No pixels, and identity only under seal (promise 8).

Every event states when its sender says it happened (`Version`), so that any permutation and
duplication gives the same list (promise 5), and when Vigie first received it (`received_at`), which
replays keep.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from streams.errors import Park, Reason

SCHEMA_VERSION = 1

Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
Code = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=256)]
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class _Frozen(BaseModel):
    # A reader ignores fields of a newer minor schema: old and new workers share a topic during an
    # upgrade.
    model_config = ConfigDict(frozen=True, extra="ignore")


class VersionKey(NamedTuple):
    """What versions are compared by; greater is newer."""

    time: datetime
    sequence: int
    digest: str


class Version(_Frozen):
    """The sender's own time of an event, its sequence number (MSH-13) and a digest that breaks ties
    alike everywhere.
    """

    time: AwareDatetime
    sequence: int = 0
    digest: Digest

    def key(self) -> VersionKey:
        """The tuple that orders versions."""
        return VersionKey(self.time, self.sequence, self.digest)


class Identity(BaseModel):
    """Who the patient is. Only ever inside a seal; opened to be stored or shown."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = Field(
        default="", description="YYYYMMDD, or empty when the sender does not say"
    )
    sex: str = ""

    def __repr__(self) -> str:
        # A traceback or a log line that quotes it names nobody.
        return "Identity(…)"

    __str__ = __repr__


class _Event(_Frozen):
    schema_version: Literal[1] = 1
    event_id: Digest = Field(
        description="digest of the sender and the message: the same message again has the same id"
    )
    sender: Code = Field(description="name of the sender in the site's folder")
    received_at: AwareDatetime = Field(description="first receipt at a door; replays keep it")
    version: Version
    patient: Pseudonym | None = Field(
        default=None, description="keyed pseudonym of issuer and patient id"
    )
    identity: str | None = Field(default=None, description="sealed `Identity`")


class _StudyEvent(_Event):
    accessions: tuple[Code, ...] = ()
    study_uids: tuple[Uid, ...] = ()
    site: Code = ""


class OrderChanged(_StudyEvent):
    """An imaging order as RIS or EHR sees it now (ORM^O01, OMI^O23, OMG^O19, ServiceRequest)."""

    type: Literal["OrderChanged"] = "OrderChanged"
    order: Code = Field(default="", description="filler order number, else placer order number")
    status: Literal["scheduled", "in_progress", "performed", "cancelled", "replaced"] = "scheduled"
    priority: Code = Field(
        default="unknown",
        description="order class of the site's table; `unknown` if none was given",
    )
    location: Code = Field(
        default="", description="patient class: emergency, icu, inpatient, outpatient or empty"
    )
    modality: Code = ""
    body_part: Code = ""
    procedure: Code = ""
    description: Text = ""
    subspecialty: Code = ""
    ordered_at: AwareDatetime | None = None
    scheduled_at: AwareDatetime | None = None
    previous_accessions: tuple[Code, ...] = Field(
        default=(), description="corrected accession numbers, kept as aliases"
    )


class PatientChanged(_Event):
    """Demographics or visit changed (ADT)."""

    type: Literal["PatientChanged"] = "PatientChanged"
    location: Code = ""


class PatientMerged(_Event):
    """`retired` is now `patient` (ADT^A40). Rows are linked, never merged physically."""

    type: Literal["PatientMerged"] = "PatientMerged"
    retired: Pseudonym


class ReportReceived(_StudyEvent):
    """A report's state (ORU^R01): P and R preliminary, F final, C corrected, X cancelled."""

    type: Literal["ReportReceived"] = "ReportReceived"
    status: Literal["preliminary", "final", "corrected", "cancelled"]


class SeriesReceived(_StudyEvent):
    """What one gateway holds of one series. The union over gateways is the series; a count is never
    added up.
    """

    type: Literal["SeriesReceived"] = "SeriesReceived"
    study_uid: Uid
    series_uid: Uid
    gateway: Code
    reference: str = Field(
        pattern=r"^[0-9a-f/]{1,200}$", description="folder of the series in the store"
    )
    instances: tuple[Digest, ...] = Field(
        description="names in the store of all instances this gateway holds, sorted"
    )
    sop_class: Uid
    modality: Code = ""
    body_part: Code = ""
    description: Text = ""
    series_description: Text = ""
    view: Code = ""
    age_years: float | None = Field(default=None, ge=0, le=150)
    acquired_at: AwareDatetime | None = Field(
        default=None, description="end of acquisition as the images state it"
    )
    complete: bool = Field(default=False, description="the announced number of instances is here")
    readable: bool = Field(
        default=True,
        description="false for SR, KO, PR and our own output: never makes a study readable",
    )


class ExamProgressed(_StudyEvent):
    """MPPS, or an availability notice."""

    type: Literal["ExamProgressed"] = "ExamProgressed"
    status: Literal["in_progress", "completed", "discontinued", "available"]
    announced_instances: int | None = Field(default=None, ge=0)


class Finding(_Frozen):
    """One finding that was looked for."""

    code: Code
    name: Text
    flagged: bool
    probability: float = Field(ge=0, le=1, description="calibrated")
    threshold: float = Field(ge=0, le=1)


class FindingsMade(_StudyEvent):
    """What one package says of one series version, or why it was not analysed. It can only ever
    raise (promise 3).
    """

    type: Literal["FindingsMade"] = "FindingsMade"
    study_uid: Uid
    series_uid: Uid
    package: Code
    package_version: Code
    input_digest: Digest
    outcome: Literal["flagged", "not_flagged", "not_analysed"]
    reason: Reason | None = None
    findings: tuple[Finding, ...] = ()
    constancy: bool = Field(
        default=True,
        description="false: the package's last reference run failed; recorded, and raises nothing",
    )
    screened_at: AwareDatetime


class Parked(_Frozen):
    """The original bytes under seal, where they came from, and why they could not be used."""

    type: Literal["Parked"] = "Parked"
    schema_version: Literal[1] = 1
    stage: Code
    topic: Code
    partition: int
    offset: int
    key: str
    reason: Reason
    attempts: int = Field(ge=1)
    parked_at: AwareDatetime
    original: str = Field(description="sealed bytes")


Event = (
    OrderChanged
    | PatientChanged
    | PatientMerged
    | ReportReceived
    | SeriesReceived
    | ExamProgressed
    | FindingsMade
)
AnyEvent = Annotated[Event | Parked, Field(discriminator="type")]
_ADAPTER: TypeAdapter[Event | Parked] = TypeAdapter(AnyEvent)


def encode(event: Event | Parked) -> bytes:
    """The bytes that travel: JSON, UTF-8, keys in declared order."""
    return event.model_dump_json(exclude_defaults=False).encode()


def decode(value: bytes) -> Event | Parked:
    """The event in `value`.

    Raises:
        Park: `bad_event` when the bytes are not one of ours, `newer_schema` when a later release
            wrote them.
    """
    try:
        raw: Any = orjson.loads(value)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise Park(Reason.NEWER_SCHEMA)
        return _ADAPTER.validate_python(raw)
    except (orjson.JSONDecodeError, ValidationError, RecursionError):
        # `from None`: a validation error quotes its input, which may hold a name.
        raise Park(Reason.BAD_EVENT) from None


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each event type, by name: the golden files of ``tests/streams/schemas``."""
    kinds = (
        OrderChanged,
        PatientChanged,
        PatientMerged,
        ReportReceived,
        SeriesReceived,
        ExamProgressed,
        FindingsMade,
        Parked,
    )
    return {kind.__name__: kind.model_json_schema() for kind in kinds}
