"""One segment: fields, repetitions, components, escapes (HL7 v2.5.1 §2.5 to §2.7)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from streams.hl7.text.charsets import by_rule

_OBX_FIELDS = 12  # of an OBX no more is read
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@lru_cache(maxsize=64)
def _escapes(mark: str) -> re.Pattern[str]:
    """Escapes that mean something; what only looks like one is text."""
    end = re.escape(mark)
    return re.compile(
        rf"{end}(?:([FSRETHN])|X((?:[0-9A-Fa-f]{{2}}){{1,64}})|(\.[a-z]{{2}})[+-]?\d{{0,4}}"
        rf"|[CM][0-9A-Fa-f]{{4,6}}){end}"
    )


class Identifier(NamedTuple):
    """A CX: its value, the authority that it states by namespace and by universal id, its type."""

    value: str
    namespace: str
    universal: str
    kind: str


class Syntax:
    """How a message is written: its separators, the codec of bytes that it escapes, and that of
    bytes which its own could not read.
    """

    __slots__ = (
        "_named",
        "codec",
        "component",
        "escape",
        "fallback",
        "field",
        "repetition",
        "subcomponent",
    )

    def __init__(self, marks: str, codec: str, fallback: str) -> None:
        self.fallback = fallback
        self.field, self.component, self.repetition = marks[0], marks[1], marks[2]
        self.escape, self.subcomponent, self.codec = marks[3:4], marks[4:5], codec
        named = zip("FSRET", (*marks[:3], self.escape, self.subcomponent), strict=True)
        self._named: dict[str, str] = {**dict(named), "H": "", "N": ""}

    def read(self, value: str) -> str:
        """What a raw value without separators says: without escapes, control characters and outer
        blanks; HL7's null is ``""``.
        """
        if value.isalnum() or not value:
            return value
        if self.escape and self.escape in value:
            value = self._unescaped(value)
        if not value.isprintable():
            value = _CONTROLS.sub(" ", by_rule(value, self.fallback))
        value = value.strip()
        return "" if value == '""' else value

    def _unescaped(self, text: str) -> str:
        # Not by the library: it logs what it cannot read, and that may be a name.

        def value(match: re.Match[str]) -> str:
            name, digits, layout = match[1], match[2], match[3]
            if name:
                return self._named[name]
            if digits:
                return bytes.fromhex(digits).decode(self.codec, "replace")
            return " " if layout else ""

        return _escapes(self.escape).sub(value, text)


syntax_of = lru_cache(maxsize=256)(Syntax)


class Segment:
    """One segment. Fields count from 1 as in the standard; what is not there is ``""``."""

    __slots__ = ("_fields", "_line", "name", "syntax")

    def __init__(self, line: str, syntax: Syntax) -> None:
        self.name = line[:3]
        self._line, self.syntax = line, syntax
        self._fields: list[str] | None = None

    def raw(self, field: int) -> str:
        """A field as it was written; ``""`` where it is not there."""
        fields = self._fields or self._split()
        return fields[field] if field < len(fields) else ""

    def _split(self) -> list[str]:
        mark = self.syntax.field
        fields = self._line.split(mark, _OBX_FIELDS if self.name == "OBX" else -1)
        if self.name == "MSH":
            fields.insert(1, mark)
        self._fields = fields
        return fields

    def repetitions(self, field: int) -> list[str]:
        """The repetitions of a field, raw."""
        value = self.raw(field)
        return value.split(self.syntax.repetition) if value else []

    def text(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """One value of a field's first repetition, unescaped, without control characters and outer
        blanks; HL7's null (two quotes) is ``""``.
        """
        fields = self._fields or self._split()
        if field >= len(fields) or not (value := fields[field]):
            return ""
        if value.isalnum():  # no separator is
            return value if component == subcomponent == 1 else ""
        mark = self.syntax.repetition
        if mark in value:
            value = value.split(mark, 1)[0]
        return self.part(value, component, subcomponent)

    def every(self, field: int, component: int = 1) -> list[str]:
        """As `text`, of each repetition that says something."""
        found = (self.part(one, component) for one in self.repetitions(field))
        return [value for value in found if value]

    def identifiers(self, field: int) -> list[Identifier]:
        """The repetitions of a field as identifiers (CX; of an EI only its value is its own)."""
        value, syntax = self.raw(field), self.syntax
        if not value:
            return []
        found = []
        for repetition in value.split(syntax.repetition):
            parts = repetition.split(syntax.component)
            given = parts[3] if len(parts) > 3 else ""
            names = given.split(syntax.subcomponent, 2) if syntax.subcomponent else [given]
            value, name, kind = map(syntax.read, (parts[0], names[0], "".join(parts[4:5])))
            found.append(
                Identifier(value, name, syntax.read(names[1]) if len(names) > 1 else "", kind)
            )
        return found

    def components(self, field: int, most: int, repetition: int = 0) -> list[str]:
        """The first `most` components of a field's first repetition, or of another one."""
        value, syntax = self.raw(field), self.syntax
        said = value.split(syntax.repetition, repetition + 1)[repetition : repetition + 1]
        parts = said[0].split(syntax.component, most)[:most] if said else []
        return [syntax.read(self._first(part)) for part in parts]

    def _first(self, component: str) -> str:
        mark = self.syntax.subcomponent
        return component.split(mark, 1)[0] if mark and mark in component else component

    def entity(self, field: int, repetition: int = 0) -> tuple[str, str, str]:
        """The value, namespace and universal id of an EI; empty where it is not there."""
        value = self.raw(field)
        if not value or (value.isalnum() and not repetition):
            return value, "", ""
        value, name, universal, *_ = (*self.components(field, 3, repetition), "", "", "")
        return value, name, universal

    def lines(self, field: int) -> list[str]:
        """A field as lines of text: its repetitions, and the line breaks that it escapes."""
        return [
            line
            for repetition in self.repetitions(field)
            for text in repetition.split(f"{self.syntax.escape}.br{self.syntax.escape}")
            if (line := self.syntax.read(text))
        ]

    def emptied(self, field: int, component: int = 1) -> bool:
        """Whether the sender emptied the field, or this component of it: HL7's null, v2.5.1
        §2.5.3.
        """
        if '""' not in self.raw(field):
            return False
        found = self.repetitions(field)
        parts = found[0].split(self.syntax.component) if len(found) == 1 else []
        return parts == ['""'] or (component > 1 and parts[component - 1 : component] == ['""'])

    def part(self, repetition: str, component: int, subcomponent: int = 1) -> str:
        """One component of a raw repetition."""
        syntax, value = self.syntax, repetition
        if component > 1 or syntax.component in value:
            components = value.split(syntax.component, component)
            if component > len(components):
                return ""
            value = components[component - 1]
        if value.isalnum():
            return value if subcomponent == 1 else ""
        if syntax.subcomponent and (subcomponent > 1 or syntax.subcomponent in value):
            parts = value.split(syntax.subcomponent, subcomponent)
            value = parts[subcomponent - 1] if subcomponent <= len(parts) else ""
        return syntax.read(value)
