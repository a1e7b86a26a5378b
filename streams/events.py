"""What travels: frozen, versioned events. No pixels, and identity only under seal (promise 8).

An event is a set of assertions: what it does not mention is None and says nothing, what its sender
emptied is named in `emptied`. It states when its sender says it happened (`Version`), so that any
permutation and duplication gives the same list (promise 5), and when Vigie first received it
(`received_at`), which replays keep.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from streams.errors import Park, Reason

SCHEMA_VERSION = 2

#: Bytes of one keyed digest of a SOP Instance UID, and how many of them one event may carry.
INSTANCE_BYTES = 8
MOST_INSTANCES = 50_000

Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
Code = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=256)]
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
NumberKind = Literal["accession", "placer", "filler", "study", "step", "visit", "account"]


class _Frozen(BaseModel):
    # A reader ignores fields of a newer minor schema: old and new workers share a topic during an
    # upgrade.
    model_config = ConfigDict(frozen=True, extra="ignore")


class VersionKey(NamedTuple):
    """What the versions of one source are compared by; greater is newer."""

    time: datetime
    message_time: datetime
    sequence: int
    received_at: datetime
    digest: str


class Version(_Frozen):
    """When the sender says that it happened; none of its times is later than the first receipt.

    `time` is the event's own (ORC-9, EVN-2, OBR-22); where that is coarser than a second, MSH-7
    clamped into its interval; where it is missing, MSH-7. `digest` is of the whole message.
    """

    time: AwareDatetime
    message_time: AwareDatetime
    sequence: int = Field(default=0, description="MSH-13")
    digest: Digest


class Number(_Frozen):
    """An identifier: its kind, who gave it (empty: the message does not say, *open*), its value."""

    kind: NumberKind
    authority: Code = ""
    value: Code


class Patient(_Frozen):
    """A patient number: its authority (empty: *open*) and a keyed pseudonym of its value."""

    value: Pseudonym
    authority: Code = ""


class OtherNumber(_Frozen):
    """A patient number that is kept and shown, and joins nobody (INS with its PID-32)."""

    value: Code
    authority: Code = ""
    kind: Code = ""
    reliability: Code = ""


class Identity(BaseModel):
    """Who the patient is. Only ever inside a seal; opened to be stored or shown.

    None: not mentioned; empty: the sender emptied it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    patient_id: str = ""
    issuer: str = Field(default="", description="the number's authority; empty: open")
    name: str | None = None
    birth_date: str | None = Field(default=None, description="YYYYMMDD")
    sex: str | None = None
    others: tuple[OtherNumber, ...] = ()
    doubtful: bool = Field(default=False, description="bytes that no character set explains")

    def __repr__(self) -> str:
        # A traceback or a log line that quotes it names nobody.
        return "Identity(…)"

    __str__ = __repr__


class _Event(_Frozen):
    schema_version: Literal[2] = 2
    event_id: Digest = Field(
        description="digest of the sender and the message: the same message again has the same id"
    )
    sender: Code = Field(description="name of the sender in the site's folder")
    received_at: AwareDatetime = Field(description="first receipt at a door; replays keep it")
    version: Version
    patient: Patient | None = None
    identity: str | None = Field(default=None, description="sealed `Identity`")
    emptied: tuple[Code, ...] = Field(default=(), description="fields that the sender emptied")

    def version_key(self) -> VersionKey:
        """The tuple that orders versions within one source."""
        version = self.version
        return VersionKey(
            version.time,
            version.message_time,
            version.sequence,
            self.received_at,
            version.digest,
        )


class _StudyEvent(_Event):
    numbers: tuple[Number, ...] = Field(default=(), max_length=200)
    site: Code = ""


class OrderChanged(_StudyEvent):
    """What RIS or EHR says of one imaging order (ORM^O01, OMI^O23, OMG^O19, ServiceRequest)."""

    type: Literal["OrderChanged"] = "OrderChanged"
    previous: tuple[Number, ...] = Field(default=(), description="corrected numbers, now aliases")
    status: Literal["scheduled", "in_progress", "performed", "cancelled", "replaced"] | None = None
    priority: Code | None = Field(default=None, description="order class of the site's table")
    location: Code | None = Field(
        default=None, description="patient class: emergency, icu, inpatient, outpatient"
    )
    modality: Code | None = None
    body_part: Code | None = None
    procedure: Code | None = None
    description: Text | None = None
    subspecialty: Code | None = None
    ordered_at: AwareDatetime | None = None
    scheduled_at: AwareDatetime | None = None


class PatientChanged(_Event):
    """Demographics or visit changed (ADT); `event` is the trigger, as A08."""

    type: Literal["PatientChanged"] = "PatientChanged"
    event: Code
    visit: Code | None = Field(default=None, description="PV1-19: what the location belongs to")
    location: Code | None = None
    ended: bool = Field(default=False, description="the visit is over or cancelled (A03, A11)")


class PatientMerged(_Event):
    """`retired` is now `patient`, or is linked to it, or no more (A18 A34 A36 A40 A47; A24; A37).

    With `moved` only what carries one of these numbers moves (A43, A44, A45).
    """

    type: Literal["PatientMerged"] = "PatientMerged"
    act: Literal["merge", "link", "unlink", "move"] = "merge"
    retired: Patient
    retired_identity: str | None = Field(default=None, description="sealed `Identity`")
    moved: tuple[Number, ...] = ()


class ReportReceived(_StudyEvent):
    """A report's state (ORU^R01, MDM): P and R preliminary, F final, C corrected, A addendum,
    X, W and D withdrawn.
    """

    type: Literal["ReportReceived"] = "ReportReceived"
    status: Literal["preliminary", "final", "corrected", "addendum", "withdrawn"]


class SeriesReceived(_StudyEvent):
    """One fragment of a series: what one gateway holds of it under one patient. Fragments unite."""

    type: Literal["SeriesReceived"] = "SeriesReceived"
    study_uid: Uid
    series_uid: Uid
    gateway: Code
    reference: str = Field(pattern=r"^[0-9a-f/]{1,200}$", description="its folder in the store")
    instances: Annotated[str, AfterValidator(lambda packed: pack(unpack(packed)))] = Field(
        max_length=(MOST_INSTANCES * INSTANCE_BYTES + 2) // 3 * 4,
        description="base64 of sorted 8-byte keyed digests of SOP Instance UIDs",
    )
    sop_class: Uid
    modality: Code = ""
    body_part: Code = ""
    description: Text = ""
    series_description: Text = ""
    view: Code = ""
    age_years: float | None = Field(default=None, ge=0, le=150)
    acquired_at: AwareDatetime | None = Field(
        default=None, description="earliest acquisition that the images state"
    )
    announced: int | None = Field(default=None, ge=0, description="instances of the whole series")
    readable: bool = Field(
        default=True, description="false for SR, KO, PR, dose pages and our own output"
    )
    primary: bool = Field(
        default=True, description="Image Type value 2 is PRIMARY or absent in some instance"
    )
    localizer: bool = Field(default=False, description="Image Type value 3 says so, of all")
    other_bytes: bool = Field(
        default=False, description="an instance came again with other bytes: both are kept"
    )
    kind: Literal["modality", "archive", "mixed"] = Field(
        default="mixed", description="what the sender is"
    )

    def names(self) -> tuple[str, ...]:
        """The names of its instances in the store, 16 hex digits each, sorted."""
        return unpack(self.instances)


class ExamProgressed(_StudyEvent):
    """One performed procedure step (MPPS), or an availability notice."""

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
    threshold_source: Literal["package", "site"] = "package"
    score: float | None = Field(default=None, description="raw, before calibration")


class Coverage(_Frozen):
    """What was read of what was there."""

    read: int = Field(ge=0, description="slices or frames that entered the network")
    there: int = Field(ge=0, description="slices or frames that are here")
    announced: int | None = Field(default=None, ge=0)
    extent_mm: float | None = Field(default=None, ge=0)
    largest_gap_mm: float | None = Field(default=None, ge=0)


class FindingsMade(_StudyEvent):
    """What one package says of one fragment, or why not. It can only ever raise (promise 3)."""

    type: Literal["FindingsMade"] = "FindingsMade"
    study_uid: Uid
    series_uid: Uid
    package: Code
    package_version: Code
    weights: Digest | None = None
    input_digest: Digest = Field(description="of the fragment's names: what was to be read")
    bytes_digest: Digest | None = Field(default=None, description="of the bytes that were read")
    outcome: Literal["flagged", "not_flagged", "not_analysed"]
    reason: Reason | None = None
    findings: tuple[Finding, ...] = ()
    coverage: Coverage | None = None
    constancy: bool = Field(
        default=True, description="false: the package's last reference run failed; raises nothing"
    )
    screened_at: AwareDatetime


class ActDone(_Frozen):
    """What a person did. Its body is sealed and authenticated; `numbers` say only where to look."""

    type: Literal["ActDone"] = "ActDone"
    schema_version: Literal[2] = 2
    event_id: Digest
    received_at: AwareDatetime = Field(description="when it took effect, the database's clock")
    body: str = Field(description="sealed `worklist.record.acts.Act`")


class SenderSeen(_Frozen):
    """What a gateway saw of one configured sender: counts since it started, no identity."""

    type: Literal["SenderSeen"] = "SenderSeen"
    schema_version: Literal[2] = 2
    gateway: Code
    sender: Code
    at: AwareDatetime
    last_at: AwareDatetime | None = None
    answers: dict[Code, int] = {}
    refusals: dict[Code, int] = {}


class Parked(_Frozen):
    """The original bytes under seal, where they came from, and why they could not be used."""

    type: Literal["Parked"] = "Parked"
    schema_version: Literal[2] = 2
    stage: Code
    topic: Code
    partition: int
    offset: int
    key: str
    reason: Reason
    attempts: int = Field(ge=1)
    parked_at: AwareDatetime
    original: str = Field(description="sealed bytes")


StudyEvent = OrderChanged | ReportReceived | SeriesReceived | ExamProgressed | FindingsMade
Event = StudyEvent | PatientChanged | PatientMerged | ActDone
AnyEvent = Annotated[Event | SenderSeen | Parked, Field(discriminator="type")]
_ADAPTER: TypeAdapter[Event | SenderSeen | Parked] = TypeAdapter(AnyEvent)


def encode(event: Event | SenderSeen | Parked) -> bytes:
    """The bytes that travel: JSON, UTF-8, keys in declared order."""
    return event.model_dump_json(exclude_defaults=False).encode()


def decode(value: bytes) -> Event | SenderSeen | Parked:
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


def pack(names: Iterable[str]) -> str:
    """Base64 of the sorted, distinct `names` (16 hex digits each). Raises ValueError."""
    found = sorted({bytes.fromhex(name) for name in names})
    if any(len(name) != INSTANCE_BYTES for name in found):
        raise ValueError("a name has 16 hex digits")
    return base64.b64encode(b"".join(found)).decode()


def unpack(packed: str) -> tuple[str, ...]:
    """The names in `packed`. Raises ValueError."""
    try:
        raw = base64.b64decode(packed, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None
    if len(raw) % INSTANCE_BYTES:
        raise ValueError("a part of a name")
    return tuple(raw[at : at + INSTANCE_BYTES].hex() for at in range(0, len(raw), INSTANCE_BYTES))


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
        ActDone,
        SenderSeen,
        Parked,
    )
    return {kind.__name__: kind.model_json_schema() for kind in kinds}
