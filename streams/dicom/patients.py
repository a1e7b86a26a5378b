"""Whom a data set names: patient number, authority, identity; and accession numbers likewise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from streams.dicom import gate, text
from streams.events import Number
from streams.identity.studykey import pseudonym
from streams.sealed import Identity, OtherNumber
from streams.senders.authorities import Authorities

NAME, BIRTH_DATE, SEX, CHARSET, OTHER_IDS = (
    0x00100010,
    0x00100030,
    0x00100040,
    0x00080005,
    0x00101000,
)
#: What `identity_of` reads, beside the items of PATIENT_ISSUER and OTHER_PATIENT_IDS.
OF_PATIENTS = frozenset({NAME, BIRTH_DATE, SEX, CHARSET, OTHER_IDS, gate.PATIENT_ID, gate.ISSUER})
_CODE, _TEXT = 64, 256  # characters, as in `streams.events`
_MOST = 100  # accession numbers of one data set


class SenderLike(Protocol):
    """What the door needs to know of a sender; the site's folder has it."""

    @property
    def name(self) -> str:
        """Its name in the site's folder."""

    @property
    def certificates(self) -> tuple[str, ...]:
        """Names of which its certificate must have one; none: any."""

    @property
    def issuer(self) -> str:
        """The authority of its patient numbers, when an image does not say."""

    @property
    def authority(self) -> str:
        """The authority of its accession numbers, when an image does not say."""

    @property
    def kind(self) -> Literal["modality", "archive", "mixed"]:
        """What it is."""

    @property
    def site(self) -> str:
        """Where it stands."""

    @property
    def charset(self) -> str:
        """Python's name of its character set, for data sets that declare none."""

    @property
    def timezone(self) -> str:
        """IANA name of the zone of its clocks, for images without TimezoneOffsetFromUTC."""


@dataclass(frozen=True)
class Words:
    """The values of a data set as text, and what they mean at this site."""

    values: gate.Values
    items: dict[int, list[gate.Values]]
    sender: SenderLike
    authorities: Authorities

    def of(self, values: gate.Values, tag: int, limit: int = _CODE) -> str:
        """One value of the data set or of an item of it."""
        charset = self.values.get(CHARSET, b"")
        return text.decode(values.get(tag, b""), charset, self.sender.charset)[:limit]

    def doubtful(self, tag: int) -> bool:
        """Whether the value may be misread: its bytes are not what is declared."""
        charset = self.values.get(CHARSET, b"")
        return text.read(self.values.get(tag, b""), charset, self.sender.charset)[1]

    def text(self, tag: int, limit: int = _CODE) -> str:
        """One value of the data set."""
        return self.of(self.values, tag, limit)

    def codes(self, tag: int) -> list[str]:
        """The values, upper case, of a VR of the default repertoire (CS, DA, TM, AS, IS)."""
        raw = self.values.get(tag, b"").split(b"\\")
        return [part.decode("ascii", "ignore").strip(" \0").upper() for part in raw]

    def code(self, tag: int) -> str:
        """The first of them."""
        return self.codes(tag)[0]


def identity_of(words: Words) -> Identity:
    """Whom the data set names. What it leaves out, or leaves empty, is not mentioned: None."""
    patient_id, authority = _patient_number(words)
    name = words.text(NAME, _TEXT)
    name = name if name.strip("^= ") else ""
    return Identity(
        patient_id=patient_id,
        issuer=authority,
        name=name.split("=")[0] or name.strip("=") or None,
        birth_date=words.authorities.birth_date(words.code(BIRTH_DATE).replace(".", "")),
        sex=words.code(SEX)[:1] or None,
        others=_others(words, patient_id),
        doubtful=words.doubtful(NAME),
    )


def _patient_number(words: Words) -> tuple[str, str]:
    """The number and its authority; empty where it identifies nobody. It is never cut, though it be
    longer than the standard's 64 characters: two patients could become one.

    Some write the whole HL7 identifier into Patient ID: ``P1^^^ABCD&1.2.3&ISO``.
    """
    value, *rest = words.text(gate.PATIENT_ID, gate.MAX_VALUE).split("^")
    stated = (rest[2] if len(rest) > 2 else "").split("&")
    if not words.authorities.identifies(value) or len(value) > _TEXT:
        return "", ""
    qualifiers = next(iter(words.items.get(gate.PATIENT_ISSUER, [])), {})
    authority = words.authorities.canonical(
        words.of(qualifiers, gate.UNIVERSAL),
        words.text(gate.ISSUER),
        stated[1] if len(stated) > 1 else "",
        stated[0],
        words.sender.issuer,
    )
    return value.strip(), authority


def _others(words: Words, patient_id: str) -> tuple[OtherNumber, ...]:
    """The other patient numbers: kept and shown, they join nobody."""
    found = {
        (words.of(item, gate.PATIENT_ID), words.authorities.canonical(words.of(item, gate.ISSUER)))
        for item in words.items.get(gate.OTHER_PATIENT_IDS, [])
    }
    found |= {(part.strip()[:_CODE], "") for part in words.text(OTHER_IDS, _TEXT).split("\\")}
    return tuple(
        OtherNumber(value=value, authority=authority)
        for value, authority in sorted(found)
        if value and value != patient_id
    )


def statement_of(secret: bytes, who: Identity) -> str:
    """A keyed digest of whom images name: number, authority and birth date. What of a series names
    others is another part of it.
    """
    return pseudonym(secret, "statement", who.issuer, who.patient_id, who.birth_date or "")


def accessions_of(
    words: Words, items: Iterable[gate.Values], *, own: bool = True
) -> tuple[Number, ...]:
    """The accession numbers of requests (`items`) and, where `own`, of the data set itself. What
    identifies nothing is left out, and so is what no event can hold: cut, two could become one.
    Several in one value, as of studies that are read as one, are several.
    """
    issuer = next(iter(words.items.get(gate.ACCESSION_ISSUER, [])), {})
    stated = [{gate.ACCESSION: words.values.get(gate.ACCESSION, b""), **issuer}] if own else []
    found = {
        Number(
            kind="accession",
            authority=words.authorities.canonical(
                words.of(item, gate.UNIVERSAL),
                words.of(item, gate.NAMESPACE),
                words.sender.authority,
            ),
            value=value,
        )
        for item in (*stated, *items)
        for part in words.of(item, gate.ACCESSION, gate.MAX_VALUE).split("\\")
        if words.authorities.identifies(value := part.strip()) and len(value) <= _CODE
    }
    return tuple(sorted(found, key=lambda number: (number.value, number.authority)))[:_MOST]
