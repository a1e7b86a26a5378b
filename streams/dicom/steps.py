"""MPPS data sets (PS3.4 Annex F): what a modality says it does, and how many images to expect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from streams.dicom import gate
from streams.dicom.elements import Bytes, Element, Walker
from streams.dicom.headers import moment, of_images, zone_of
from streams.dicom.patients import OF_PATIENTS, SenderLike, Words, accessions_of, identity_of
from streams.errors import Reason, Refuse
from streams.events import Number, Patient
from streams.sealed import Identity
from streams.senders.authorities import Authorities

MPPS = "1.2.840.10008.3.1.2.3.3"
_STATUS, _OFFSET = 0x00400252, 0x00080201
_START, _END = (0x00400244, 0x00400245), (0x00400250, 0x00400251)
_SCHEDULED, _PERFORMED = 0x00400270, 0x00400340
_IMAGES = frozenset({0x00081140, 0x00400220})  # referenced images, and other objects
REFERENCED_CLASS = 0x00081150
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
        parts: the numbers of each study that it names, with the accession numbers of the requests
            that name that study; of requests without a study UID, where it names several.
        at: when the step began, or when it ended; None where that is not stated.
        series: series UID → how many images it made of it.
    """

    status: Literal["in_progress", "completed", "discontinued"] | None
    parts: tuple[tuple[Number, ...], ...]
    who: Identity
    at: datetime | None
    series: dict[str, int]


class Remembered(BaseModel):
    """What an N-SET does not repeat, kept from the N-CREATE. Identity is sealed.

    Attributes:
        parts: see `Step`.
        began: event id of the N-CREATE.
        ended: event id of the message that ended the step; after it nothing more is taken.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    parts: tuple[tuple[Number, ...], ...]
    sender: str
    site: str
    patient: Patient | None
    identity: str | None
    began: str = ""
    ended: str = ""

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, data: Any) -> Any:
        """A note of an earlier release had the numbers of all studies in one."""
        if isinstance(data, dict) and "parts" not in data and "numbers" in data:
            return data | {"parts": [data["numbers"]]}
        return data


def read(data: Bytes, transfer_syntax: str, sender: SenderLike, authorities: Authorities) -> Step:
    """What an MPPS data set says. Raises Refuse `bad_dicom`, `bad_uid`, `bad_field`,
    `too_large` or `bomb`, whatever the bytes.
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
    stated = values.get(_STATUS, b"")
    status = _STATES.get(stated)
    if stated and status is None:
        raise Refuse(Reason.BAD_FIELD, f"{_STATUS:08X}")
    day, clock = _START if status == "in_progress" else _END
    place = zone_of(words.code(_OFFSET), sender.timezone)
    return Step(
        status=status,
        parts=_parts(words, items.get(_SCHEDULED, [])),
        who=identity_of(words),
        at=moment(words.code(day), words.code(clock), place),
        series=series,
    )


def _parts(words: Words, scheduled: list[gate.Values]) -> tuple[tuple[Number, ...], ...]:
    """What each study's requests name. A request that names no study is the only one's."""
    of_study: dict[str, list[gate.Values]] = {}
    for item in scheduled:
        raw = item.get(gate.STUDY, b"")
        of_study.setdefault(gate.uid(raw, "0020000D") if raw else "", []).append(item)
    if len(of_study) == 2 and "" in of_study:
        bare = of_study.pop("")
        next(iter(of_study.values())).extend(bare)
    found = []
    for uid, items in sorted(of_study.items()):
        study = [Number(kind="study", value=uid)] if uid else []
        found.append((*study, *accessions_of(words, items, own=False)))
    return tuple(numbers for numbers in found if numbers)


def _value(data: Bytes, element: Element) -> bytes:
    if element.end - element.start > gate.MAX_VALUE:
        raise Refuse(Reason.BAD_DICOM, f"{element.tag:08X}")
    return bytes(data[element.start : element.end]).strip(b"\0 ")


def refers_to_image(reference: gate.Values) -> bool:
    """Whether an item names an image; one that does not say its class may."""
    return of_images(reference.get(REFERENCED_CLASS, b"").decode("ascii", "replace"))


def _series(walker: Walker, performed: Element, data: Bytes) -> dict[str, int]:
    """How many images the step made of each series. A dose report is none: it would be missed among
    the images for ever.
    """
    counts: dict[str, int] = {}
    for start, end in walker.items(performed):
        name, count = "", 0
        for element in walker.elements(start, end):
            if element.tag == gate.SERIES:
                name = gate.uid(data[element.start : element.end], "0020000E")
            elif element.tag in _IMAGES:
                count += sum(
                    refers_to_image(
                        {
                            value.tag: bytes(data[value.start : value.end]).strip(b" \0")
                            for value in walker.elements(first, last)
                            if value.tag == REFERENCED_CLASS
                        }
                    )
                    for first, last in walker.items(element)
                )
        if name:
            counts[name] = counts.get(name, 0) + count
    return counts
