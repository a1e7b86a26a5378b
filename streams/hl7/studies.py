"""What orders, reports and appointments have in common: the patient, the numbers of the study."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from streams.errors import Reason, Refuse
from streams.events import Event, Number, NumberKind
from streams.hl7.envelope import Context, Envelope
from streams.hl7.patients import identity_of, place_numbers
from streams.hl7.text.message import Group, Message
from streams.hl7.text.segments import Segment
from streams.identity.studykey import topic_key

_UID = re.compile(r"[0-9.]{1,64}")
_MAX_VALUE = 64  # characters of a number
#: Kinds of numbers by which a study can be found.
_FINDS = frozenset({"accession", "placer", "filler", "study"})
_ORDER_FIELDS: tuple[tuple[NumberKind, int], ...] = (("placer", 2), ("filler", 3))
#: An event and the key that it travels under.
Keyed = tuple[str, Event]


class OfStudies:
    """Makes events about studies of one message."""

    def __init__(self, message: Message, context: Context) -> None:
        self._message, self._context = message, context
        self._envelope = Envelope(message, context)

    def _event(
        self,
        make: Callable[..., Event],
        group: Group,
        numbers: tuple[Number, ...],
        stamp: str,
        **facts: Any,
    ) -> Keyed:
        if not any(number.kind in _FINDS for number in numbers):
            raise Refuse(Reason.NO_STUDY_KEY, self._context.sender.accession[0])
        who = identity_of(group.person, self._context, doubtful=self._message.doubtful)
        base = self._envelope.base(who, stamp)
        event = make(**base, numbers=numbers, site=self._context.sender.site, **facts)
        return topic_key(self._context.ring.pseudonym, numbers, base["patient"]), event

    def _numbers(self, group: Group, uids: tuple[str, ...]) -> tuple[Number, ...]:
        """All numbers that an order's segments name; what identifies nothing is left out."""
        found = self._accessions(group)
        for kind, field in _ORDER_FIELDS:
            # Under one ORC several OBR may stand, each with numbers of its own.
            name = "OBR" if group.text("OBR", field) else "ORC"
            found += self._number(kind, group.first(name), field)
        for uid in uids:
            if not _UID.fullmatch(uid):
                raise Refuse(Reason.BAD_FIELD, "ZDS-1" if group.has("ZDS") else "IPC-3")
            found.append(Number(kind="study", value=uid))
        found += place_numbers(group.visit, group.person, self._context)
        return tuple(dict.fromkeys(found))

    def _accessions(self, group: Group) -> list[Number]:
        """What stands in the first of the sender's fields that identifies something, of each IPC
        its own.
        """
        found: list[Number] = []
        for name, field in self._context.sender.accession_fields:
            for segment in group.all(name) if name == "IPC" else group.all(name)[:1]:
                stated = (name, field) == ("IPC", 1)
                found += self._number("accession", segment, field, stated=stated)
            if found:
                break
        return found

    def _number(
        self,
        kind: NumberKind,
        segment: Segment | None,
        field: int,
        *,
        stated: bool = True,
        repetition: int = 0,
    ) -> list[Number]:
        """The EI of a field as a number.

        Args:
            stated: whether its namespace and universal id are the number's authority.
        """
        if segment is None:
            return []
        sender, authorities = self._context.sender, self._context.site.authorities
        value, namespace, universal = segment.entity(field, repetition)
        if not authorities.identifies(value):
            return []
        if len(value) > _MAX_VALUE:
            raise Refuse(Reason.BAD_FIELD, f"{segment.name}-{field}")
        said = (universal, namespace) if stated else ()
        authority = authorities.canonical(*said, sender.authority)
        return [Number(kind=kind, authority=authority, value=value)]

    def _imaging(self, group: Group) -> bool | None:
        """Whether it is imaging by the sender's rules; None where it mentions nothing that they are
        about.
        """
        told: bool | None = None
        for rule in self._context.sender.not_imaging_rules:
            where = self._message if rule.segment == "MSH" else group
            place = group.visit if rule.segment == "PV1" else where.first(rule.segment)
            value = place.text(rule.field, rule.component) if place else ""
            if value and rule.value.match(value.upper()):
                return False
            told = True if value else told
        return told


def with_order_segments(groups: list[Group]) -> list[Group]:
    """An OBR that follows another under one ORC is of that ORC: what stands before the first OBR
    (ORC, TQ1) says the same of each.
    """
    before: list[Segment] = []
    found = list[Group]()
    for group in groups:
        if group.has("ORC"):
            names = [segment.name for segment in group.segments]
            before = group.segments[: names.index("OBR")] if "OBR" in names else group.segments
            found.append(group)
        else:
            found.append(Group((*before, *group.segments), group.person, group.visit))
    return found


def last_uids(groups: list[Group]) -> tuple[str, ...]:
    """A single ZDS at the end speaks for all groups before it; several speak each for its own."""
    named = [uids for group in groups if (uids := group.uids())]
    return named[0] if len(named) == 1 else ()
