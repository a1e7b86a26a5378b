"""Whom a FHIR resource names, and by which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streams.dicom import gate
from streams.events import Number, NumberKind
from streams.http import fhir_tables as tables
from streams.http.making import Request
from streams.sealed import Identity

Resource = Mapping[str, Any]
_UID_SYSTEM, _OID = "urn:dicom:uid", "urn:oid:"
_TEXT = 256


def _authority(identifier: Resource) -> tuple[str, str]:
    system = identifier.get("system") or ""
    assigner = (identifier.get("assigner") or {}).get("display") or ""
    return system.removeprefix(_OID), assigner


def _kinds(identifier: Resource) -> set[str]:
    """Codes of its type, of whatever system."""
    codings = (identifier.get("type") or {}).get("coding") or ()
    return {coding.get("code") or "" for coding in codings} - {""}


def _over(stated: Resource, request: Request) -> bool:
    """Whether an identifier or a name is one that somebody had before."""
    end = str((stated.get("period") or {}).get("end") or "")
    today = request.received_at.date().isoformat()
    return stated.get("use") == "old" or bool(end and end[:10] < today[: len(end)])


def numbers_of(
    identifiers: Iterable[Resource], request: Request, untyped: NumberKind | None
) -> list[Number]:
    """The numbers of orders and studies that identifiers state; one without type is of the kind
    `untyped`. Raises Refuse.
    """
    found: list[Number | None] = []
    for identifier in identifiers:
        value = identifier.get("value") or ""
        if identifier.get("system") == _UID_SYSTEM:
            found.append(_uid(value))
            continue
        kinds = _kinds(identifier)
        known = (kind for code, kind in tables.IDENTIFIERS.items() if code in kinds)
        kind = next(known, None if kinds else untyped)
        if kind and value:
            found.append(request.number(kind, value, *_authority(identifier), where="identifier"))
    return list(dict.fromkeys(number for number in found if number is not None))


def _uid(value: str) -> Number:
    """Raises Refuse `bad_uid`."""
    uid = gate.uid(value.removeprefix(_OID).encode(), "identifier")
    return Number(kind="study", value=uid)


def patient_number(identifiers: list[Resource], request: Request, where: str) -> tuple[str, str]:
    """The number that counts, of those that are in use: of the sender's authority, else of type MR
    or PI, else the first.
    """
    canonical = request.site.authorities.canonical
    wanted = canonical(request.sender.patient_authority)
    stated = [one for one in identifiers if one.get("value") and not _over(one, request)]
    chosen = next(
        (one for one in stated if wanted and canonical(*_authority(one)) == wanted),
        None,
    ) or next((one for one in stated if _kinds(one) & {"MR", "PI"}), stated[0] if stated else None)
    if chosen is None:
        return "", ""
    return request.patient_number(chosen["value"], *_authority(chosen), where=where)


def identity_of(patient: Resource, request: Request) -> Identity:
    """Who a Patient is; what it does not mention is None."""
    value, issuer = patient_number(patient.get("identifier") or [], request, "Patient.identifier")
    name = min(
        patient.get("name") or (),
        key=lambda one: (_over(one, request), tables.NAME_USE.index(one.get("use") or "")),
        default=None,
    )
    text = None
    if name is not None:
        given = " ".join(part for part in name.get("given") or () if part)
        text = f"{name.get('family') or ''}^{given}".rstrip("^") or name.get("text")
    born = (patient.get("birthDate") or "").replace("-", "")
    return Identity(
        patient_id=value,
        issuer=issuer,
        name=text[:_TEXT] if text else None,
        birth_date=request.site.authorities.birth_date(born),
        sex=tables.GENDER.get(patient.get("gender") or ""),
    )
