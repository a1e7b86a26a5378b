"""MPPS data sets (PS3.4 Annex F): what a modality says it does, and how many images to expect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from streams.authorities import Authorities
from streams.dicom import gate
from streams.dicom.elements import Bytes, Element, Walker
from streams.dicom.headers import moment, zone_of
from streams.dicom.patients import OF_PATIENTS, SenderLike, Words, accessions_of, identity_of
from streams.errors import Reason, Refuse
from streams.events import Identity, Number, Patient

MPPS = "1.2.840.10008.3.1.2.3.3"
_STATUS, _OFFSET = 0x00400252, 0x00080201
_START, _END = (0x00400244, 0x00400245), (0x00400250, 0x00400251)
_SCHEDULED, _PERFORMED = 0x00400270, 0x00400340
_IMAGES = frozenset({0x00081140, 0x00400220})  # referenced images, and other objects
_STATES: dict[bytes, Literal["in_progress", "completed", "discontinued"]] = {
    b"IN PROGRESS": "in_progress",
    b"COMPLETED": "completed",
    b"DISCONTINUED": "discontinued",
}
_PLAIN = OF_PATIENTS | {_STATUS, _OFFSET, *_START, *_END}
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Step:
    """What one N-CREATE or N-SET says.

    Attributes:
        numbers: studies and accession numbers that it names.
        at: when the step began, or when it ended; None where that is not stated.
        series: series UID → how many instances it made of it.
    """

    status: Literal["in_progress", "completed", "discontinued"] | None
    numbers: tuple[Number, ...]
    who: Identity
    at: datetime | None
    series: dict[str, int]


class Remembered(BaseModel):
    """What an N-SET does not repeat, kept from the N-CREATE. Identity is sealed.

    Attributes:
        ended: event id of the message that ended the step; after it nothing more is taken.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    numbers: tuple[Number, ...]
    sender: str
    site: str
    patient: Patient | None
    identity: str | None
    ended: str = ""


def read(data: Bytes, transfer_syntax: str, sender: SenderLike, authorities: Authorities) -> Step:
    """What an MPPS data set says. Raises Refuse `bad_dicom`, `bad_uid`, `too_large` or `bomb`,
    whatever the bytes.
    """
    if len(data) > MAX_BYTES:
        raise Refuse(Reason.TOO_LARGE, "MPPS")
    walker = Walker(data, gate.syntax_of(transfer_syntax))
    values: gate.Values = {}
    items: dict[int, list[gate.Values]] = {}
    series: dict[str, int] = {}
    for element in walker.elements(0, len(data)):
        if element.tag in _PLAIN:
            values[element.tag] = _value(data, element)
        elif element.tag in (_SCHEDULED, gate.PATIENT_ISSUER, gate.OTHER_PATIENT_IDS):
            items[element.tag] = gate.read_items(walker, element, data)
        elif element.tag == _PERFORMED:
            series |= _series(walker, element, data)
    words = Words(values, items, sender, authorities)
    scheduled = items.get(_SCHEDULED, [])
    studies = {
        gate.uid(raw, "0020000D") for item in scheduled if (raw := item.get(gate.STUDY, b""))
    }
    numbers = [Number(kind="study", value=uid) for uid in sorted(studies)]
    status = _STATES.get(values.get(_STATUS, b""))
    day, clock = _START if status == "in_progress" else _END
    place = zone_of(words.code(_OFFSET), sender.timezone)
    return Step(
        status=status,
        numbers=(*numbers, *accessions_of(words, scheduled, own=False)),
        who=identity_of(words),
        at=moment(words.code(day), words.code(clock), place),
        series=series,
    )


def _value(data: Bytes, element: Element) -> bytes:
    if element.end - element.start > gate.MAX_VALUE:
        raise Refuse(Reason.BAD_DICOM, f"{element.tag:08X}")
    return bytes(data[element.start : element.end]).strip(b"\0 ")


def _series(walker: Walker, performed: Element, data: Bytes) -> dict[str, int]:
    """How many instances the step made of each series."""
    counts: dict[str, int] = {}
    for start, end in walker.items(performed):
        name, count = "", 0
        for element in walker.elements(start, end):
            if element.tag == gate.SERIES:
                name = gate.uid(data[element.start : element.end], "0020000E")
            elif element.tag in _IMAGES:
                count += sum(1 for _ in walker.items(element))
        if name:
            counts[name] = counts.get(name, 0) + count
    return counts
