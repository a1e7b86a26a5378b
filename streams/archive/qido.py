"""An archive asked by QIDO-RS (PS3.18 §10.6), a page at a time."""

from __future__ import annotations

import http.client
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from streams.archive.asked import CHARSET, ISSUERS, KEYS, MOST, STUDY, WAIT_S
from streams.errors import Reason, Unavailable

_PAGE = 500  # studies
_MAX_BYTES = 32 * 1024 * 1024  # of a page
_MAX_VALUE = 10_240  # characters: the longest text of DICOM
_UTF_8, _ITEM = b"ISO_IR 192", 0xFFFEE000


@dataclass(frozen=True)
class QidoArchive:
    """DICOMweb at `url`.

    Args:
        authorization: value of the header, empty: none.
        tls: of https.
    """

    url: str
    authorization: str
    tls: ssl.SSLContext

    def studies(self, since: date, until: date) -> Iterator[bytes]:
        """As `Archive.studies`."""
        told: set[str] = set()
        asked = 0
        while True:  # until there is nothing new: an archive may give less than it was asked for
            page = self._page(since, until, asked)
            asked += len(page)
            before = len(told)
            for study in page:
                uid = "\\".join(_texts(study, STUDY))
                if uid not in told:
                    told.add(uid)
                    yield encoded(study)
            if len(told) == before:
                return
            if asked > MOST:
                raise Unavailable(Reason.ARCHIVE_DOWN, "QIDO-RS")

    def _page(self, since: date, until: date, offset: int) -> list[Any]:
        asked = [
            ("StudyDate", f"{since:%Y%m%d}-{until:%Y%m%d}"),
            *(("includefield", f"{tag:08X}") for tag in KEYS),
            ("limit", str(_PAGE)),
            ("offset", str(offset)),
        ]
        try:
            status, body = self._get(f"/studies?{urlencode(asked)}")
        except (OSError, http.client.HTTPException):
            raise Unavailable(Reason.ARCHIVE_DOWN, "connection") from None
        if status == http.client.NO_CONTENT:
            return []
        if status != http.client.OK:
            raise Unavailable(Reason.ARCHIVE_DOWN, f"QIDO-RS {status}")
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Unavailable(Reason.ARCHIVE_DOWN, "QIDO-RS JSON") from None
        if not isinstance(found, list):
            raise Unavailable(Reason.ARCHIVE_DOWN, "QIDO-RS JSON")
        return found

    def _get(self, query: str) -> tuple[int, bytes]:
        """Status and body. Raises OSError, HTTPException, Unavailable."""
        parts = urlsplit(self.url)
        host, path = parts.hostname or "", parts.path.rstrip("/") + query
        headers = {"Accept": "application/dicom+json"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=WAIT_S, context=self.tls)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=WAIT_S)
        )
        end = time.monotonic() + WAIT_S
        try:
            connection.request("GET", path, headers=headers)
            answer, body = connection.getresponse(), bytearray()
            while piece := answer.read1(64 * 1024):
                body += piece
                if len(body) > _MAX_BYTES or time.monotonic() > end:
                    raise Unavailable(Reason.ARCHIVE_DOWN, "QIDO-RS answer")
            return answer.status, bytes(body)
        finally:
            connection.close()


def encoded(study: Any) -> bytes:
    """What is asked for of one study (PS3.18 §F.2), whatever the JSON: implicit VR little endian,
    in UTF-8.
    """
    data = _element(CHARSET, _UTF_8)
    for tag in sorted({STUDY, *KEYS}):
        if tag not in ISSUERS:
            data += _element(tag, _value(study, tag))
            continue
        items = (
            b"".join(_element(inner, _value(item, inner)) for inner in ISSUERS[tag])
            for item in _values(study, tag)
        )
        data += _element(tag, b"".join(_element(_ITEM, item) for item in items))
    return data


def _element(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _value(item: Any, tag: int) -> bytes:
    return "\\".join(_texts(item, tag))[:_MAX_VALUE].encode("utf-8", "replace")


def _texts(item: Any, tag: int) -> list[str]:
    """The values as text; of a name its groups."""
    found: list[str] = []
    for value in _values(item, tag):
        if isinstance(value, dict):
            groups = (value.get(name) for name in ("Alphabetic", "Ideographic", "Phonetic"))
            value = "=".join(group if isinstance(group, str) else "" for group in groups)
            value = value.rstrip("=")
        if isinstance(value, str | int | float):
            found.append(str(value))
    return found


def _values(item: Any, tag: int) -> list[Any]:
    element = item.get(f"{tag:08X}") if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[:100] if isinstance(values, list) else []
