"""Instance Availability Notification (PS3.4 Annex R): what an archive says that it has."""

from __future__ import annotations

from dataclasses import dataclass

from streams.dicom import gate
from streams.dicom.elements import Bytes, Element, Walker
from streams.dicom.steps import MAX_BYTES, REFERENCED_CLASS, refers_to_image
from streams.errors import Reason, Refuse

_SERIES, _OBJECTS, _AVAILABILITY = 0x00081115, 0x00081199, 0x00080056
#: Offline and unavailable objects can be read by nobody now (PS3.3 §C.4.23.1.1).
_AT_HAND = frozenset({b"ONLINE", b"NEARLINE"})


@dataclass(frozen=True)
class Notice:
    """One study, and how many of its images are at hand. By reports, presentation states and their
    like nothing is readable.
    """

    study_uid: str
    instances: int


def read(data: Bytes, transfer_syntax: str) -> Notice:
    """What a notice says. Raises Refuse `bad_dicom`, `bad_uid`, `missing_field`, `too_large` or
    `bomb`, whatever the bytes.
    """
    if len(data) > MAX_BYTES:
        raise Refuse(Reason.TOO_LARGE, "notice")
    walker = Walker(data, gate.syntax_of(transfer_syntax))
    study, instances = "", 0
    for element in walker.elements(0, len(data)):
        if element.tag == gate.STUDY:
            study = gate.uid(data[element.start : element.end], "0020000D")
        elif element.tag == _SERIES:
            instances = _count(walker, element, data)
    if not study:
        raise Refuse(Reason.MISSING_FIELD, "0020000D")
    return Notice(study, instances)


def _count(walker: Walker, all_series: Element, data: Bytes) -> int:
    count = 0
    for start, end in walker.items(all_series):
        for objects in walker.elements(start, end):
            if objects.tag == _OBJECTS:
                for first, last in walker.items(objects):
                    said = {
                        value.tag: bytes(data[value.start : value.end]).strip(b" \0")
                        for value in walker.elements(first, last)
                        if value.tag in (_AVAILABILITY, REFERENCED_CLASS)
                    }
                    count += said.get(_AVAILABILITY) in _AT_HAND and refers_to_image(said)
    return count
