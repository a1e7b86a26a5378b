"""A message as it may be shown to whoever mends its sender: its shape, its codes, no patient."""

from __future__ import annotations

import re

from streams.hl7.text.charsets import decode
from streams.hl7.text.message import peek

#: Fields that say what a message is, and nothing of a patient.
_SHOWN = {
    "MSH": set(range(1, 22)),
    "EVN": {1, 2},
    "ORC": {1, 5, 9},
    "OBR": {1, 4, 5, 22, 24, 25, 36},
    "OBX": {1, 2, 3, 11},
    "TQ1": {1, 7, 9},
    "PV1": {1, 2},
    "TXA": {1, 2, 3, 17},
    "ZBE": {2, 4, 5, 6},
    "SCH": {6, 7},
    "BHS": set(),
}
_NEXT = re.compile(r"(?:EVN|PID|PD1|NK1|MRG|PV1|ORC|OBR)\W", re.IGNORECASE)
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]"), re.compile(r"\d")
_LONGEST = 200  # characters of a line


def text_of(raw: bytes) -> str:
    """All of `raw`, read as it declares; ``?`` where no character set explains a byte."""
    read = decode(raw, (peek(raw).charset,), "iso8859-1", always=False).text
    return read.encode(errors="replace").decode()


def outline(raw: bytes) -> list[str]:
    """The segments of `raw`, letters as ``x`` and digits as ``9`` where they may be somebody's."""
    header, text = peek(raw), text_of(raw)
    field = (header.marks or "|")[0]
    lines = [line.strip() for line in text.replace("\n", "\r").split("\r")]
    return [_outline(line, field)[:_LONGEST] for line in lines if line]


def _outline(line: str, mark: str) -> str:
    # A message that lost its line ends is one line: what follows is no field of this segment.
    ends = _NEXT.search(line, 4)
    line, lost = (line[: ends.start()], line[ends.start() :]) if ends else (line, "")
    name, *fields = line.split(mark)
    shown = _SHOWN.get(name, set())
    known = len(name) == 3 and name.isalnum() and name.isupper()
    written = [
        value if number in shown else _masked(value) for number, value in enumerate(fields, 1)
    ]
    return mark.join([name if known else _masked(name), *written]) + _masked(lost)


def _masked(value: str) -> str:
    return _DIGITS.sub("9", _LETTERS.sub("x", value))
