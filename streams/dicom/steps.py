"""MPPS data sets (PS3.4 Annex F): what a modality says it does, and how many images to expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from streams.dicom import gate, text
from streams.dicom.elements import Bytes, Element, Walker
from streams.errors import Reason, Refuse

MPPS = "1.2.840.10008.3.1.2.3.3"
_STATUS, _CHARSET, _PATIENT, _ISSUER, _NAME, _BIRTH, _SEX = (
    0x00400252,
    0x00080005,
    0x00100020,
    0x00100021,
    0x00100010,
    0x00100030,
    0x00100040,
)
_SCHEDULED, _PERFORMED = 0x00400270, 0x00400340
_IMAGES = frozenset({0x00081140, 0x00400220})  # referenced images, and other objects
_STATES: dict[bytes, Literal["in_progress", "completed", "discontinued"]] = {
    b"IN PROGRESS": "in_progress",
    b"COMPLETED": "completed",
    b"DISCONTINUED": "discontinued",
}
_PLAIN = {_STATUS, _CHARSET, _PATIENT, _ISSUER, _NAME, _BIRTH, _SEX}
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Step:
    """What one N-CREATE or N-SET says."""

    status: Literal["in_progress", "completed", "discontinued"] | None
    study_uids: tuple[str, ...]
    accessions: tuple[str, ...]
    series: dict[str, int]
    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


class Remembered(BaseModel):
    """What an N-SET does not repeat, kept from the N-CREATE. Identity is sealed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    study_uids: tuple[str, ...]
    accessions: tuple[str, ...]
    sender: str
    site: str
    patient: str | None
    identity: str | None


def read(data: Bytes, transfer_syntax: str) -> Step:
    """What an MPPS data set says. Raises Refuse `bad_dicom`, `bad_uid`, `too_large` or `bomb`,
    whatever the bytes.
    """
    if len(data) > MAX_BYTES:
        raise Refuse(Reason.TOO_LARGE, "MPPS")
    walker = Walker(data, gate.syntax_of(transfer_syntax))
    values: dict[int, bytes] = {}
    studies: set[str] = set()
    accessions: list[bytes] = []
    series: dict[str, int] = {}
    for element in walker.elements(0, len(data)):
        if element.tag in _PLAIN:
            values[element.tag] = _value(data, element)
        elif element.tag == _SCHEDULED:
            for inner in _inside(walker, element):
                if inner.tag == gate.STUDY:
                    studies.add(gate.uid(data[inner.start : inner.end], "0020000D"))
                elif inner.tag == gate.ACCESSION:
                    accessions.append(_value(data, inner))
        elif element.tag == _PERFORMED:
            series |= _series(walker, element, data)
    charset = values.get(_CHARSET, b"")

    def read_text(tag: int) -> str:
        return text.decode(values.get(tag, b""), charset)[:256]

    return Step(
        status=_STATES.get(values.get(_STATUS, b"")),
        study_uids=tuple(sorted(studies)),
        accessions=tuple(sorted({text.decode(raw, charset)[:64] for raw in accessions} - {""})),
        series=series,
        patient_id=read_text(_PATIENT)[:64],
        issuer=read_text(_ISSUER)[:64],
        name=read_text(_NAME).split("=")[0],
        birth_date=read_text(_BIRTH)[:8],
        sex=read_text(_SEX)[:1],
    )


def _inside(walker: Walker, sequence: Element) -> list[Element]:
    return [inner for start, end in walker.items(sequence) for inner in walker.elements(start, end)]


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
