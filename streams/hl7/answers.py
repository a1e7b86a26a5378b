"""Acknowledgements in original mode (HL7 v2.5.1 §2.9.2): MSA, and ERR with a code of table 0357."""

from __future__ import annotations

from datetime import datetime

from streams.errors import Reason, VigieError, facts
from streams.hl7.mapping import OWN_APPLICATION
from streams.hl7.message import CHARSETS, Header

#: Table 0008: AR rejects for reasons other than the content (type, version, who asks, we are down);
#: AE is the content's.
_REJECTS = frozenset(
    {
        Reason.NOT_HL7,
        Reason.UNSUPPORTED_MESSAGE,
        Reason.UNSUPPORTED_VERSION,
        Reason.UNKNOWN_SENDER,
        Reason.NOT_AUTHORISED,
        Reason.TOO_LARGE,
    }
)
_CODES = {
    Reason.NOT_HL7: (100, "Segment sequence error"),
    Reason.MISSING_FIELD: (101, "Required field missing"),
    Reason.BAD_FIELD: (102, "Data type error"),
    Reason.NO_STUDY_KEY: (101, "Required field missing"),
    Reason.UNKNOWN_CHARSET: (103, "Table value not found"),
    Reason.UNDECODABLE_TEXT: (102, "Data type error"),
    Reason.UNSUPPORTED_MESSAGE: (200, "Unsupported message type"),
    Reason.UNSUPPORTED_VERSION: (203, "Unsupported version id"),
}
_INTERNAL = (207, "Application internal error")
#: What the person at the sender reads; English, as the standard's own texts are.
_SAYS = {
    Reason.NOT_HL7: "This is no HL7 v2 message.",
    Reason.MISSING_FIELD: "This field or segment is required.",
    Reason.BAD_FIELD: "The value of this field is not one that can be used.",
    Reason.NO_STUDY_KEY: "No accession number, no Study Instance UID: the study cannot be found.",
    Reason.UNKNOWN_CHARSET: "MSH-18 names no character set of HL7 table 0211 that is supported.",
    Reason.UNDECODABLE_TEXT: "The text is not in the character set that MSH-18 declares.",
    Reason.UNSUPPORTED_MESSAGE: "Messages of this type are not taken here.",
    Reason.UNSUPPORTED_VERSION: "Only HL7 2.x is taken here.",
    Reason.UNKNOWN_SENDER: "The site does not know this sender (MSH-3, MSH-4).",
    Reason.NOT_AUTHORISED: "The site does not let this sender close a study.",
    Reason.TOO_LARGE: "The message is larger than this door takes.",
    Reason.BROKER_DOWN: "Not accepted: it cannot be kept safe now. Send it again.",
    Reason.OVERLOADED: "Not accepted: too much at once. Send it again.",
}


def code_of(error: VigieError | None) -> str:
    """MSA-1: AA, or AE for the content's fault, or AR for everything else."""
    if error is None:
        return "AA"
    return "AR" if error.reason in _REJECTS or facts(error.reason).retryable else "AE"


def answer(header: Header, error: VigieError | None, *, control_id: str, now: datetime) -> bytes:
    """The acknowledgement of the message with that header.

    Args:
        error: None for AA.
        control_id: our own MSH-10, at most 20 characters.
    """
    version = header.version or "2.5.1"
    kind = f"ACK^{header.event}^ACK" if header.event else "ACK"
    swapped = (OWN_APPLICATION, header.to_facility, header.application, header.facility)
    msh = [
        "MSH",
        "^~\\&",
        *map(_escape, swapped),
        now.strftime("%Y%m%d%H%M%S+0000"),
        "",
        _escape_event(kind),
        control_id,
        header.processing or "P",
        _escape(version),
        "",
        "",
        "",
        "",
        "",
        _escape(header.charset),
    ]
    segments = ["|".join(msh).rstrip("|")]
    says = "" if error is None else _SAYS.get(error.reason, "It could not be processed.")
    segments.append("|".join(("MSA", code_of(error), _escape(header.control_id), says)).rstrip("|"))
    if error is not None:
        segments.append(_err(error, says, version))
    text = "".join(f"{segment}\r" for segment in segments)
    return text.encode(CHARSETS.get(header.charset, "utf-8"), "replace")


def _err(error: VigieError, says: str, version: str) -> str:
    number, text = _CODES.get(error.reason, _INTERNAL)
    segment, _, field = error.where.partition("-")
    place = f"{segment}^1^{field}".rstrip("^") if segment.isalnum() and segment.isupper() else ""
    if version < "2.5":
        return f"ERR|{place or '^^'}^{number}&{text}&HL70357"
    return f"ERR||{place}|{number}^{text}^HL70357|E|{error.reason.value}^^VIGIE|||{says}"


def _escape(text: str) -> str:
    for plain, escaped in (
        ("\\", "\\E\\"),
        ("|", "\\F\\"),
        ("^", "\\S\\"),
        ("&", "\\T\\"),
        ("~", "\\R\\"),
    ):
        text = text.replace(plain, escaped)
    return text


def _escape_event(kind: str) -> str:
    return "^".join(_escape(part) for part in kind.split("^"))
