"""``VIGIE_ARCHIVE`` becomes an archive that can be asked, and says whose rules it follows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from streams.archive.asked import Archive
from streams.archive.find import FindArchive
from streams.archive.qido import QidoArchive
from streams.errors import Misconfigured
from streams.health import is_loopback
from streams.settings import StreamsSettings


@dataclass(frozen=True)
class Address:
    """An archive, and the AE title and host by which the site's folder knows its sender."""

    title: str
    host: str
    archive: Archive


def address_of(settings: StreamsSettings) -> Address:
    """The archive of the settings: ``AE@host:port`` by C-FIND, ``AE@https://…`` by QIDO-RS. Raises
    Misconfigured.
    """
    title, _, address = settings.archive.partition("@")
    if title and address.startswith(("https://", "http://")):
        return _dicomweb(title, address, settings)
    host, _, port = address.rpartition(":")
    if not (title and host and port.isdigit() and "/" not in host):
        raise Misconfigured(
            f"VIGIE_ARCHIVE: {settings.archive!r} is neither AE@host:port, as PACS@10.0.0.7:104, "
            "nor AE@URL, as PACS@https://pacs.example/dicom-web"
        )
    host = host.strip("[]")
    return Address(title, host, FindArchive(title, host, int(port), settings.ae_title))


def _dicomweb(title: str, url: str, settings: StreamsSettings) -> Address:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # a port that is none, brackets that do not close
        host = ""
    if not host or not url.isascii() or parts.query or parts.fragment or parts.username:
        raise Misconfigured(
            "VIGIE_ARCHIVE: its URL has a host, perhaps a port and a path, and nothing else; "
            "a password stands in VIGIE_ARCHIVE_AUTHORIZATION"
        )
    authorization = settings.archive_authorization.get_secret_value()
    if authorization and parts.scheme == "http" and not (is_loopback(host) or settings.insecure):
        raise Misconfigured(
            "VIGIE_ARCHIVE_AUTHORIZATION: would be sent in clear: VIGIE_ARCHIVE needs https"
        )
    if not (authorization.isascii() and authorization.isprintable()):
        raise Misconfigured("VIGIE_ARCHIVE_AUTHORIZATION: is no value of a header")
    try:
        tls = ssl.create_default_context(cafile=settings.archive_ca)
    except OSError as error:  # an SSLError is one too
        raise Misconfigured(
            f"VIGIE_ARCHIVE_CA: cannot be used ({error.strerror or type(error).__name__}): it is "
            "PEM, readable by this user"
        ) from None
    return Address(title, host, QidoArchive(url.rstrip("/"), authorization, tls))
