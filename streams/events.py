"""What travels: frozen, versioned events. No pixels, and identity only under seal (promise 8).

An event is a set of assertions: what it does not mention is None and says nothing, what its sender
emptied is named in `emptied`. It states when its sender says it happened (`Version`), so that any
permutation and duplication gives the same list (promise 5), and when Vigie first received it
(`received_at`), which replays keep.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args

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
from streams.instances import INSTANCE_BYTES, MOST_INSTANCES, pack, unpack
from streams.sealed import Code

SCHEMA_VERSION = 2

#: The place of a key image: its series' reference in the store, and its own name there.
KEY_IMAGE = r"[0-9a-f]{32}/[0-9a-f]{32}/key-[0-9a-f]{16}\.png"

Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
Text = Annotated[str, Field(max_length=256)]
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
#: What any clock in a hospital may say; what lies outside cannot be shown, nor reckoned with.
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _within_reach(value: datetime) -> datetime:
    if not _FIRST <= value < _LAST:
        raise ValueError("no time that a clock may say")
    return value


Instant = Annotated[AwareDatetime, AfterValidator(_within_reach)]
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

    time: Instant
    message_time: Instant
    sequence: int = Field(default=0, description="MSH-13")
    digest: Digest


class _Compared(_Frozen):
    # Some hundred times for each event: pydantic's own ways cost four times as much.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))


class Number(_Compared):
    """An identifier: its kind, who gave it (empty: the message does not say, *open*), its value."""

    kind: NumberKind
    authority: Code = ""
    value: Annotated[Code, Field(min_length=1)]


class Patient(_Compared):
    """A patient number: its authority (empty: *open*) and a keyed pseudonym of its value."""

    value: Pseudonym
    authority: Code = ""


class _Event(_Frozen):
    schema_version: Literal[2] = 2
    event_id: Digest = Field(
        description="digest of the sender and the message: the same message again has the same id"
    )
    sender: Code = Field(description="name of the sender in the site's folder")
    received_at: Instant = Field(description="first receipt at a door; replays keep it")
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


#: So many numbers one event names.
MOST_NUMBERS = 200


class _StudyEvent(_Event):
    numbers: tuple[Number, ...] = Field(default=(), max_length=MOST_NUMBERS)
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
    ordered_at: Instant | None = None
    scheduled_at: Instant | None = None
    reading: bool = Field(default=False, description="somebody has it open elsewhere, and reads it")
    changes: bool = Field(
        default=False, description="it only changes an order that was given before (XO, XX)"
    )
    imaging: bool | None = Field(
        default=None, description="false: by the sender's rules it is no imaging order"
    )
    details: str | None = Field(default=None, description="sealed `OrderDetails`")


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
    text: str | None = Field(default=None, description="sealed `ReportText`")
    content: Pseudonym | None = Field(
        default=None, description="keyed digest of OBR-22 and the text: the same report sent again"
    )


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
    acquired_at: Instant | None = Field(
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
    damaged: bool = Field(
        default=False, description="no image has a header that can be read whole: not analysed"
    )
    kind: Literal["modality", "archive", "mixed"] = Field(
        default="mixed", description="what the sender is"
    )

    def names(self) -> tuple[str, ...]:
        """The names of its instances in the store, 16 hex digits each, sorted."""
        return unpack(self.instances)


class ExamProgressed(_StudyEvent):
    """One performed procedure step (MPPS) as far as it is of one study, or an availability notice.

    A step of several studies is an event for each: its numbers are that study's alone.
    """

    type: Literal["ExamProgressed"] = "ExamProgressed"
    status: Literal["in_progress", "completed", "discontinued", "available"]
    announced_instances: int | None = Field(default=None, ge=0)
    series: dict[Uid, int] = Field(
        default={}, description="how many instances the step made of each series"
    )


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
    primary: bool = Field(
        default=True, description="false: captures or derived images, which can only be flagged"
    )
    age_stated: bool = Field(
        default=True, description="false: no age was stated, and the package reads such images"
    )
    extent_mm: float | None = Field(default=None, ge=0)
    spacing_mm: float | None = Field(
        default=None, ge=0, description="what is usual between neighbours, where the gap is"
    )
    largest_gap_mm: float | None = Field(default=None, ge=0)


class FindingsMade(_StudyEvent):
    """What one package says of one fragment, or why not. It can only ever raise (promise 3)."""

    type: Literal["FindingsMade"] = "FindingsMade"
    study_uid: Uid
    series_uid: Uid
    package: Code
    package_version: Code
    weights: Digest | None = None
    mode: Text = Field(default="", description="how the network ran: device, precision, compiled")
    input_digest: Digest = Field(description="of the fragment's names: what was to be read")
    bytes_digest: Digest | None = Field(default=None, description="of the bytes that were read")
    outcome: Literal["flagged", "not_flagged", "not_analysed"]
    reason: Reason | None = None
    unlike: Literal["features", "size", "skull"] | None = Field(None, description="foreign by")
    findings: tuple[Finding, ...] = ()
    coverage: Coverage | None = None
    constancy: bool = Field(True, description="false: its last references failed; raises nothing")
    key_image: str | None = Field(
        default=None,
        pattern=rf"^{KEY_IMAGE}$",
        description="where a picture of what was flagged will be: informational",
    )
    key_instance: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{16}$",
        description="keyed digest of the SOP Instance UID that the key image is of",
    )
    screened_at: Instant


class ActDone(_Frozen):
    """What a person did. Its body is sealed and authenticated; `numbers` say only where to look."""

    type: Literal["ActDone"] = "ActDone"
    schema_version: Literal[2] = 2
    event_id: Digest
    received_at: Instant = Field(description="when it took effect, the database's clock")
    body: str = Field(description="sealed `worklist.record.acts.Act`")


class SenderSeen(_Frozen):
    """What a gateway saw of one sender at one door: counts since it started, no identity."""

    type: Literal["SenderSeen"] = "SenderSeen"
    schema_version: Literal[2] = 2
    gateway: Code
    sender: Code
    at: Instant
    door: Code = Field(default="", description="mllp, dicom or http")
    since: Instant | None = Field(default=None, description="when the gateway began to count")
    last_at: Instant | None = None
    answers: dict[Code, int] = {}
    refusals: dict[Code, int] = {}
    not_imaging: dict[Code, int] = Field(
        default={}, description="procedures of orders that its rules keep off the list"
    )


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
    parked_at: Instant
    sender: Code = Field(default="", description="who sent it, where a door knows")
    where: Code = Field(default="", description="the field or part that is refused")
    peer: Code = Field(default="", description="address of who sent it, where a door knows")
    names: tuple[str, ...] = Field(default=(), description="and the names in its certificate")
    original: str = Field(description="sealed bytes")


StudyEvent = OrderChanged | ReportReceived | SeriesReceived | ExamProgressed | FindingsMade
Event = StudyEvent | PatientChanged | PatientMerged | ActDone
AnyEvent = Annotated[Event | SenderSeen | Parked, Field(discriminator="type")]
_ADAPTER: TypeAdapter[Event | SenderSeen | Parked] = TypeAdapter(AnyEvent)


def encode(event: Event | SenderSeen | Parked) -> bytes:
    """The bytes that travel: JSON, UTF-8, keys in declared order."""
    return event.model_dump_json(exclude_defaults=False).encode()


def decode(value: bytes) -> Event | SenderSeen | Parked:
    """The event in `value`. Raises Park: `bad_event` when the bytes are not one of ours,
    `newer_schema` when a later release wrote them.
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
    kinds = (*get_args(Event), SenderSeen, Parked)
    return {kind.__name__: kind.model_json_schema() for kind in kinds}
