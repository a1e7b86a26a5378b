"""Walks encoded data elements without believing any length: the one place that reads DICOM bytes in
the door.

pydicom is not used here on purpose: it inflates without a limit, recurses as deep as a sender
wishes, answers a cut stream with an empty data set, and warns with values (measured:
`reference/ecosystem.md` M2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from streams.errors import Reason, Refuse

Bytes = bytes | memoryview
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
ICON = 0x00880200
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LONG = frozenset(
    {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UT", b"UC", b"UR", b"UN", b"SV", b"UV"}
)  # PS3.5 §7.1.2
_SHORT = frozenset(
    {
        b"AE",
        b"AS",
        b"AT",
        b"CS",
        b"DA",
        b"DS",
        b"DT",
        b"FL",
        b"FD",
        b"IS",
        b"LO",
        b"LT",
        b"PN",
        b"SH",
        b"SL",
        b"SS",
        b"ST",
        b"TM",
        b"UI",
        b"UL",
        b"US",
    }
)
#: More elements than the largest real header (an enhanced multi-frame object of some thousand
#: frames) has.
MAX_ELEMENTS = 1_000_000
MAX_DEPTH = 32


def is_vr(raw: bytes) -> bool:
    """Whether `raw` is a value representation of PS3.5 §6.2."""
    return raw in _SHORT or raw in _LONG


@dataclass(frozen=True)
class Syntax:
    """How data elements are written (PS3.5 §7, Annex A)."""

    implicit: bool
    big_endian: bool = False


@dataclass(frozen=True)
class Element:
    """One data element: its value is ``data[start:end]``. `vr` is empty in implicit VR."""

    tag: int
    vr: bytes
    start: int
    end: int
    undefined: bool


class Walker:
    """Reads elements of one data set; counts them, so that a hostile one ends.

    All methods raise Refuse `bad_dicom` on what is not well-formed, `bomb` on too many elements or
    too deep nesting.
    """

    def __init__(self, data: Bytes, syntax: Syntax) -> None:
        self._data = data
        self._syntax = syntax
        self._order = ">" if syntax.big_endian else "<"
        self._tag = struct.Struct(f"{self._order}HH")
        self._u16 = struct.Struct(f"{self._order}H")
        self._u32 = struct.Struct(f"{self._order}L")
        self._left = MAX_ELEMENTS

    def _head(self, at: int, end: int, syntax: Syntax) -> tuple[int, bytes, int, int]:
        """Tag, VR, start of the value, length as written."""
        self._left -= 1
        if self._left < 0:
            raise Refuse(Reason.BOMB, "elements")
        if at + 8 > end:
            raise Refuse(Reason.BAD_DICOM, "element")
        group, number = self._tag.unpack_from(self._data, at)
        tag = group << 16 | number
        if syntax.implicit or group == 0xFFFE:
            return tag, b"", at + 8, self._u32.unpack_from(self._data, at + 4)[0]
        vr = bytes(self._data[at + 4 : at + 6])
        if vr in _SHORT:
            return tag, vr, at + 8, self._u16.unpack_from(self._data, at + 6)[0]
        # A VR of a later edition has a 32-bit length (PS3.5 §6.2); what is no VR at all is not
        # explicit VR.
        if vr not in _LONG and not (vr.isalpha() and vr.isupper()):
            raise Refuse(Reason.BAD_DICOM, "vr")
        if at + 12 > end:
            raise Refuse(Reason.BAD_DICOM, "element")
        return tag, vr, at + 12, self._u32.unpack_from(self._data, at + 8)[0]

    def elements(self, start: int, end: int, *, icons: bool = True) -> Iterator[Element]:
        """The elements between `start` and `end`, up to the pixels, which come last and whose
        length is not followed. `icons`: one that is longer than it says is stepped over.
        """
        at = start
        while at < end:
            tag, vr, value, length = self._head(at, end, self._syntax)
            if tag >> 16 == 0xFFFE:
                raise Refuse(Reason.BAD_DICOM, "item outside a sequence")
            if tag in PIXELS:
                stop = end if length == UNDEFINED else value + length
                yield Element(tag, vr, value, stop, length == UNDEFINED)
                return
            if length == UNDEFINED:
                if vr not in (b"", b"SQ", b"UN", b"OB", b"OW"):
                    raise Refuse(Reason.BAD_DICOM, "length")
                stop, at = self._skip_sequence(value, end, vr)
            else:
                stop = at = value + length
                if icons and tag == ICON:
                    stop = at = max(stop, self._icon_end(value, end))
                if stop > end:
                    raise Refuse(Reason.BAD_DICOM, "length")
            yield Element(tag, vr, value, stop, length == UNDEFINED)

    def _icon_end(self, start: int, end: int) -> int:
        """Where the compressed pixels of an icon end, `start` where it has none.

        Many writers count the item without their offset table and headers: 24 bytes too few. Read
        on from there, the rest of the icon would pass for elements.
        """
        try:
            tag, _, value, _ = self._head(start, end, self._syntax)
            inner = self.elements(value, end, icons=False) if tag == ITEM else iter(())
            pixels = next((one for one in inner if one.tag in PIXELS and one.undefined), None)
            return start if pixels is None else self._fragments_end(pixels)
        except Refuse as error:
            if error.reason is Reason.BOMB:
                raise
            return start  # what an icon holds is nobody's concern

    def _fragments_end(self, pixels: Element) -> int:
        at = pixels.start
        while at < pixels.end:
            tag, _, value, length = self._head(at, pixels.end, self._syntax)
            at = value + length
            if tag != ITEM:
                break
        return at

    def _skip_sequence(self, start: int, end: int, vr: bytes) -> tuple[int, int]:
        """End of the value, and where the next element starts, of a sequence of undefined length.
        Iterative.
        """
        # PS3.5 §6.2.2 note: UN of undefined length holds a sequence in implicit VR.
        inner = Syntax(True, self._syntax.big_endian) if vr == b"UN" else self._syntax
        open_ends: list[tuple[bool, Syntax]] = [
            (True, inner)
        ]  # (in a sequence, else in an item; how it is written)
        at = start
        while open_ends:
            in_sequence, syntax = open_ends[-1]
            tag, vr, value, length = self._head(at, end, syntax)
            here, at = at, value
            if in_sequence:
                if tag == SEQUENCE_END:
                    open_ends.pop()
                    if not open_ends:
                        return here, at
                elif tag != ITEM:
                    raise Refuse(Reason.BAD_DICOM, "item")
                elif length == UNDEFINED:
                    open_ends.append((False, syntax))
                else:
                    at = value + length
            elif tag == ITEM_END:
                open_ends.pop()
            elif tag >> 16 == 0xFFFE:
                raise Refuse(Reason.BAD_DICOM, "item")
            elif length == UNDEFINED:
                open_ends.append((True, Syntax(True, syntax.big_endian) if vr == b"UN" else syntax))
            else:
                at = value + length
            if at > end:
                raise Refuse(Reason.BAD_DICOM, "length")
            if len(open_ends) > 2 * MAX_DEPTH:
                raise Refuse(Reason.BOMB, "depth")
        raise Refuse(Reason.BAD_DICOM, "sequence")

    def items(self, sequence: Element) -> Iterator[tuple[int, int]]:
        """Start and end of each item of a sequence that `elements` gave."""
        at = sequence.start
        while at < sequence.end:
            tag, _, value, length = self._head(at, sequence.end, self._syntax)
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise Refuse(Reason.BAD_DICOM, "item")
            if length == UNDEFINED:
                stop, at = self._skip_item(value, sequence.end)
            else:
                stop = at = value + length
            if stop > sequence.end:
                raise Refuse(Reason.BAD_DICOM, "length")
            yield value, stop

    def _skip_item(self, start: int, end: int) -> tuple[int, int]:
        at = start
        while at < end:
            tag, vr, value, length = self._head(at, end, self._syntax)
            if tag == ITEM_END:
                return at, value
            at = self._skip_sequence(value, end, vr)[1] if length == UNDEFINED else value + length
        raise Refuse(Reason.BAD_DICOM, "item")

    def fragments(self, pixels: Element) -> int:
        """Number of fragments of encapsulated pixels, the offset table included (PS3.5 §A.4);
        refuses a cut stream.

        A missing sequence delimiter at the very end is let pass: encoders forget it, and nothing is
        missing then.
        """
        at, count = pixels.start, 0
        while at < pixels.end:
            tag, _, value, length = self._head(at, pixels.end, self._syntax)
            if tag == SEQUENCE_END:
                return count
            if tag != ITEM or length == UNDEFINED or value + length > pixels.end:
                raise Refuse(Reason.BAD_DICOM, "pixels")
            at, count = value + length, count + 1
        return count
