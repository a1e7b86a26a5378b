"""A checked header becomes the facts of its series, identity sealed, every field clamped."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import reduce
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BaseModel, ConfigDict

from streams.dicom import gate, text
from streams.events import Identity
from streams.seal import KeyRing
from streams.studykey import patient_pseudonym

_IMAGE = "1.2.840.10008.5.1.4.1.1."
#: SOP classes that are no images to read: waveforms, presentation states, parametric maps and their
#: like, registrations, segmentations, SR with KO and dose, encapsulated documents, RT plans,
#: structures and doses (PS3.4 §B.5).
_UNREADABLE = tuple(
    _IMAGE + part for part in ("9.", "11.", "30", "66", "67", "68.", "88.", "104.", "481.", "90.")
)
_READABLE_RT = _IMAGE + "481.1"  # RT Image
_UNREADABLE_MODALITIES = frozenset(
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
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


class SenderLike(Protocol):
    """What the door needs to know of a sender; the site's folder has it."""

    @property
    def name(self) -> str:
        """Its name in the site's folder."""

    @property
    def issuer(self) -> str:
        """Who issues its patient ids, when an image does not say."""

    @property
    def site(self) -> str:
        """Where it stands."""

    @property
    def timezone(self) -> str:
        """IANA name of the zone of its clocks, for images without TimezoneOffsetFromUTC."""


class Facts(BaseModel):
    """What is known of a series from some of its instances. `merge` is commutative: order of
    arrival does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    study_uid: str
    series_uid: str
    sop_class: str
    sender: str
    site: str = ""
    accessions: tuple[str, ...] = ()
    modality: str = ""
    body_part: str = ""
    description: str = ""
    series_description: str = ""
    view: str = ""
    age_years: float | None = None
    acquired_at: AwareDatetime | None = None
    readable: bool = True
    announced: int | None = None
    frames: int = 1
    patient: str | None = None
    identity: str | None = None
    first_received: AwareDatetime
    last_received: AwareDatetime


def merge(one: Facts, other: Facts) -> Facts:
    """The facts of a series from those of two parts of it. Times widen; of texts that differ the
    greater one stays.
    """
    ages = [age for age in (one.age_years, other.age_years) if age is not None]
    acquired = [time for time in (one.acquired_at, other.acquired_at) if time is not None]
    announced = [count for count in (one.announced, other.announced) if count is not None]
    # An image decides over a report that was put into its series.
    classes = [facts.sop_class for facts in (one, other) if facts.readable] or [
        one.sop_class,
        other.sop_class,
    ]
    who = max(one, other, key=lambda facts: (facts.patient or "", facts.identity or ""))
    texts = {
        name: max(getattr(one, name), getattr(other, name))
        for name in (
            "sender",
            "site",
            "modality",
            "body_part",
            "description",
            "series_description",
            "view",
        )
    }
    return one.model_copy(
        update=texts
        | {
            "sop_class": max(classes),
            "accessions": tuple(sorted({*one.accessions, *other.accessions})),
            "age_years": min(ages, default=None),
            "acquired_at": max(acquired, default=None),
            "readable": one.readable or other.readable,
            "announced": max(announced, default=None),
            "frames": max(one.frames, other.frames),
            "patient": who.patient,
            "identity": who.identity,
            "first_received": min(one.first_received, other.first_received),
            "last_received": max(one.last_received, other.last_received),
        }
    )


def merge_all(parts: list[Facts]) -> Facts:
    """`merge` over one or more parts."""
    return reduce(merge, parts)


def facts(header: gate.Header, sender: SenderLike, ring: KeyRing, received_at: datetime) -> Facts:
    """The facts that one instance gives of its series. Never raises: what cannot be read is left
    out.
    """
    field = _Fields(header)
    who = Identity(
        patient_id=field.text(0x00100020, _CODE),
        issuer=field.text(0x00100021, _CODE) or sender.issuer,
        name=field.text(0x00100010, _TEXT).split("=")[0]
        or field.text(0x00100010, _TEXT).strip("="),
        birth_date=birth.strftime("%Y%m%d") if (birth := _date(field.code(0x00100030))) else "",
        sex=field.code(0x00100040)[:1],
    )
    acquired = _acquired(field, _zone(field.code(0x00080201), sender.timezone))
    accessions = {
        field.text(gate.ACCESSION, _CODE),
        *(field.decode(raw)[:_CODE] for raw in header.accessions),
    }
    announced = field.code(0x00201209)
    return Facts(
        study_uid=header.study,
        series_uid=header.series,
        sop_class=header.sop_class,
        sender=sender.name[:_CODE],
        site=sender.site[:_CODE],
        accessions=tuple(sorted(accessions - {""})),
        modality=field.code(0x00080060)[:16],
        body_part=field.code(0x00180015)[:_CODE],
        description=field.text(0x00081030, _TEXT),
        series_description=field.text(0x0008103E, _TEXT),
        view=field.code(0x00185101)[:16],
        age_years=_age(field.code(0x00101010), birth, acquired),
        acquired_at=min(acquired, received_at) if acquired else None,
        readable=_readable(header, field),
        announced=int(announced) if re.fullmatch(r"[1-9][0-9]{0,5}", announced) else None,
        frames=header.frames,
        patient=patient_pseudonym(ring.pseudonym, who.issuer, who.patient_id),
        identity=ring.seal_identity(who) if who.patient_id or who.name else None,
        first_received=received_at,
        last_received=received_at,
    )


class _Fields:
    """Text of a header's values."""

    def __init__(self, header: gate.Header) -> None:
        self._values = header.values
        self._charset = header.values.get(0x00080005, b"")

    def decode(self, raw: bytes) -> str:
        return text.decode(raw, self._charset)

    def text(self, tag: int, limit: int) -> str:
        return self.decode(self._values.get(tag, b""))[:limit]

    def code(self, tag: int) -> str:
        """First value, upper case, of a VR of the default repertoire (CS, DA, TM, AS, IS)."""
        return (
            self._values.get(tag, b"")
            .split(b"\\")[0]
            .decode("ascii", "ignore")
            .strip(" \0")
            .upper()
        )


def _readable(header: gate.Header, field: _Fields) -> bool:
    sop = header.sop_class
    return (
        header.has_pixels
        and (sop == _READABLE_RT or not sop.startswith(_UNREADABLE))
        and field.code(0x00080060) not in _UNREADABLE_MODALITIES
        and field.text(0x00080070, _CODE).upper() != OUR_MANUFACTURER
    )


def _zone(offset: str, name: str) -> tzinfo:
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


def _moment(day: str, time: str, zone: tzinfo) -> datetime | None:
    """A DA and a TM in `zone`, as UTC."""
    found, clock = _date(day), _TIME.fullmatch(time)
    if found is None or clock is None or found.year < 1900:
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


def _acquired(field: _Fields, zone: tzinfo) -> datetime | None:
    """When the image was acquired, best source first: Acquisition DateTime, then Acquisition,
    Content, Series, Study.
    """
    stamp = field.code(0x0008002A)
    body, offset = (stamp[:-5], stamp[-5:]) if _OFFSET.fullmatch(stamp[-5:]) else (stamp, "")
    if moment := _moment(body[:8], body[8:], _zone(offset, "") if offset else zone):
        return moment
    for day, time in _TIMES:
        if moment := _moment(field.code(day), field.code(time), zone):
            return moment
    return None


def _age(stated: str, birth: date | None, acquired: datetime | None) -> float | None:
    """Years, 0–150, from PatientAge (AS), else from the birth date at the time of acquisition."""
    if match := _AGE.fullmatch(stated):
        years = int(match[1]) / _PER_YEAR[match[2]]
    elif birth and acquired:
        years = (acquired.date() - birth).days / 365.25
    else:
        return None
    return round(years, 3) if 0 <= years <= 150 else None
