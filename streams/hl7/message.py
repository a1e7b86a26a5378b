"""One HL7 v2 message: separators, character set, header, fields (HL7 v2.5.1 chapter 2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import hl7

from streams.errors import Reason, Refuse

#: HL7 table 0211 → Python's codecs. Japanese text of ISO IR87 and IR159 comes with ISO 2022
#: escapes.
CHARSETS = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp_2",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": "big5",
    "BIG-5": "big5",
}
#: Segments that are read; the rest (4 MiB of OBX, a scanned letter) is not even parsed.
_READ = ("MSH", "EVN", "PID", "MRG", "PV1", "ORC", "OBR", "TQ1", "IPC", "ZDS", "OBX")
_OBX_FIELDS = 12  # of an OBX only its status is read, never its value
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_ESCAPE = re.compile(r"\\([^\\]{0,64})\\")
_TIME = re.compile(
    r"(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?(\.\d{1,6})?)?([+-])?(\d\d)?(\d\d)?"
)
_MAX_GROUPS = 500


@dataclass(frozen=True)
class Header:
    """What an answer needs; every value is as sent, unescaped, ``""`` when it is not there."""

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


class Segment:
    """One segment. Fields count from 1 as in the standard; what is not there is ``""``."""

    def __init__(self, text: str, separators: str) -> None:
        self._separators = separators
        self.name = text[:3]
        parts = text.split(separators[0])
        if self.name == "MSH":
            parts.insert(1, separators[0])
        self._fields = parts

    def repetitions(self, field: int) -> list[str]:
        """The repetitions of a field, raw."""
        value = self._fields[field] if field < len(self._fields) else ""
        return value.split(self._separators[2]) if value else []

    def text(
        self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 0
    ) -> str:
        """One value, unescaped, without control characters and outer blanks; HL7's null (two
        quotes) is ``""``.
        """
        found = self.repetitions(field)
        if repetition >= len(found):
            return ""
        return self.part(found[repetition], component, subcomponent)

    def part(self, repetition: str, component: int, subcomponent: int = 1) -> str:
        """One component of a raw repetition."""
        components = repetition.split(self._separators[1])
        if component > len(components):
            return ""
        value = components[component - 1]
        if len(self._separators) > 4:
            parts = value.split(self._separators[4])
            value = parts[subcomponent - 1] if subcomponent <= len(parts) else ""
        return _clean(self._unescape(value))

    def _unescape(self, text: str) -> str:
        # Not the library's: it logs what it cannot read, and that may be a name.
        escape = self._separators[3:4]
        if escape != "\\" or "\\" not in text:
            return text
        named: dict[str, str] = dict(
            zip("FSRET", (*self._separators[:3], "\\", self._separators[4:5]), strict=True)
        )

        def value(match: re.Match[str]) -> str:
            code = match[1]
            if code in named:
                return named[code]
            return " " if code in (".br", ".sp") else ""

        return _ESCAPE.sub(value, text)


def _clean(text: str) -> str:
    cleaned = _CONTROLS.sub(" ", text).strip()
    return "" if cleaned == '""' else cleaned


class Group:
    """The segments of one order or one report within a message, in order."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []

    @property
    def names(self) -> set[str]:
        """Which segments are there."""
        return {segment.name for segment in self.segments}

    def all(self, name: str) -> list[Segment]:
        """The segments of that name."""
        return [segment for segment in self.segments if segment.name == name]

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        return next((segment for segment in self.segments if segment.name == name), None)

    def text(self, name: str, field: int, component: int = 1) -> str:
        """One value of the first segment of that name; ``""`` where it is missing."""
        segment = self.first(name)
        return segment.text(field, component) if segment else ""

    def named(self, field: str) -> str:
        """The value of a field that is called as in ``OBR-18``."""
        name, _, number = field.partition("-")
        return self.text(name, int(number))

    def timing(self, component: int) -> tuple[str, str]:
        """A component of quantity/timing (ORC-7, OBR-27; before 2.5.1)."""
        return self.text("ORC", 7, component), self.text("OBR", 27, component)

    def uids(self) -> tuple[str, ...]:
        """Study Instance UIDs: IPC-3 (2.5), ZDS-1 (IHE RAD TF-2 §4.4)."""
        found = {segment.text(3) for segment in self.all("IPC")} | {
            segment.text(1) for segment in self.all("ZDS")
        }
        return tuple(sorted(found - {""}))


class Message:
    """The read segments of one message, in order."""

    def __init__(self, header: Header, segments: list[Segment], raw: bytes) -> None:
        self.header, self.segments, self.raw = header, segments, raw

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        return next((segment for segment in self.segments if segment.name == name), None)

    def groups(self, *starts: str) -> list[Group]:
        """Runs of segments, each beginning with the first of `starts` or, where that one is
        missing, with a later one.

        Raises:
            Refuse: `bad_field` when there are more groups than one message can sensibly have.
        """
        groups: list[Group] = []
        for segment in self.segments:
            if segment.name in starts and (
                not groups or segment.name in groups[-1].names or segment.name == starts[0]
            ):
                groups.append(Group())
            if groups:
                groups[-1].segments.append(segment)
        if len(groups) > _MAX_GROUPS:
            raise Refuse(Reason.BAD_FIELD, starts[0])
        return groups


def peek(raw: bytes) -> Header:
    """As much of the header as can be read in any bytes; for answers to what cannot be parsed."""
    text = raw.lstrip(b"\xef\xbb\xbf\r\n")[:4096].decode("latin-1")
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if len(line) < 8 or not line.startswith("MSH") or not _separators_ok(line[3:8]):
        return Header()
    return _header(Segment(line, _separators(line)))


def parse(raw: bytes, fallback: str = "iso8859-1") -> Message:
    """The message in `raw`.

    Args:
        fallback: codec of a message that declares no character set and is not UTF-8.

    Raises:
        Refuse: `not_hl7`, `unknown_charset`, `undecodable_text`, `unsupported_version`,
            `missing_field`.
    """
    raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    header = peek(raw)
    if not header.type and not header.control_id and not header.version:
        raise Refuse(Reason.NOT_HL7, "MSH")
    text = _decode(raw, header, fallback)
    lines = [line for line in re.split(r"[\r\n]+", text) if line[:3] in _READ and len(line) > 3]
    separators = _separators(lines[0])
    lines = [
        separators[0].join(line.split(separators[0], _OBX_FIELDS)[:_OBX_FIELDS])
        if line[:3] == "OBX"
        else line
        for line in lines
    ]
    try:
        parsed = hl7.parse("\r".join(lines))
        segments = [Segment(str(segment), separators) for segment in parsed]
    except (hl7.HL7Exception, IndexError, KeyError, ValueError):
        raise Refuse(Reason.NOT_HL7, "MSH") from None
    header = _header(segments[0])
    if header.version and not re.fullmatch(r"2\.\d(\.\d)*", header.version):
        raise Refuse(Reason.UNSUPPORTED_VERSION, "MSH-12")
    if not header.type:
        raise Refuse(Reason.MISSING_FIELD, "MSH-9")
    if not header.control_id:
        raise Refuse(Reason.MISSING_FIELD, "MSH-10")
    return Message(header, segments, raw)


def _decode(raw: bytes, header: Header, fallback: str) -> str:
    charset = header.charset
    if any(name and name not in CHARSETS for name in (charset, *header.more_charsets)):
        raise Refuse(Reason.UNKNOWN_CHARSET, "MSH-18")
    # The second repetition is what escape sequences switch to (Japan: ISO IR6, then ISO IR87).
    codec = next(
        (CHARSETS[name] for name in header.more_charsets if CHARSETS.get(name) == "iso2022_jp_2"),
        CHARSETS.get(charset, "utf-8"),
    )
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        if codec not in ("ascii", "utf-8") or (charset and codec == "utf-8"):
            raise Refuse(Reason.UNDECODABLE_TEXT, "MSH-18") from None
    try:
        # Declared as nothing or ASCII, and neither: seen in the wild; the sender's table says what
        # it means by it.
        return raw.decode("utf-8" if charset else fallback)
    except UnicodeDecodeError:
        raise Refuse(Reason.UNDECODABLE_TEXT, "MSH-18") from None


def _separators_ok(five: str) -> bool:
    used = five.split(five[0])[1][:4] if five.count(five[0]) > 1 else five[1:]
    marks = five[0] + used
    return (
        len(used) >= 2
        and len(set(marks)) == len(marks)
        and all(c.isprintable() and not c.isalnum() and c != " " for c in marks)
    )


def _separators(line: str) -> str:
    """Field, component, repetition, escape, subcomponent; as many as MSH-1 and MSH-2 declare."""
    marks: str = line[3] + line[4:].split(line[3], 1)[0][:4]
    return marks


def _header(msh: Segment) -> Header:
    types = [msh.text(9, 1), msh.text(9, 2)]
    return Header(
        application=msh.text(3),
        facility=msh.text(4),
        to_application=msh.text(5),
        to_facility=msh.text(6),
        type=types[0].upper(),
        event=types[1].upper(),
        control_id=msh.text(10),
        processing=msh.text(11).upper(),
        version=msh.text(12),
        charset=msh.text(18).upper(),
        more_charsets=tuple(msh.part(value, 1).upper() for value in msh.repetitions(18)[1:4]),
    )


def when(text: str, zone: str) -> datetime | None:
    """A time stamp (HL7 v2.5.1 §2.A.77, ``YYYY[MM[DD[HHMM[SS[.S…]]]]][±ZZZZ]``) in UTC; None when
    it is none.

    Args:
        zone: IANA name of the sender's zone, for stamps without offset.
    """
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = (
        match.groups()
    )
    try:
        stamp = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            min(int(second or 0), 59),
            round(float(fraction or 0) * 1e6) % 1_000_000,
            tzinfo=ZoneInfo(zone),
        )
        if sign and zone_hours:
            offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes or 0))
            stamp = stamp.replace(tzinfo=timezone(offset if sign == "+" else -offset))
        return stamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
