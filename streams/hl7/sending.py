"""A small sender for integrators: files over MLLP, and what was answered."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streams.errors import VigieError
from streams.hl7.answers import codes_of
from streams.hl7.text.message import parse, parts_of, peek
from streams.hl7.wire.framing import CR, FS, VT, frame
from streams.senders.site import Sender

_ANSWER_S = 30.0
#: A message that asks for an answer on errors alone has none so soon where it was taken.
_SILENCE_S = 2.0
#: The code of a message that asked for no answer (MSH-15, MSH-16), and got none.
NOT_ASKED = "NE"
#: Within a text the same byte is none (`streams.hl7.wire.framing`).
_END = re.compile(rb"\x1c(?=[\r\n\x00\x0b\x1c]|\Z)")
_MSA = re.compile(rb"(?:^|\r)MSA.(\w\w).([^\r]*)")


class Answer(NamedTuple):
    """What was answered to one message; `code` is empty where nothing was."""

    control_id: str
    code: str
    text: str

    @property
    def positive(self) -> bool:
        """Whether the message was taken."""
        return self.code in ("AA", "CA", NOT_ASKED)


def messages_in(file: Path) -> list[bytes]:
    """The messages of a file: framed or not, one or many. Raises OSError."""
    raw = file.read_bytes()
    framed = [part.lstrip(VT + b"\r\n") for part in _END.split(raw) if part.strip(VT + b"\r\n")]
    return [message for part in framed for message in parts_of(part) or [part]]


def send(messages: list[bytes], host: str, port: int) -> Iterator[tuple[bytes, Answer]]:
    """Sends each message when the one before was answered. Raises OSError."""
    with socket.create_connection((host, port), timeout=_ANSWER_S) as connection:
        answers = _Answers(connection)
        for message in messages:
            connection.sendall(frame(message))
            header = peek(message)
            wanted = bool(codes_of(header, None))
            connection.settimeout(_ANSWER_S if wanted else _SILENCE_S)
            try:
                answer = answers.of(header.sent[3])
            except TimeoutError:
                if wanted:
                    raise
                answer = Answer(header.control_id, NOT_ASKED, "no answer was asked for")
            yield message, answer


class _Answers:
    """What comes back on a connection, one answer at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self._before = ""

    def of(self, control_id: str) -> Answer:
        """The first answer to this message; what is left of those to the one before is passed
        over: in enhanced mode there are two.
        """
        while True:
            found = _answer(self._next())
            stale = found.control_id == self._before != control_id
            if not stale or not found.control_id:
                self._before = control_id
                return found

    def _next(self) -> bytes:
        while FS + CR not in self._buffer:
            part = self._connection.recv(65536)
            if not part:
                break
            self._buffer += part
        found, _, self._buffer = self._buffer.partition(FS + CR)
        return found.strip(VT)


def _answer(raw: bytes) -> Answer:
    match = _MSA.search(raw)
    if match is None:
        return Answer("", "", "no answer")
    error = next((line for line in raw.split(b"\r") if line.startswith(b"ERR")), b"")
    control_id, *says = match[2].decode("latin-1").split(chr(match[0][match[0].find(b"MSA") + 3]))
    told = " ".join(filter(None, [*says, error.decode("latin-1")]))
    return Answer(control_id, match[1].decode(), told)


def accession_of(message: bytes) -> str:
    """The accession number that the door will read in it; empty where there is none."""
    try:
        read = parse(message)
    except VigieError:
        return ""
    fields = Sender().accession_fields
    return next((value for name, field in fields if (value := read.text(name, field))), "")
