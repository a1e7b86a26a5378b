"""Acknowledgements in original and enhanced mode (HL7 v2.5.1 §2.9), in the sender's own separators.

Enhanced mode is what MSH-15 or MSH-16 ask for: an accept acknowledgement (CA, CE, CR) when the
message is durable or refused, then an application acknowledgement (AA, AE, AR), each always,
never, on errors or on success only. Ours have the same moment: nothing is positive before it is
durable, and after that no application refuses.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from streams.errors import Reason, VigieError, facts
from streams.hl7.mapping import OWN_APPLICATION
from streams.hl7.text.message import Header


class Refusal(NamedTuple):
    """What a refused sender is told: an error code of table 0357 with its text, and a sentence."""

    number: int
    text: str
    says: str


#: English, as the standard's own texts are.
REFUSALS = {
    Reason.NOT_HL7: Refusal(100, "Segment sequence error", "This is no HL7 v2 message."),
    Reason.MISSING_FIELD: Refusal(
        101, "Required field missing", "This field or segment is required."
    ),
    Reason.BAD_FIELD: Refusal(
        102, "Data type error", "The value of this field is not one that can be used."
    ),
    Reason.NO_STUDY_KEY: Refusal(
        101,
        "Required field missing",
        "No accession number, no order number, no Study Instance UID: the study cannot be found.",
    ),
    Reason.UNSUPPORTED_MESSAGE: Refusal(
        200, "Unsupported message type", "Messages of this type are not taken here."
    ),
    Reason.UNSUPPORTED_VERSION: Refusal(
        203, "Unsupported version id", "Only HL7 2.x is taken here."
    ),
    Reason.UNKNOWN_SENDER: Refusal(
        207,
        "Application internal error",
        "The site does not know this sender (MSH-3, MSH-4), or not from this address.",
    ),
    Reason.NOT_AUTHORISED: Refusal(
        207, "Application internal error", "The site does not let this sender do that."
    ),
    Reason.TOO_LARGE: Refusal(
        207, "Application internal error", "The message is larger than this door takes."
    ),
    Reason.BROKER_DOWN: Refusal(
        207,
        "Application internal error",
        "Not accepted: it cannot be kept safe now. Send it again.",
    ),
    Reason.OVERLOADED: Refusal(
        207, "Application internal error", "Not accepted: too much at once. Send it again."
    ),
}
_OTHER = Refusal(207, "Application internal error", "It could not be processed.")
_ACCEPT = {"AA": "CA", "AE": "CE", "AR": "CR"}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_USUAL = "|^~\\&"


def code_of(error: VigieError | None) -> str:
    """AA; AE for what somebody has to mend before it is sent again; AR for what may be sent again
    as it is.
    """
    if error is None:
        return "AA"
    return "AR" if facts(error.reason).retryable else "AE"


def codes_of(header: Header, error: VigieError | None) -> tuple[str, ...]:
    """MSA-1 of each acknowledgement that the sender asks for, in their order."""
    code = code_of(error)
    if header.type == "ACK":
        return ()  # an answer is not answered (§2.9.2): two that do would never end
    if not header.accept and not header.apply:
        return (code,)
    asked = []
    if _wanted(header.accept, error):
        asked.append(_ACCEPT[code])
    if _wanted(header.apply, error) and not (error and asked):
        asked.append(code)
    return tuple(asked)


def _wanted(condition: str, error: VigieError | None) -> bool:
    """Table 0155; what is not in it asks for an answer rather than for none."""
    if condition in ("", "NE"):
        return False
    return condition != ("SU" if error else "ER")


def answer(
    header: Header, error: VigieError | None, code: str, *, control_id: str, now: datetime
) -> bytes:
    """One acknowledgement of the message with that header.

    Args:
        error: None for a positive one.
        code: MSA-1.
        control_id: our own MSH-10, at most 20 characters.
    """
    write = _writer(header.marks or _USUAL)
    version = header.version or "2.5.1"
    kind = ("ACK", header.event, "ACK") if header.event else ("ACK",)
    told = REFUSALS.get(error.reason, _OTHER) if error else None
    application, facility, to_facility, sent_id = map(_AsSent, header.sent)
    text = write.head(
        OWN_APPLICATION,
        to_facility,
        application,
        facility,
        now.strftime("%Y%m%d%H%M%S+0000"),
        "",
        kind,
        control_id,
        header.processing or "P",
        version,
        *("",) * 5,
        header.charset,
    )
    text += write.segment("MSA", code, sent_id, told.says if told else "")
    if error and told:
        text += _err(write, error, told, version)
    return text.encode("latin-1", "replace")  # what is not the sender's own is ASCII


def batch(told: list[bytes], marks: str) -> bytes:
    """The acknowledgements of a batch's messages, as a batch (§2.10.3).

    Args:
        marks: the separators of its messages; empty where it has none.
    """
    marks = marks or _USUAL
    head = f"BHS{marks[0]}{marks[1:]}{marks[0]}{OWN_APPLICATION}\r".encode()
    return head + b"".join(told) + f"BTS{marks[0]}{len(told)}\r".encode()


def _err(write: _Writer, error: VigieError, told: Refusal, version: str) -> str:
    segment, _, field = error.where.partition("-")
    named = segment.isalnum() and segment.isupper()
    place = (segment, "1", field) if named else ("",)
    if version < "2.5":
        code = write.mark[4:].join((str(told.number), told.text, "HL70357"))
        return write.line("ERR", write.mark[1].join((*(place if named else ("", "", "")), code)))
    return write.segment(
        "ERR",
        "",
        place,
        (str(told.number), told.text, "HL70357"),
        "E",
        (error.reason.value, "", "VIGIE"),
        "",
        "",
        told.says,
    )


class _AsSent(str):
    """A field that is given back as its sender wrote it, but for what would end it."""

    __slots__ = ()


class _Writer:
    """Segments in the separators of whoever reads them."""

    def __init__(self, marks: str) -> None:
        self.mark = marks
        names = {"F": 0, "S": 1, "R": 2, "E": 3, "T": 4}
        self._escapes = {
            marks[place]: f"{marks[3]}{name}{marks[3]}" if len(marks) > 3 else " "
            for name, place in names.items()
            if place < len(marks)
        }

    def head(self, *fields: str | tuple[str, ...]) -> str:
        """MSH."""
        return self.line(f"MSH{self.mark[0]}{self.mark[1:]}", *map(self._field, fields))

    def segment(self, name: str, *fields: str | tuple[str, ...]) -> str:
        """A segment; a field that is a tuple has components."""
        return self.line(name, *map(self._field, fields))

    def line(self, *fields: str) -> str:
        """A segment of fields that are written already."""
        return self.mark[0].join(fields).rstrip(self.mark[0]) + "\r"

    def _field(self, value: str | tuple[str, ...]) -> str:
        if not value:
            return ""
        if isinstance(value, _AsSent):
            return value if value.isalnum() else _CONTROLS.sub("", value)
        if isinstance(value, tuple):
            return self.mark[1].join(map(self._escape, value)).rstrip(self.mark[1])
        return self._escape(value)

    def _escape(self, text: str) -> str:
        return text if text.isalnum() else "".join(self._escapes.get(c, c) for c in text)


_writer = lru_cache(maxsize=64)(_Writer)
