"""One HL7 v2 message: its header, its segments by name, its groups (HL7 v2.5.1 chapter 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from streams.errors import Reason, Refuse
from streams.hl7.tables import OTHER_ORDERS, SEGMENTS, codes
from streams.hl7.text.charsets import Text, decode
from streams.hl7.text.segments import Segment, syntax_of
from streams.senders.site import Sender

#: Segments that are read; the rest (4 MiB of a scanned letter) is not even kept.
_READ = codes("MSH EVN PID MRG PV1 ZBE ORC OBR TQ1 IPC ZDS OBX DG1 SCH AIS TXA") | OTHER_ORDERS
#: What may stand around a segment and means nothing.
_EDGES = "".join(map(chr, range(0x21))) + "\x7f\x85\xa0\u200b\ufeff"
_VERSION = re.compile(r"2\.\d(\.\d)*")
#: What may stand before the first segment and means nothing: a byte order mark, line ends, blanks.
_BEFORE = b"\xef\xbb\xbf\r\n \t\x00"
_MSH = re.compile(rb"(?:(?<=[\r\n])|^)MSH(?=[^A-Za-z0-9 ])")
_TRAILER = re.compile(rb"(?<=[\r\n])(?:BTS|FTS|BHS)[^A-Za-z0-9]")
_LINE = re.compile(rb"[^\r\n]*")
_MAX_GROUPS = 500
_USUAL = "|^~\\&"


class Header(NamedTuple):
    """What an answer needs; every value is unescaped, ``""`` when it is not there.

    Attributes:
        accept: MSH-15, `apply` MSH-16: which acknowledgements are asked for.
        marks: the separators.
        sent: MSH-3, MSH-4, MSH-6 and MSH-10 as they were written, a character for each byte: an
            answer gives them back so.
    """

    application: str = ""
    facility: str = ""
    to_application: str = ""
    to_facility: str = ""
    type: str = ""
    event: str = ""
    control_id: str = ""
    processing: str = ""
    version: str = ""
    charset: str = ""
    more_charsets: tuple[str, ...] = ()
    accept: str = ""
    apply: str = ""
    marks: str = ""
    sent: tuple[str, str, str, str] = ("", "", "", "")


class Group:
    """Segments in order, found by their names: of one order or one report within a message.

    Args:
        person: the PID before it: a message of reports may be about several patients.
        visit: the PV1 between that PID and it.
    """

    __slots__ = ("_named", "person", "segments", "visit")

    def __init__(
        self,
        segments: Iterable[Segment] = (),
        person: Segment | None = None,
        visit: Segment | None = None,
    ) -> None:
        self.segments = list(segments)
        self._named: dict[str, list[Segment]] = {}
        self.person, self.visit = person, visit
        for segment in self.segments:
            self._named.setdefault(segment.name, []).append(segment)

    def add(self, segment: Segment) -> None:
        """Puts `segment` at the end."""
        self.segments.append(segment)
        self._named.setdefault(segment.name, []).append(segment)

    def has(self, name: str) -> bool:
        """Whether there is a segment of that name."""
        return name in self._named

    def all(self, name: str) -> list[Segment]:
        """The segments of that name."""
        return self._named.get(name, [])

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        found = self._named.get(name)
        return found[0] if found else None

    def text(self, name: str, field: int, component: int = 1) -> str:
        """One value of the first segment of that name; ``""`` where it is missing."""
        found = self._named.get(name)
        return found[0].text(field, component) if found else ""

    def emptied(self, name: str, field: int, component: int = 1) -> str | None:
        """``""`` where a segment of that name has the field, or this component of it, emptied; else
        None.
        """
        return "" if any(s.emptied(field, component) for s in self.all(name)) else None

    def uids(self) -> tuple[str, ...]:
        """Study Instance UIDs: IPC-3 (2.5), ZDS-1 (IHE RAD TF-2 §4.4)."""
        found = {segment.text(3) for segment in self.all("IPC")}
        found.update(segment.text(1) for segment in self.all("ZDS"))
        found.discard("")
        return tuple(sorted(found))


class Message(Group):
    """The read segments of one message, in order.

    Attributes:
        doubtful: what is not ASCII in it may be read wrongly.
    """

    __slots__ = ("doubtful", "header", "raw")

    def __init__(
        self, header: Header, segments: Iterable[Segment], raw: bytes, *, doubtful: bool = False
    ) -> None:
        super().__init__(segments)
        self.header, self.raw, self.doubtful = header, raw, doubtful

    def groups(self, *starts: str) -> list[Group]:
        """Runs of segments, each beginning with the first of `starts` or, where that one is
        missing, with a later one.

        Raises:
            Refuse: `bad_field` when there are more groups than one message can sensibly have.
        """
        groups: list[Group] = []
        person: Segment | None = None
        visit: Segment | None = None
        for segment in self.segments:
            if segment.name == "PID":
                person, visit = segment, None
            elif segment.name == "PV1":
                visit = segment
                for group in groups:  # some write it behind the orders
                    if group.person is person and group.visit is None:
                        group.visit = visit
            if segment.name in starts and (
                not groups or groups[-1].has(segment.name) or segment.name == starts[0]
            ):
                groups.append(Group((), person, visit))
            if groups:
                groups[-1].add(segment)
        if len(groups) > _MAX_GROUPS:
            raise Refuse(Reason.BAD_FIELD, starts[0])
        return groups


def peek(raw: bytes) -> Header:
    """As much of the header as can be read in any bytes; for answers to what cannot be parsed."""
    first = _LINE.match(raw.lstrip(_BEFORE)[:4096])[0]  # type: ignore[index]
    line = first.decode("latin-1")
    if len(line) < 8 or not line.startswith("MSH"):
        return Header()
    # With separators that cannot be any, the usual ones may still tell whom to answer.
    marks = _separators(line[3:8]) or (_USUAL if line[3] == "|" else "")
    if not marks:
        return Header()
    msh = Segment(line, syntax_of(marks, "latin-1", "latin-1"))
    header = _header(msh, marks)
    if not line.isascii():  # a sender may be called so in the site's list
        text = decode(first, (header.charset, *header.more_charsets), "latin-1", always=False)
        header = _header(Segment(text.text, syntax_of(marks, text.codec, "latin-1")), marks)
    return header._replace(sent=(msh.raw(3), msh.raw(4), msh.raw(6), msh.raw(10)))


def parts_of(raw: bytes) -> list[bytes] | None:
    """The messages of a batch (FHS, BHS, or several MSH); None where it is one message, or none."""
    raw = raw.lstrip(_BEFORE)
    batch = raw.startswith((b"FHS", b"BHS"))
    if not batch and (raw.find(b"MSH", 3) < 0 or not raw.startswith(b"MSH")):
        return None
    starts = [match.start() for match in _MSH.finditer(raw)]
    if not batch and len(starts) < 2:
        return None
    parts = [raw[start:end] for start, end in pairwise([*starts, len(raw)])]
    return [_TRAILER.split(part, maxsplit=1)[0] for part in parts]


_ANYBODY = Sender()


def parse(raw: bytes, sender: Sender = _ANYBODY, header: Header | None = None) -> Message:
    """The message in `raw`.

    Args:
        sender: whose habits say how to read what the message leaves open.
        header: what `peek` said of it.

    Raises:
        Refuse: `not_hl7`, `unsupported_version`, `missing_field`, and `bad_field` where a line end
            within a field may have cut it.
    """
    raw = raw.lstrip(_BEFORE)
    header = header or peek(raw)
    if not header.type and not header.control_id and not header.version:
        raise Refuse(Reason.NOT_HL7, "MSH")
    charsets = (header.charset, *header.more_charsets)
    text = decode(raw, charsets, sender.charset, always=sender.charset_always)
    segments = _segments(text, sender)
    if not header.application.isascii() or not header.facility.isascii():
        header = _header(segments[0], header.marks)._replace(sent=header.sent)
    if not header.event:  # 2.1 and 2.2 name it in EVN alone
        event = next((one.text(1).upper() for one in segments if one.name == "EVN"), "")
        header = header._replace(event=event)
    if header.version and not _VERSION.fullmatch(header.version):
        raise Refuse(Reason.UNSUPPORTED_VERSION, "MSH-12")
    if not header.type:
        raise Refuse(Reason.MISSING_FIELD, "MSH-9")
    if not header.control_id:
        raise Refuse(Reason.MISSING_FIELD, "MSH-10")
    return Message(header, segments, raw, doubtful=text.doubtful)


def _segments(read: Text, sender: Sender) -> list[Segment]:
    """The segments that are read. A line that begins no segment is what follows a line end within
    a field: it goes on where the line before it stopped, or accession and priority behind it would
    be lost unseen.

    A name that neither the standard nor the sender's `segments` has, without a Z, may be a word
    after such a line end (``CTA|``): that is refused, because it cannot be told.
    """
    text, own = read.text, sender.segments
    marks = _separators(text[3:8])
    if not marks:
        raise Refuse(Reason.NOT_HL7, "MSH-2")
    mark, syntax = marks[0], syntax_of(marks, read.codec, sender.charset)
    found: list[str] = []
    last = ""
    for line in text.replace("\n", "\r").split("\r"):
        line = line.strip(_EDGES)
        name, after = line[:3], line[3:4]
        if name in _READ and after == mark:
            last = name
            found.append(line)
        elif (not after or after == mark) and (name in SEGMENTS or name in own or _made_up(name)):
            last = name
        elif (damaged := _name_in(line, mark)) in _READ:
            raise Refuse(Reason.BAD_FIELD, damaged)
        elif line and last in _READ and last != "MSH":
            if after == mark and name.isalnum() and name.isupper():
                raise Refuse(Reason.BAD_FIELD, last)
            found[-1] = f"{found[-1]} {line}"
    return [Segment(line, syntax) for line in found]


def _name_in(line: str, mark: str) -> str:
    """What a line that begins no segment is called, but for what is no letter: ``OBR`` of ``O&BR|``
    and ``obr|``. To join such a line to the one before it would lose the order unseen.
    """
    head, found, _ = line[:8].partition(mark)
    return "".join(filter(str.isalnum, head)).upper() if found else ""


def _made_up(name: str) -> bool:
    """Whether it is a segment of the sender's own (§2.11)."""
    return name[:1] == "Z" and len(name) == 3 and name.isalnum() and name.isupper()


@lru_cache(maxsize=256)
def _separators(five: str) -> str:
    """Field, component, repetition, escape, subcomponent; as many as MSH-1 and MSH-2 declare;
    empty where these cannot be any.

    Args:
        five: what follows ``MSH``.
    """
    marks = five[0] + five[1:].split(five[0], 1)[0][:4]
    sensible = all(c.isprintable() and not c.isalnum() and c != " " for c in marks)
    return marks if len(set(marks)) == len(marks) > 2 and sensible else ""


def _header(msh: Segment, marks: str) -> Header:
    return Header(
        application=msh.text(3),
        facility=msh.text(4),
        to_application=msh.text(5),
        to_facility=msh.text(6),
        type=msh.text(9).upper(),
        event=msh.text(9, 2).upper(),
        control_id=msh.text(10),
        processing=msh.text(11).upper(),
        version=msh.text(12),
        charset=msh.text(18).upper(),
        more_charsets=tuple([msh.part(value, 1).upper() for value in msh.repetitions(18)[1:4]]),
        accept=msh.text(15).upper(),
        apply=msh.text(16).upper(),
        marks=marks,
    )
