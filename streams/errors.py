"""Why something was refused, parked or not analysed, and what becomes of it: one closed list, one
small tree.

::

    VigieError
    ├── Refuse        the sender is told; nothing was accepted
    ├── Park          permanent: kept with its reason, can be replayed
    ├── Retry         transient: the same again, bounded and jittered
    │   └── Unavailable   a dependency is down: wait for it, acknowledge nothing
    └── Stop          going on would lose something: end the process

Each carries a `Reason`, never free text: doors map it to ERR, a DICOM status or problem+json;
metrics use it as a label; locales translate it (promise 8: no name in a reason). `Misconfigured`
stands apart: it is for the operator who starts a process, and becomes no event's fate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Who has to mend it."""

    SENDER = "sender"
    SITE = "site"
    VIGIE = "vigie"


class Reason(StrEnum):
    """The closed list. The value is the code that travels."""

    # a door could not take it
    TOO_LARGE = "too_large"
    NOT_HL7 = "not_hl7"
    UNSUPPORTED_MESSAGE = "unsupported_message"
    UNSUPPORTED_VERSION = "unsupported_version"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    NO_STUDY_KEY = "no_study_key"
    TLS_FAILED = "tls_failed"
    UNKNOWN_SENDER = "unknown_sender"
    NOT_AUTHORISED = "not_authorised"
    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    KEY_REUSED = "idempotency_key_reused"
    BAD_DICOM = "bad_dicom"
    BAD_UID = "bad_uid"
    UID_MISMATCH = "uid_mismatch"
    UNSUPPORTED_SOP_CLASS = "unsupported_sop_class"
    UNSUPPORTED_SYNTAX = "unsupported_transfer_syntax"
    NOT_DICOM = "not_dicom"
    WRONG_CALLED_AE = "wrong_called_ae"
    BAD_CERTIFICATE = "bad_certificate"
    TOO_SLOW = "too_slow"
    BOMB = "bomb"
    STORE_FULL = "store_full"
    STORE_FAILED = "store_failed"
    BROKER_DOWN = "broker_down"
    ARCHIVE_DOWN = "archive_down"
    DATABASE_DOWN = "database_down"
    OVERLOADED = "overloaded"
    # an event could not be used
    BAD_EVENT = "bad_event"
    BAD_SEAL = "bad_seal"
    NEWER_SCHEMA = "newer_schema"
    CONSTRAINT = "constraint"
    UNEXPECTED = "unexpected"
    # a series was not analysed
    NO_MODEL = "no_model"
    OUTSIDE_MODALITY = "outside_intended_use_modality"
    OUTSIDE_BODY_PART = "outside_intended_use_body_part"
    OUTSIDE_AGE = "outside_intended_use_age"
    OUTSIDE_VIEW = "outside_intended_use_view"
    OUTSIDE_IMAGE = "outside_intended_use_image"
    OUTSIDE_CONTRAST = "outside_intended_use_contrast"
    NOT_RECEIVED = "not_received"
    NO_PIXELS = "no_pixels"
    NO_DECODER = "no_decoder"
    UNDECODABLE_PIXELS = "undecodable_pixels"
    DECODE_LIMIT = "decode_limit"
    UNSUPPORTED_PHOTOMETRIC = "unsupported_photometric"
    BAD_GEOMETRY = "bad_geometry"
    NO_HOUNSFIELD = "no_hounsfield"
    STORE_MISSING = "store_missing"
    INCOMPLETE = "incomplete"
    NOT_PRIMARY = "not_primary"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    UNSURE = "unsure"
    MODEL_FAILED = "model_failed"
    PACKAGE_REFUSED = "package_refused"
    LATE = "late"
    AI_OFF = "ai_off"
    # it was scored, and the list does not count it
    SHADOW = "shadow"
    CONSTANCY_FAILED = "constancy_failed"


_SITE = {
    Reason.UNKNOWN_SENDER,
    Reason.STORE_FULL,
    Reason.STORE_FAILED,
    Reason.ARCHIVE_DOWN,
    Reason.NOT_RECEIVED,
    Reason.NO_MODEL,
    Reason.PACKAGE_REFUSED,
    Reason.AI_OFF,
    Reason.SHADOW,
}
_VIGIE = {
    Reason.BROKER_DOWN,
    Reason.DATABASE_DOWN,
    Reason.OVERLOADED,
    Reason.BAD_SEAL,
    Reason.NEWER_SCHEMA,
    Reason.CONSTRAINT,
    Reason.UNEXPECTED,
    Reason.STORE_MISSING,
    Reason.MODEL_FAILED,
    Reason.LATE,
    Reason.CONSTANCY_FAILED,
}
_RETRYABLE = {
    Reason.ARCHIVE_DOWN,
    Reason.BROKER_DOWN,
    Reason.DATABASE_DOWN,
    Reason.OVERLOADED,
    Reason.STORE_FULL,
    Reason.STORE_FAILED,
    Reason.TOO_SLOW,
}
#: An abstention: a model looked, or tried to look, and was unsure. Only these may raise a study,
#: else an outage of the models would turn the list upside down.
ABSTENTIONS = frozenset({Reason.UNSURE, Reason.OUT_OF_DISTRIBUTION})
#: No package is meant for such images, or none may calm by them: that they were not analysed says
#: nothing of what else is there. Every other reason leaves something unread.
NOT_MEANT = frozenset(
    {
        Reason.NO_MODEL,
        Reason.OUTSIDE_MODALITY,
        Reason.OUTSIDE_BODY_PART,
        Reason.OUTSIDE_AGE,
        Reason.OUTSIDE_VIEW,
        Reason.OUTSIDE_IMAGE,
        Reason.OUTSIDE_CONTRAST,
        Reason.NOT_PRIMARY,
    }
)


@dataclass(frozen=True)
class ReasonFacts:
    """What the closed list says about one reason."""

    code: Reason
    fault: Fault
    retryable: bool


def facts(reason: Reason) -> ReasonFacts:
    """Whose fault `reason` is, and whether the same again later can succeed."""
    fault = Fault.SITE if reason in _SITE else Fault.VIGIE if reason in _VIGIE else Fault.SENDER
    return ReasonFacts(reason, fault, reason in _RETRYABLE)


class VigieError(Exception):
    """Base of all. `where` names a field or a part (``PID-3``, ``rows``), never a value."""

    def __init__(self, reason: Reason, where: str = "") -> None:
        super().__init__(f"{reason.value}{f' at {where}' if where else ''}")
        self.reason = reason
        self.where = where


class Refuse(VigieError):
    """The sender is told why; nothing was accepted."""


class Park(VigieError):
    """This can never succeed as it is: keep it with its reason."""


class Retry(VigieError):
    """The same again may succeed."""


class Unavailable(Retry):
    """A dependency is down: wait for it and acknowledge nothing meanwhile."""


class Stop(VigieError):
    """Going on would lose something: end the process and let the supervisor start it anew."""


class Misconfigured(ValueError):
    """A setting, or a file that one names, cannot be used: the text says which and what to do."""
