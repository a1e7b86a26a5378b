"""Keyed pseudonyms: what topics are keyed by. A hint for locality and nothing more."""

from __future__ import annotations

import hashlib
import hmac


def pseudonym(secret: bytes, kind: str, *parts: str) -> str:
    """32 hex digits that stand for `parts`; `kind` keeps patients, accessions and UIDs apart."""
    message = "\x1f".join((kind, *(part.strip() for part in parts))).encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]


def patient_pseudonym(secret: bytes, issuer: str, patient_id: str) -> str | None:
    """The pseudonym of a patient, or None when the sender gives no id."""
    return pseudonym(secret, "patient", issuer, patient_id) if patient_id.strip() else None


def topic_key(
    secret: bytes, *, accessions: tuple[str, ...], study_uids: tuple[str, ...], patient: str | None
) -> str:
    """The key of an event: of its study where it names one (accession first, else UID), else of its
    patient.
    """
    if accessions:
        return pseudonym(secret, "accession", min(accessions))
    if study_uids:
        return pseudonym(secret, "study", min(study_uids))
    return patient or pseudonym(secret, "none")


def digest(*parts: bytes) -> str:
    """32 hex digits of SHA-256 over length-framed `parts`: event ids and version digests."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()[:32]
