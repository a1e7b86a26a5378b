"""A checked header becomes facts of its part of a series: identity sealed, fields clamped."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BaseModel, ConfigDict

from streams.dicom import gate
from streams.dicom.patients import (
    BIRTH_DATE,
    SenderLike,
    Words,
    accessions_of,
    identity_of,
    statement_of,
)
from streams.events import MOST_NUMBERS, Number, Patient
from streams.identity.seal import KeyRing
from streams.identity.studykey import patient_of
from streams.sealed import Identity
from streams.senders.authorities import Authorities

_IMAGE = "1.2.840.10008.5.1.4.1.1."
_CAPTURE = _IMAGE + "7"
#: SOP classes that are no images to read: waveforms, presentation states, parametric maps and their
#: like, registrations, segmentations, SR with KO and dose, encapsulated documents, RT plans,
#: structures and doses (PS3.4 §B.5).
_UNREADABLE = tuple(
    _IMAGE + part for part in ("9.", "11.", "30", "66", "67", "68.", "88.", "104.", "481.", "90.")
)
_READABLE_RT = _IMAGE + "481.1"  # RT Image
#: Modalities that are nothing to read.
UNREADABLE_MODALITIES = frozenset(
    {
        "SR",
        "KO",
        "PR",
        "SEG",
        "REG",
        "FID",
        "RWV",
        "DOC",
        "AU",
        "ECG",
        "HD",
        "EPS",
        "RTPLAN",
        "RTSTRUCT",
        "RTDOSE",
        "RTRECORD",
        "PLAN",
        "SMR",
        "M3D",
        "STAIN",
        "TEXTUREMAP",
    }
)
#: (0008,0070) of what Vigie itself writes: our own output returning never makes a study
#: readable.
OUR_MANUFACTURER = "VIGIE"
_CODE, _TEXT = 64, 256  # characters, as in `streams.events`
_TIMES = (
    (0x00080022, 0x00080032),
    (0x00080023, 0x00080033),
    (0x00080021, 0x00080031),
    (0x00080020, 0x00080030),
)
#: So far a modality's clock may run ahead before it is a wrong one.
_CLOCK_SKEW = timedelta(minutes=5)
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_IMAGE_TYPE = 0x00080008


class Facts(BaseModel):
    """What is known of a part of a series from some of its instances. `merge` is commutative: order
    of arrival does not matter.

    Attributes:
        statement: whom its images name; what names others is another part.
        stated: how many facts about the patient `identity` has.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    study_uid: str
    series_uid: str
    sop_class: str
    sender: str
    site: str = ""
    kind: Literal["modality", "archive", "mixed"] = "mixed"
    statement: str = ""
    numbers: tuple[Number, ...] = ()
    modality: str = ""
    body_part: str = ""
    description: str = ""
    series_description: str = ""
    view: str = ""
    age_years: float | None = None
    acquired_at: AwareDatetime | None = None
    readable: bool = True
    primary: bool = True
    localizer: bool = False
    other_bytes: bool = False
    damaged: bool = False
    announced: int | None = None
    frames: int = 1
    patient: Patient | None = None
    identity: str | None = None
    stated: int = 0
    first_received: AwareDatetime
    last_received: AwareDatetime


_OF_SENDER = ("sender", "site", "kind")
_OF_IMAGE = (
    "modality",
    "body_part",
    "description",
    "series_description",
    "view",
)


def merge(one: Facts, other: Facts) -> Facts:
    """The facts of two sets of instances of one part. Times widen; of texts that differ the greater
    one stays, of images rather than reports, of primary images rather than captures; of more
    numbers than an event holds (a device that makes one for each image) the first.
    """
    both = (one, other)
    ages = [facts.age_years for facts in both if facts.age_years is not None]
    acquired = [facts.acquired_at for facts in both if facts.acquired_at is not None]
    announced = [facts.announced for facts in both if facts.announced is not None]
    # An image decides over a report that was put into its series, and over a screenshot.
    most = max(map(_weight, both))
    deciding = [facts for facts in both if _weight(facts) == most]
    who = max(both, key=lambda facts: (facts.stated, facts.identity or ""))
    texts = {name: max(getattr(one, name), getattr(other, name)) for name in _OF_SENDER}
    texts |= {name: max(getattr(facts, name) for facts in deciding) for name in _OF_IMAGE}
    return one.model_copy(
        update=texts
        | {
            "sop_class": max(facts.sop_class for facts in deciding),
            "numbers": tuple(sorted({*one.numbers, *other.numbers}, key=_by_name))[:MOST_NUMBERS],
            "age_years": min(ages, default=None),
            "acquired_at": min(acquired, default=None),
            "readable": one.readable or other.readable,
            "primary": any(facts.primary for facts in deciding),
            "localizer": all(facts.localizer for facts in deciding),
            "damaged": one.damaged and other.damaged,
            "other_bytes": one.other_bytes or other.other_bytes,
            "announced": max(announced, default=None),
            "frames": max(one.frames, other.frames),
            "patient": who.patient,
            "identity": who.identity,
            "stated": who.stated,
            "first_received": min(one.first_received, other.first_received),
            "last_received": max(one.last_received, other.last_received),
        }
    )


def _weight(facts: Facts) -> tuple[bool, bool, bool]:
    """How much what is said of an image says of its series."""
    return facts.readable, facts.primary, not facts.sop_class.startswith(_CAPTURE)


def _by_name(number: Number) -> tuple[str, str, str]:
    return number.kind, number.value, number.authority


def facts(
    header: gate.Header,
    sender: SenderLike,
    authorities: Authorities,
    ring: KeyRing,
    received_at: datetime,
) -> Facts:
    """The facts that one instance gives of its part of a series. Never raises: what cannot be read
    is left out.
    """
    words = Words(header.values, header.items, sender, authorities)
    who = identity_of(words)
    acquired = _acquired(words, zone_of(words.code(0x00080201), sender.timezone))
    if acquired and received_at < acquired <= received_at + _CLOCK_SKEW:
        acquired = received_at  # further ahead it stays as stated: a wrong clock is told
    image_type = words.codes(_IMAGE_TYPE)
    announced = words.code(0x00201209)
    return Facts(
        study_uid=header.study,
        series_uid=header.series,
        sop_class=header.sop_class,
        sender=sender.name[:_CODE],
        site=sender.site[:_CODE],
        kind=sender.kind,
        statement=statement_of(ring.pseudonym, who),
        numbers=accessions_of(words, header.items.get(gate.REQUESTS, [])),
        modality=words.code(0x00080060)[:16],
        body_part=words.code(0x00180015)[:_CODE],
        description=words.text(0x00081030, _TEXT),
        series_description=words.text(0x0008103E, _TEXT),
        view=words.code(0x00185101)[:16],
        age_years=_age(
            words.code(0x00101010),
            _birth(words, who),
            min(acquired, received_at) if acquired else None,
        ),
        acquired_at=acquired,
        readable=_readable(header, words),
        primary="".join(image_type[1:2]) in ("", "PRIMARY"),
        localizer=image_type[2:3] == ["LOCALIZER"],
        announced=int(announced) if re.fullmatch(r"[1-9][0-9]{0,5}", announced) else None,
        frames=header.frames,
        damaged=header.damaged,
        patient=patient_of(ring.pseudonym, who.issuer, who.patient_id),
        identity=ring.seal_identity(who) if who != Identity() else None,
        stated=len(who.model_dump(exclude_defaults=True)),
        first_received=received_at,
        last_received=received_at,
    )


def _birth(words: Words, who: Identity) -> date | None:
    """The birth date, unless it stands for an unknown one."""
    return _date(words.code(BIRTH_DATE)) if who.birth_date else None


def _readable(header: gate.Header, words: Words) -> bool:
    sop = header.sop_class
    # One that should have pixels and has none is read, and said not to be readable.
    image = header.has_pixels or bool(header.values.get(gate.ROWS))
    return (
        image
        and of_images(sop)
        and words.code(0x00080060) not in UNREADABLE_MODALITIES
        and words.text(0x00080070, _CODE).upper() != OUR_MANUFACTURER
    )


def of_images(sop_class: str) -> bool:
    """Whether instances of the class can be images to read."""
    return sop_class == _READABLE_RT or not sop_class.startswith(_UNREADABLE)


def zone_of(offset: str, name: str) -> tzinfo:
    """The zone that an image states (SOP Common, PS3.3 §C.12.1.1), else its sender's, else UTC."""
    if match := _OFFSET.fullmatch(offset):
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes <= 14 * 60:
            return timezone(timedelta(minutes=minutes if match[1] == "+" else -minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _date(value: str) -> date | None:
    """A DA (PS3.5 §6.2), also in its retired form with dots."""
    if not (match := _DATE.fullmatch(value)):
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def moment(day: str, time: str, zone: tzinfo) -> datetime | None:
    """A DA and a TM in `zone`, as UTC; None where no clock can have said it (see `Instant`)."""
    found, clock = _date(day), _TIME.fullmatch(time)
    if found is None or clock is None or not 1900 < found.year < 2199:
        return None
    hour, minute, second = (int(part or 0) for part in clock.groups()[:3])
    micro = int((clock[4] or "").ljust(6, "0") or 0)
    try:
        # 60 is a leap second
        return datetime(
            found.year, found.month, found.day, hour, minute, min(second, 59), micro, tzinfo=zone
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _acquired(words: Words, zone: tzinfo) -> datetime | None:
    """When the image was acquired, best source first: Acquisition DateTime, then Acquisition,
    Content, Series, Study.
    """
    stamp = words.code(0x0008002A)
    body, offset = (stamp[:-5], stamp[-5:]) if _OFFSET.fullmatch(stamp[-5:]) else (stamp, "")
    if found := moment(body[:8], body[8:], zone_of(offset, "") if offset else zone):
        return found
    for day, time in _TIMES:
        if found := moment(words.code(day), words.code(time), zone):
            return found
    return None


def _age(stated: str, birth: date | None, acquired: datetime | None) -> float | None:
    """Years, 0–150, from PatientAge (AS), else from the birth date at the time of acquisition."""
    if match := _AGE.fullmatch(stated):
        years = int(match[1]) / _PER_YEAR[match[2]]
    elif birth and acquired:
        day = acquired.date()
        birthdays = day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))
        years = max((day - birth).days / 365.25, birthdays)  # six on the sixth birthday
    else:
        return None
    return round(years, 3) if 0 <= years <= 150 else None
