"""The site's senders and codes: who may send, and what their words mean here."""

from __future__ import annotations

import codecs
import hashlib
import hmac
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase, translate
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from streams.errors import Misconfigured, Reason, Refuse
from streams.senders.authorities import Authorities

Model = TypeVar("Model", bound=BaseModel)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError):
        raise ValueError("no IANA time zone") from None
    return name


def _network(text: str) -> str:
    return str(ip_network(text))


def _charset(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("no character set") from None


#: So many callers are remembered with their senders: strangers choose what they are called.
_CALLERS = 1024


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


#: What a sender may do: send orders and what it knows of patients; end an order; end a study by a
#: report; say that two patient numbers are one person's.
Right = Literal["order", "cancel", "close", "merge"]
_RULE = re.compile(r"(MSH|PV1|ORC|OBR)-([0-9]{1,2})(?:\.([0-9]))?=(.{1,400})")


def _any_of(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns.upper().split("|"))))


class FieldRule(NamedTuple):
    """Values, ``*`` for anything, that a component of a field may have."""

    segment: str
    field: int
    component: int
    value: re.Pattern[str]


FieldName = Annotated[str, Field(pattern=r"^(IPC|OBR|ORC|ZDS)-[0-9]{1,2}$")]


class Sender(_Strict):
    """One sender: a RIS by MSH-3|MSH-4, a modality or PACS by its AE title (``title`` or
    ``title@address``).

    Attributes:
        addresses: from where it speaks HL7 (addresses or networks), and `certificates`: of whom
            (common name, DNS name, or ``sha256:…``), at a door that asks for them. Where one is
            listed nobody else may call himself by its names, and without one it only may order.
        issuer: authority of its patient numbers, where a message or an image states none.
        authority: the same for accession and order numbers; empty: they are open.
        patient_authority: of several patient numbers the one of this authority counts.
        charset: of messages that declare none and are not UTF-8, and of bytes that are not what
            they are declared as.
        charset_always: it writes `charset` whatever it declares.
        rights: what it may do.
        silent_after_h: hours without a message or an image after which an alarm says so, at each of
            its doors, until two weeks have shown how long it is silent at which hour.
        not_imaging: what its orders that are no imaging have, as ``OBR-24=LAB|HM``: they stay off
            the list until an image, a step, a report or a link names their number.
        segments: names of segments that it made up without a Z.
        tokens_sha256: hex digests of its bearer tokens at the HTTP door.
        kind: whether it makes images, keeps them, or both.
    """

    name: str = "default"
    hl7: tuple[str, ...] = ()
    addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    certificates: tuple[str, ...] = ()
    tokens_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    ae: tuple[str, ...] = ()
    issuer: str = ""
    authority: str = ""
    patient_authority: str = ""
    kind: Literal["modality", "archive", "mixed"] = "mixed"
    site: str = ""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    charset: Annotated[str, AfterValidator(_charset)] = "ISO-8859-1"
    charset_always: bool = False
    segments: tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{2}$")], ...] = ()
    rights: tuple[Right, ...] = ("order",)
    silent_after_h: float = Field(12, gt=0)
    not_imaging: tuple[Annotated[str, Field(pattern=_RULE.pattern)], ...] = ()
    accession: tuple[FieldName, ...] = Field(
        ("IPC-1", "OBR-18", "OBR-3", "ORC-3", "OBR-2", "ORC-2"), min_length=1
    )

    @model_validator(mode="after")
    def _ends_only_what_is_proved(self) -> Sender:
        more = sorted(set(self.rights) - {"order"})
        if more and not (self.addresses or self.certificates or self.tokens_sha256):
            raise ValueError(
                f"rights {', '.join(more)}: need `addresses`, `certificates` or `tokens_sha256`, "
                "or anybody may call himself by its names"
            )
        return self

    @property
    def doors(self) -> tuple[str, ...]:
        """Those at which it is expected: it is told of there even before it spoke."""
        named = {"mllp": self.hl7, "dicom": self.ae, "http": self.tokens_sha256}
        return tuple(door for door, names in named.items() if names)

    @cached_property
    def _networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(text) for text in self.addresses]

    def speaks_from(self, address: str) -> bool:
        """Whether it lists this address."""
        heard = self._heard
        if address not in heard:
            if len(heard) >= _CALLERS:
                heard.clear()
            heard[address] = any(ip_address(address) in network for network in self._networks)
        return heard[address]

    @cached_property
    def _heard(self) -> dict[str, bool]:
        return {}

    def proved_by(self, address: str, names: Collection[str]) -> bool:
        """Whether who comes from this address, with a certificate of these names, is it."""
        if self.certificates and names:
            return not set(names).isdisjoint(self.certificates)
        return self.speaks_from(address)

    @cached_property
    def not_imaging_rules(self) -> tuple[FieldRule, ...]:
        """`not_imaging`, read."""
        found = (_RULE.fullmatch(rule) for rule in self.not_imaging)
        return tuple(
            FieldRule(rule[1], int(rule[2]), int(rule[3] or 1), _any_of(rule[4]))
            for rule in found
            if rule
        )

    @cached_property
    def accession_fields(self) -> tuple[tuple[str, int], ...]:
        """`accession` as segment and field."""
        pairs = (name.split("-") for name in self.accession)
        return tuple((segment, int(field)) for segment, field in pairs)


class Procedure(_Strict):
    """What one local procedure code means."""

    modality: str = ""
    body_part: str = ""
    subspecialty: str = ""


class Codes(_Strict):
    """Local codes. The order of `priority` is the order of urgency, most urgent first.

    Of `report` (OBR-25) ``none`` is no report yet, and ``reading``: somebody has opened the study
    elsewhere. No code of HL7's own says that (table 0123 knows only results; *IP* in ORC-5, table
    0038, is an exam under way), so that it is a word of the site's.
    """

    priority: dict[str, str] = {}
    location: dict[str, str] = {}
    modality: dict[str, str] = {}
    report: dict[
        str,
        Literal["preliminary", "final", "corrected", "addendum", "withdrawn", "none", "reading"],
    ] = {}
    procedures: dict[str, Procedure] = {}

    def worst(self, codes: Iterable[str]) -> str:
        """The most urgent class among `codes`; ``unknown`` when none is in the table (never routine
        by default).
        """
        ranks = [rank for code in codes if (rank := self._urgency.get(code.upper())) is not None]
        return min(ranks)[1] if ranks else "unknown"

    @cached_property
    def _urgency(self) -> dict[str, tuple[int, str]]:
        """By code its place in the table and its class."""
        found: dict[str, tuple[int, str]] = {}
        for place, (code, meaning) in enumerate(self.priority.items()):
            found.setdefault(code.upper(), (place, meaning))
        return found


class Site(_Strict):
    """Senders and codes of one site."""

    senders: tuple[Sender, ...]
    default: Sender
    accept_unknown: bool
    codes: Codes
    authorities: Authorities = Authorities()

    def sender_for_hl7(self, application: str, facility: str) -> Sender:
        """Who sends as MSH-3 `application`, MSH-4 `facility`. Raises Refuse `unknown_sender` where
        the site says so.
        """
        return self._find(f"{application}|{facility}", "hl7", "MSH-3")

    def speaker(
        self, application: str, facility: str, address: str, names: Collection[str]
    ) -> tuple[Sender, bool]:
        """Who sends as MSH-3 `application`, MSH-4 `facility`, and whether that is proved.

        Raises:
            Refuse: `unknown_sender` where the site does not know those names, or knows that they
                are somebody else's.
        """
        sender = self.sender_for_hl7(application, facility)
        if sender.proved_by(address, names):
            return sender, True
        others = any(other.proved_by(address, names) for other in self.senders)
        if sender.addresses or sender.certificates or others:
            raise Refuse(Reason.UNKNOWN_SENDER, "MSH-3")
        return sender, False

    def lists(self, address: str) -> bool:
        """Whether some sender lists this address."""
        return any(sender.speaks_from(address) for sender in (*self.senders, self.default))

    def sender_for_ae(self, ae_title: str, address: str) -> Sender:
        """Who calls as `ae_title` from `address`. Raises Refuse `unknown_sender` where the site
        says so.
        """
        try:
            return self._find(f"{ae_title}@{address}", "ae", "")
        except Refuse:
            return self._find(ae_title, "ae", "calling AE title")

    def sender_for_token(self, token: str) -> Sender:
        """Whose bearer token it is. Raises Refuse `unknown_sender`."""
        found = hashlib.sha256(token.encode()).hexdigest()
        for sender in self.senders:
            if any(hmac.compare_digest(found, known) for known in sender.tokens_sha256):
                return sender
        raise Refuse(Reason.UNKNOWN_SENDER, "token")

    def sender_for_certificate(self, names: Collection[str]) -> Sender:
        """Which sender names the certificate as its own. Raises Refuse `unknown_sender`."""
        for sender in self.senders:
            if set(names) & set(sender.certificates):
                return sender
        raise Refuse(Reason.UNKNOWN_SENDER, "certificate")

    def _find(self, caller: str, kind: str, where: str) -> Sender:
        called = self._called
        if (caller, kind) not in called:
            if len(called) >= _CALLERS:
                called.clear()
            called[caller, kind] = self._named(caller, kind)
        if sender := called[caller, kind]:
            return sender
        if not self.accept_unknown or not where:
            raise Refuse(Reason.UNKNOWN_SENDER, where)
        return self.default

    @cached_property
    def _called(self) -> dict[tuple[str, str], Sender | None]:
        return {}

    def _named(self, caller: str, kind: str) -> Sender | None:
        for sender in self.senders:
            if any(fnmatchcase(caller, name) for name in getattr(sender, kind)):
                return sender
        return None


def load_site(folder: Path) -> Site:
    """The senders and codes in `folder`.

    Raises:
        Misconfigured: a file is missing, is not TOML, or says what the schema does not know; the
            text names file and field.
    """
    senders, codes = _table(folder / "senders.toml"), _table(folder / "codes.toml")
    default = {"name": "default", **_mapping(senders.pop("default", {}), "senders.toml")}
    named = _mapping(senders.pop("senders", {}), "senders.toml")
    accept = senders.pop("accept_unknown", False)
    if senders:
        raise Misconfigured(f"senders.toml: {', '.join(sorted(senders))}: no such setting")
    return Site(
        senders=tuple(
            _make(
                Sender, {**default, **_mapping(table, "senders.toml"), "name": name}, "senders.toml"
            )
            for name, table in named.items()
        ),
        default=_make(Sender, default, "senders.toml"),
        accept_unknown=bool(accept),
        codes=_make(Codes, codes, "codes.toml"),
        authorities=_authorities(folder / "authorities.toml"),
    )


def _authorities(file: Path) -> Authorities:
    """The site's authorities; a site that needs none has no such file."""
    return _make(Authorities, _table(file), file.name) if file.exists() else Authorities()


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise Misconfigured(
            f"{file.name}: cannot be read from {file.parent} ({error.strerror}): "
            "VIGIE_SITE names the site's folder"
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{file.name}: is no TOML: {error}") from None


def _mapping(value: object, file: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Misconfigured(f"{file}: a table was expected")
    return value


def _make(kind: type[Model], values: Mapping[str, Any], file: str) -> Model:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise Misconfigured(f"{file}: {wrong}") from None
