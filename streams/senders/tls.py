"""TLS of a door: its own certificate, and the certificates that its own CA gave to its senders."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streams.errors import Misconfigured


def server_context(
    door: str, certificate: Path | None, key: Path | None, authority: Path | None
) -> ssl.SSLContext | None:
    """Mutual TLS (IHE ATNA) of one door; None where it has no certificate.

    Args:
        door: how its settings begin (``VIGIE_DICOM_TLS``).
        authority: the CA of its senders. Without one there would be nobody to let in.

    Raises:
        Misconfigured: a file cannot be used, or one of the three is missing.
    """
    given = (certificate, key, authority)
    if not any(given):
        return None
    if certificate is None or key is None or authority is None:
        raise Misconfigured(
            f"{door}_CERT, {door}_KEY, {door}_CA: one of them is not set, and a door that is half "
            "protected does not open: set all three, or none"
        )
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        context.load_cert_chain(certificate, key)
    except OSError as error:  # an SSLError is one too
        raise Misconfigured(
            f"{door}_CERT, {door}_KEY, {door}_CA: a file cannot be used "
            f"({error.strerror or type(error).__name__}): each is PEM, readable by this user"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def handshake(failed: Callable[[], None]) -> type[ssl.SSLObject]:
    """What asyncio reads TLS by, which says when a handshake fails: asyncio tells nobody."""

    class Told(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # it goes on
                raise
            except ssl.SSLError:
                failed()
                raise

    return Told


def names_in(connection: ssl.SSLObject | ssl.SSLSocket) -> frozenset[str]:
    """Whom the certificate names that the other end proved to have: common names, alternative
    names, and ``sha256:…`` of the whole; none where it showed none.
    """
    raw, told = connection.getpeercert(binary_form=True), connection.getpeercert()
    if not raw or not told:
        return frozenset()
    parts: Mapping[str, Any] = told
    subject = [pair for part in parts.get("subject", ()) for pair in part]
    found = {str(value) for name, value in subject if name == "commonName"}
    found |= {str(value) for _, value in parts.get("subjectAltName", ())}
    return frozenset({*found, f"sha256:{hashlib.sha256(raw).hexdigest()}"})
