"""The site's senders and codes: who may send, and what their words mean here."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from streams.errors import Misconfigured, Reason, Refuse

Model = TypeVar("Model", bound=BaseModel)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError):
        raise ValueError("no IANA time zone") from None
    return name


def _charset(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("no character set") from None


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


FieldName = Annotated[str, Field(pattern=r"^(IPC|OBR|ORC|ZDS)-[0-9]{1,2}$")]


class Sender(_Strict):
    """One sender: a RIS by MSH-3|MSH-4, a modality or PACS by its AE title (``title`` or
    ``title@address``).
    """

    name: str = "default"
    hl7: tuple[str, ...] = ()
    ae: tuple[str, ...] = ()
    issuer: str = ""
    site: str = ""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    charset: Annotated[str, AfterValidator(_charset)] = "ISO-8859-1"
    closes: bool = False
    accession: tuple[FieldName, ...] = Field(
        ("IPC-1", "OBR-18", "OBR-3", "ORC-3", "OBR-2", "ORC-2"), min_length=1
    )


class Procedure(_Strict):
    """What one local procedure code means."""

    modality: str = ""
    body_part: str = ""
    subspecialty: str = ""


class Codes(_Strict):
    """Local codes. The order of `priority` is the order of urgency, most urgent first."""

    priority: dict[str, str] = {}
    location: dict[str, str] = {}
    modality: dict[str, str] = {}
    report: dict[str, Literal["preliminary", "final", "corrected", "cancelled", "none"]] = {}
    procedures: dict[str, Procedure] = {}

    def worst(self, codes: tuple[str, ...]) -> str:
        """The most urgent class among `codes`; ``unknown`` when none is in the table (never routine
        by default).
        """
        given = {code.upper() for code in codes if code}
        return next(
            (meaning for code, meaning in self.priority.items() if code.upper() in given), "unknown"
        )


class Site(_Strict):
    """Senders and codes of one site."""

    senders: tuple[Sender, ...]
    default: Sender
    accept_unknown: bool
    codes: Codes

    def sender_for_hl7(self, application: str, facility: str) -> Sender:
        """Who sends as MSH-3 `application`, MSH-4 `facility`. Raises Refuse `unknown_sender` where
        the site says so.
        """
        return self._find(f"{application}|{facility}", "hl7", "MSH-3")

    def sender_for_ae(self, ae_title: str, address: str) -> Sender:
        """Who calls as `ae_title` from `address`. Raises Refuse `unknown_sender` where the site
        says so.
        """
        try:
            return self._find(f"{ae_title}@{address}", "ae", "")
        except Refuse:
            return self._find(ae_title, "ae", "calling AE title")

    def _find(self, caller: str, kind: str, where: str) -> Sender:
        for sender in self.senders:
            if any(fnmatchcase(caller, name) for name in getattr(sender, kind)):
                return sender
        if not self.accept_unknown or not where:
            raise Refuse(Reason.UNKNOWN_SENDER, where)
        return self.default


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
    )


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
