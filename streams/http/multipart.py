"""Parts of a multipart/related body (RFC 2046, RFC 2387), handed on as they come."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from streams.errors import Reason, Refuse

_LONGEST_HEAD = 8 * 1024  # bytes of a part's own headers
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_TYPE = re.compile(r'type="?application/dicom"?\s*(;|$)', re.IGNORECASE)


@dataclass(frozen=True)
class Begin:
    """A part begins; its media type, lower case, without parameters."""

    kind: str


@dataclass(frozen=True)
class End:
    """A part is whole."""


Piece = Begin | bytes | End


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart/related of DICOM files. Raises Refuse
    `unsupported_transfer_syntax` (another media type) or `bad_request`.
    """
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/related" or not _TYPE.search(rest):
        raise Refuse(Reason.UNSUPPORTED_SYNTAX, "Content-Type")
    match = _BOUNDARY.search(rest)
    if not match:
        raise Refuse(Reason.BAD_REQUEST, "boundary")
    return match[1].encode("latin_1", "replace")


async def parts(body: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[Piece]:
    """Begin, bytes … and End of each part. Holds no more than a piece of the body and a delimiter.

    Raises:
        Refuse: `bad_request` where the body is no such multipart, or is cut off.
    """
    mark = b"\r\n--" + boundary
    held = b"\r\n"  # so that the first delimiter is found as the others are
    inside = False
    async for piece in body:
        held += piece
        while True:
            at, rest = _delimiter(held, mark)
            if at < 0:
                keep = min(len(held), len(mark) + 1)
                if inside and len(held) > keep:
                    yield held[:-keep]
                held = held[len(held) - keep :]
                break
            ends = rest.startswith(b"--")
            if not ends and b"\r\n\r\n" not in rest:
                if len(rest) > _LONGEST_HEAD:
                    raise Refuse(Reason.BAD_REQUEST, "part")
                break
            if inside:
                yield held[:at]
                yield End()
                inside = False
            if ends:
                async for _ in body:  # an epilogue says nothing
                    pass
                return
            head, _, held = rest.partition(b"\r\n\r\n")
            inside = True
            yield Begin(_kind(head))
    raise Refuse(Reason.BAD_REQUEST, "multipart")


def _delimiter(held: bytes, mark: bytes) -> tuple[int, bytes]:
    """Where the first delimiter stands, and what follows it; -1 where none is whole. The same bytes
    followed by others than a line's end or ``--`` are data.
    """
    at = held.find(mark)
    while at >= 0:
        rest = held[at + len(mark) :]
        if len(rest) < 2:
            return -1, b""
        if rest.startswith((b"--", b"\r\n", b" ", b"\t")):
            return at, rest
        at = held.find(mark, at + 1)
    return -1, b""


def _kind(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return value.split(b";")[0].strip().decode("latin_1").lower()
    return ""
