"""Keyed pseudonyms: what topics are keyed by (a hint for locality, nothing more), and patients."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from streams.events import Number, Patient
from streams.instances import INSTANCE_BYTES

#: By what an event is keyed, best first: what most events of one study have in common.
_KEYED_BY = ("accession", "study", "filler", "placer", "step")


def pseudonym(secret: bytes, kind: str, *parts: str) -> str:
    """32 hex digits that stand for `parts`; `kind` keeps patients, accessions and UIDs apart."""
    message = "\x1f".join((kind, *map(str.strip, parts))).encode()
    return hmac.digest(secret, message, "sha256").hex()[:32]


def instance_name(secret: bytes, sop_uid: str) -> str:
    """The name of an instance in events and in the store: 16 hex digits, keyed."""
    return pseudonym(secret, "instance", sop_uid)[: 2 * INSTANCE_BYTES]


def patient_of(secret: bytes, authority: str, value: str) -> Patient | None:
    """A patient number as it travels, or None when the sender gives none."""
    if not value.strip():
        return None
    return Patient(value=pseudonym(secret, "patient", value), authority=authority)


def topic_key(secret: bytes, numbers: Iterable[Number], patient: Patient | None) -> str:
    """The key of an event: of its study where it names one, else of its patient."""
    named = list(numbers)
    for kind in _KEYED_BY:
        if values := [number.value for number in named if number.kind == kind]:
            return pseudonym(secret, kind, min(values))
    return patient.value if patient else pseudonym(secret, "none")


def digest(*parts: bytes) -> str:
    """32 hex digits of SHA-256 over length-framed `parts`: event ids and version digests."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()[:32]
