"""The header gate: any bytes become a checked header or a refusal, before anything is believed."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from streams.dicom.elements import PIXELS, Bytes, Element, Syntax, Walker, is_vr
from streams.errors import Reason, Refuse

IMPLICIT, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
#: Data sets in implicit VR: the default, GE's private one with big-endian pixels, and Papyrus 3.
_IMPLICIT = frozenset({IMPLICIT, "1.2.840.113619.5.2", "1.2.840.10008.1.20"})
#: The whole data set is a raw deflate stream (PS3.5 §A.5, §A.7, §A.11).
DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
_NATIVE = frozenset({"1.2.840.10008.1.2.1", EXPLICIT_BIG}) | _IMPLICIT | DEFLATED
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
SAMPLES, FRAMES, ROWS, COLUMNS, BITS = 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100
ACCESSION = 0x00080050
#: Sequences of which the items' plain values are kept: the requests' accession numbers, who gives
#: them out, who gives out the patient number, and other numbers of the patient.
REQUESTS, ACCESSION_ISSUER, PATIENT_ISSUER, OTHER_PATIENT_IDS = (
    0x00400275,
    0x00080051,
    0x00100024,
    0x00101002,
)
#: Local namespace and universal id of an issuer (HL7v2 Hierarchic Designator Macro, PS3.3 §10.14).
NAMESPACE, UNIVERSAL = 0x00400031, 0x00400032
PATIENT_ID, ISSUER = 0x00100020, 0x00100021
_SEQUENCES = frozenset({REQUESTS, ACCESSION_ISSUER, PATIENT_ISSUER, OTHER_PATIENT_IDS})
_OF_ITEMS = frozenset({ACCESSION, NAMESPACE, UNIVERSAL, PATIENT_ID, ISSUER, STUDY})
_MAX_ITEMS = 100
#: What the header keeps besides what the gate itself checks: the tags that `headers.py` reads.
FACTS = frozenset(
    {
        0x00080005,
        0x00080008,
        0x00080020,
        0x00080021,
        0x00080022,
        0x00080023,
        0x0008002A,
        0x00080030,
        0x00080031,
        0x00080032,
        0x00080033,
        ACCESSION,
        0x00080060,
        0x00080070,
        0x00080201,
        0x00081030,
        0x0008103E,
        0x00100010,
        PATIENT_ID,
        ISSUER,
        0x00100030,
        0x00100040,
        0x00101000,
        0x00101010,
        0x00180015,
        0x00185101,
        0x00201209,
    }
)
_NUMBERS = {SAMPLES: b"US", ROWS: b"US", COLUMNS: b"US", BITS: b"US", FRAMES: b"IS"}
_UIDS = (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES)
_KEPT = FACTS | set(_NUMBERS) | set(_UIDS)

#: A value longer than this is not a fact (the longest VR that is read, LT, has 10,240 characters).
MAX_VALUE = 64 * 1024
#: A deflated data set may grow to this and no further; the first `_HEADER` bytes of it are held at
#: once.
MAX_INFLATED = 64 * 1024 * 1024
_HEADER = 8 * 1024 * 1024
_STEP = 1024 * 1024
MAX_FRAME = 1024**3  # bytes: sixteen times the largest detector
MAX_PIXELS = 256 * 1024**3  # bytes, all frames: more than any whole-slide image


#: Values by their tag, bytes as sent, without padding.
Values = dict[int, bytes]


@dataclass(frozen=True)
class Header:
    """What the gate let through; missing and empty values are the same. `items` has those of the
    items of `_SEQUENCES`. `damaged`: it is what could be read of a damaged one.
    """

    transfer_syntax: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    has_pixels: bool
    frames: int
    values: dict[int, bytes] = field(repr=False)
    items: dict[int, list[Values]] = field(repr=False, default_factory=dict)
    damaged: bool = False


def uid(raw: Bytes, where: str) -> str:
    """`raw` as a UID (PS3.5 §9.1; leading zeros, which real scanners send, are let pass). Refuses
    `bad_uid`.
    """
    text = bytes(raw[:66]).rstrip(b"\0 ")
    try:
        value = text.decode("ascii")
    except UnicodeDecodeError:
        raise Refuse(Reason.BAD_UID, where) from None
    if len(value) > 64 or not _UID.fullmatch(value):
        raise Refuse(Reason.BAD_UID, where)
    return value


def syntax_of(transfer_syntax: str) -> Syntax:
    """How the data set of a transfer syntax is written. Encapsulated and unknown ones are explicit
    VR little endian.
    """
    return Syntax(transfer_syntax in _IMPLICIT, transfer_syntax == EXPLICIT_BIG)


def written(data: Bytes, transfer_syntax: str) -> Syntax:
    """How a data set is written, by its first element. Some writers leave implicit VR under a
    compressed syntax, others explicit VR where implicit was agreed on: pydicom and dcmtk read both,
    so they are worth keeping.
    """
    syntax, vr = syntax_of(transfer_syntax), bytes(data[4:6])
    if not syntax.implicit:
        return Syntax(not vr.isalpha(), syntax.big_endian)
    # In implicit VR these two bytes are a length: no first element has 16,000 and more.
    return Syntax(not is_vr(vr), syntax.big_endian)


def header(data: Bytes, transfer_syntax: str, *, sop_class: str, sop_instance: str) -> Header:
    """The header of one encoded data set.

    Args:
        data: the data set as it came, without file meta information.
        transfer_syntax: of the presentation context.
        sop_class: what the C-STORE request says; the data set must say the same. So for
            `sop_instance`.

    Raises:
        Refuse: `bad_dicom`, `bad_uid`, `uid_mismatch` or `bomb`; no other exception, whatever the
            bytes.
    """
    transfer_syntax = uid(transfer_syntax.encode("utf-8", "replace"), "transfer syntax")
    whole = len(data)
    if transfer_syntax in DEFLATED:
        data, whole = inflate(data)
    syntax = written(data, transfer_syntax)
    walker = Walker(data, syntax)
    values: Values = {}
    items: dict[int, list[Values]] = {}
    pixels = collect(walker, data, values, items)
    uids = {tag: uid(values.get(tag, b""), f"{tag:08X}") for tag in _UIDS}
    if uids[SOP_CLASS] != sop_class or uids[SOP_INSTANCE] != sop_instance:
        raise Refuse(Reason.UID_MISMATCH, "SOP")
    frames = _check_size(values, syntax)
    if pixels is not None:
        _check_pixels(walker, pixels, transfer_syntax, whole)
    return Header(
        transfer_syntax,
        sop_class,
        sop_instance,
        uids[STUDY],
        uids[SERIES],
        pixels is not None,
        frames,
        values,
        items,
    )


def collect(
    walker: Walker, data: Bytes, values: Values, items: dict[int, list[Values]]
) -> Element | None:
    """Puts wanted values into `values`, those of the items of wanted sequences into `items`; gives
    the pixels. What was read before a Refuse is there.
    """
    for element in walker.elements(0, len(data)):
        if element.tag in PIXELS:
            return element
        if element.tag in _SEQUENCES:
            items[element.tag] = read_items(walker, element, data)
        elif element.tag in _KEPT:
            wanted = _NUMBERS.get(element.tag)
            # UL in place of US is how a decoder's arithmetic was made to overflow (CVE-2026-5442).
            if wanted and element.vr not in (wanted, b""):
                raise Refuse(Reason.BAD_DICOM, f"{element.tag:08X}")
            if element.tag in values:
                raise Refuse(Reason.BAD_DICOM, "the same element twice")
            values[element.tag] = _value(data, element)
    return None


def read_items(walker: Walker, sequence: Element, data: Bytes) -> list[Values]:
    """The wanted values of each item, those of its issuer of the accession number among them.

    At most a hundred items: more than any request has.
    """
    found: list[Values] = []
    for start, end in islice(walker.items(sequence), _MAX_ITEMS):
        values: Values = {}
        for element in walker.elements(start, end):
            if element.tag == ACCESSION_ISSUER:
                for inner_start, inner_end in islice(walker.items(element), 1):
                    values |= _plain(walker, data, inner_start, inner_end)
            elif element.tag in _OF_ITEMS:
                values[element.tag] = _value(data, element)
        found.append(values)
    return found


def _plain(walker: Walker, data: Bytes, start: int, end: int) -> Values:
    return {
        element.tag: _value(data, element)
        for element in walker.elements(start, end)
        if element.tag in _OF_ITEMS
    }


def _value(data: Bytes, element: Element) -> bytes:
    if element.undefined or element.end - element.start > MAX_VALUE:
        raise Refuse(Reason.BAD_DICOM, f"{element.tag:08X}")
    raw = bytes(data[element.start : element.end])
    return raw if _NUMBERS.get(element.tag) == b"US" else raw.strip(b"\0 ")


def _number(values: dict[int, bytes], tag: int, syntax: Syntax) -> int | None:
    raw = values.get(tag, b"")
    if not raw:
        return None
    if tag == FRAMES:
        if not re.fullmatch(rb"\+?[0-9]{1,10}", raw):
            raise Refuse(Reason.BAD_DICOM, f"{tag:08X}")
        return int(raw)
    if len(raw) != 2:
        raise Refuse(Reason.BAD_DICOM, f"{tag:08X}")
    number: int = struct.unpack(">H" if syntax.big_endian else "<H", raw)[0]
    return number


def _check_size(values: dict[int, bytes], syntax: Syntax) -> int:
    """Refuses claims that no image makes; returns the number of frames. Python's integers do not
    overflow.
    """
    rows, columns = _number(values, ROWS, syntax), _number(values, COLUMNS, syntax)
    samples, bits = _number(values, SAMPLES, syntax), _number(values, BITS, syntax)
    frames = _number(values, FRAMES, syntax)
    if bits is not None and not 0 < bits <= 64:
        raise Refuse(Reason.BAD_DICOM, f"{BITS:08X}")
    frame = (rows or 0) * (columns or 0) * (samples or 1) * ((bits or 8) + 7) // 8
    if frame > MAX_FRAME or frame * (frames or 1) > MAX_PIXELS:
        raise Refuse(Reason.BOMB, "pixels")
    return frames or 1


def _check_pixels(walker: Walker, pixels: Element, transfer_syntax: str, whole: int) -> None:
    """Refuses a stream that ends inside its pixels: the sender can still send it whole."""
    if not pixels.undefined:
        if pixels.end > whole:
            raise Refuse(Reason.BAD_DICOM, "pixels")
    elif transfer_syntax in _NATIVE:
        raise Refuse(Reason.BAD_DICOM, "pixels")
    else:
        walker.fragments(pixels)


def _pieces(data: Bytes) -> Iterator[bytes]:
    """`data` inflated, in pieces of bounded size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # a raw stream, RFC 1951
    at = 0
    try:
        while not inflater.eof:
            # Fed in steps too: zlib copies what it did not consume at each call.
            rest = inflater.unconsumed_tail or bytes(data[at : at + _STEP])
            if not inflater.unconsumed_tail:
                at += len(rest)
            if not rest:
                raise Refuse(Reason.BAD_DICOM, "deflate")  # cut
            yield inflater.decompress(rest, _STEP)
    except zlib.error:
        raise Refuse(Reason.BAD_DICOM, "deflate") from None


def inflate(data: Bytes) -> tuple[bytes, int]:
    """The beginning of a deflated data set, enough for its header, and its whole length; never more
    than a few MiB held.
    """
    kept, size = bytearray(), 0
    for piece in _pieces(data):
        size += len(piece)
        if size > MAX_INFLATED:
            raise Refuse(Reason.BOMB, "deflate")
        if len(kept) < _HEADER:
            kept += piece
    return bytes(kept), size
