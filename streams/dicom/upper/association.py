"""One association of PS3.8: who calls, what is agreed on, its messages, its end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from streams.dicom.upper import commands, pdu
from streams.dicom.upper.admission import Place
from streams.dicom.upper.commands import Answer, Command
from streams.dicom.upper.pdu import Context, Request
from streams.dicom.upper.wire import Wire
from streams.errors import Reason, Refuse

Caller = TypeVar("Caller")
#: Result, source and reason of a rejection (PS3.8 Table 9-21): permanent, but for a limit of ours.
REJECTIONS = {
    Reason.UNKNOWN_SENDER: (1, 1, 3),
    Reason.NOT_AUTHORISED: (1, 1, 3),
    Reason.WRONG_CALLED_AE: (1, 1, 7),
    Reason.OVERLOADED: (2, 3, 2),
}
_UNEXPECTED, _INVALID = 2, 6  # reasons of an A-ABORT (PS3.8 Table 9-26)
#: A request is to be whole so soon, and the longest silence inside a message, seconds.
REQUEST_S, _SILENCE_S = 10.0, 30.0


@dataclass(frozen=True)
class Peer:
    """Who has connected: its place, with its address, and the names in its certificate; None at a
    door that asks for none.
    """

    place: Place
    names: frozenset[str] | None = None


class Incoming(Protocol):
    """The data set of one request, on its way."""

    def write(self, chunk: memoryview) -> None:
        """The next bytes, valid during the call. Raises nothing: `end` tells what was wrong."""

    def end(self) -> Answer:
        """It is whole: what to answer."""

    def cancel(self) -> None:
        """It will never be whole."""


class Called(Protocol[Caller]):
    """The side that is called."""

    def admits(self, request: Request, peer: Peer) -> Caller:
        """Raises Refuse where it does not."""

    def agrees(self, proposed: Context) -> tuple[int, str]:
        """The result of a proposed context, and its transfer syntax where it is accepted."""

    def takes(self, caller: Caller, command: Command, context: Context) -> Incoming:
        """A request begins."""

    def over(self, caller: Caller) -> None:
        """The caller brings nothing more; may be said twice."""

    def ended(self, caller: Caller) -> None:
        """The association is over; said once."""


class Association(Generic[Caller]):
    """Serves one connection, in its own thread.

    Args:
        idle_s: silence between two messages after which it is ended, seconds.
    """

    def __init__(self, wire: Wire, peer: Peer, called: Called[Caller], idle_s: float) -> None:
        self._wire, self._peer, self._called, self._idle_s = wire, peer, called, idle_s
        self._contexts: dict[int, Context] = {}
        self._max_data = 0

    def serve(self) -> None:
        """Until its end. Raises Refuse after the caller was told, wire's Closed, or OSError."""
        request, titles, caller = self._admitted()
        try:
            self._accept(request, titles)
            while self._next(caller):
                pass
        except Refuse as refusal:
            if refusal.reason is not Reason.TOO_SLOW or refusal.where != "answer":
                self._wire.send(pdu.abort(_INVALID))
            raise
        finally:
            self._called.over(caller)
            self._called.ended(caller)

    def _admitted(self) -> tuple[Request, bytes, Caller]:
        """What is asked for, bytes 4-67 of it, which an acceptance repeats, and who asks."""
        self._wire.waits(REQUEST_S)
        self._wire.begins(REQUEST_S)
        kind, length = pdu.HEAD.unpack(self._wire.take(pdu.HEAD.size))
        if kind != pdu.ASSOCIATE or length > pdu.MAX_REQUEST:
            self._wire.send(pdu.abort(_UNEXPECTED))
            raise Refuse(Reason.NOT_DICOM, "association request")
        body = bytes(self._wire.take(length))
        try:
            request = pdu.read_request(body)
            caller = self._called.admits(request, self._peer)
        except Refuse as refusal:
            rejection = REJECTIONS.get(refusal.reason)
            self._wire.send(pdu.reject(*rejection) if rejection else pdu.abort(_INVALID))
            raise
        return request, body[4:68], caller

    def _accept(self, request: Request, titles: bytes) -> None:
        results = {}
        for proposed in request.contexts:
            result, transfer = self._called.agrees(proposed)
            results[proposed.number] = (result, transfer)
            if result == pdu.ACCEPTED:
                agreed = Context(proposed.number, proposed.abstract, (transfer,))
                self._contexts[proposed.number] = agreed
        self._max_data = request.max_data
        self._wire.send(pdu.accept(titles, results))
        self._wire.limit(_SILENCE_S)

    def _next(self, caller: Caller) -> bool:
        """The next message, or the end."""
        self._wire.waits(self._idle_s)
        self._wire.begins()
        kind, length = pdu.HEAD.unpack(self._wire.take(pdu.HEAD.size))
        if kind == pdu.ABORT:
            return False
        if kind == pdu.RELEASE:
            self._called.over(caller)  # before the sender closes its connection
            self._wire.send(pdu.RELEASED)
            return False
        reader = _Fragments(self._wire, kind, length)
        number, body = reader.command()
        command = commands.read(body)
        context = self._contexts.get(number)
        if context is None:
            raise Refuse(Reason.NOT_DICOM, "presentation context")
        if command.field == commands.CANCEL:
            return True
        incoming = self._called.takes(caller, command, context)
        with ExitStack() as given_up:
            given_up.callback(incoming.cancel)
            if command.has_data:
                reader.data(number, incoming)
            given_up.pop_all()
        answer = commands.response(command, incoming.end())
        self._wire.send(pdu.command(number, answer, self._max_data))
        return True


class _Fragments:
    """The presentation data values of one message (PS3.8 §9.3.5, Annex E.2)."""

    def __init__(self, wire: Wire, kind: int, length: int) -> None:
        self._wire = wire
        self._left = 0  # bytes of this PDU
        self._begin(kind, length)

    def _begin(self, kind: int, length: int) -> None:
        if kind != pdu.DATA:
            raise Refuse(Reason.NOT_DICOM, "pdu")
        # A header may claim 4 GiB; ours said how long a PDU may be.
        if not 6 <= length <= 2 * pdu.MAX_DATA:
            raise Refuse(Reason.TOO_LARGE, "pdu")
        self._left = length

    def _value(self) -> tuple[int, int, int]:
        """Length, context and control header of the next value."""
        if self._left == 0:
            self._begin(*pdu.HEAD.unpack(self._wire.take(pdu.HEAD.size)))
        if self._left < 6:
            raise Refuse(Reason.NOT_DICOM, "pdv")
        head = self._wire.take(6)
        length, number, control = int.from_bytes(head[:4], "big") - 2, head[4], head[5]
        self._left -= 6
        if not 0 <= length <= self._left:
            raise Refuse(Reason.NOT_DICOM, "pdv")
        self._left -= length
        return length, number, control

    def command(self) -> tuple[int, bytes]:
        """Context and bytes of the command set."""
        body = b""
        while True:
            length, number, control = self._value()
            if not control & 1 or len(body) + length > commands.MAX_BYTES:
                raise Refuse(Reason.NOT_DICOM, "command")
            body += bytes(self._wire.take(length))
            if control & 2:
                return number, body

    def data(self, context: int, incoming: Incoming) -> None:
        """The data set, as it comes."""
        while True:
            length, number, control = self._value()
            if control & 1 or number != context:
                raise Refuse(Reason.NOT_DICOM, "data set")
            while length:
                piece = self._wire.some(length)
                length -= len(piece)
                incoming.write(piece)
            if control & 2:
                return
