"""One instance on its way: from the first byte of a C-STORE into the store, then to its series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from streams import metrics
from streams.dicom import gate, part10
from streams.dicom.agreed import is_storage
from streams.dicom.damaged import salvage
from streams.dicom.headers import Facts, facts
from streams.dicom.patients import SenderLike
from streams.dicom.publishing import SeriesPublisher
from streams.dicom.upper.admission import Admission
from streams.dicom.upper.association import Peer
from streams.dicom.upper.commands import Answer, Command
from streams.dicom.upper.pdu import Context
from streams.errors import Reason, Refuse
from streams.identity.seal import KeyRing
from streams.identity.studykey import instance_name
from streams.senders.authorities import Authorities
from streams.storage.durable import Arriving
from streams.storage.store import Store

SUCCESS = 0x0000
#: Statuses of C-STORE (PS3.4 Table B.2-1, PS3.7 §9.1.1.1.9); what is not here is 0xC000.
STATUS = {
    Reason.STORE_FULL: 0xA700,
    Reason.STORE_FAILED: 0xA700,
    Reason.OVERLOADED: 0xA700,
    Reason.UID_MISMATCH: 0xA900,
    Reason.UNSUPPORTED_SOP_CLASS: 0x0122,
    Reason.UNKNOWN_SENDER: 0x0124,
    Reason.NOT_AUTHORISED: 0x0124,
}
_CANNOT_UNDERSTAND = 0xC000
_DAMAGED = 0xB007  # a warning: kept, though the data set does not match its class


@dataclass
class Caller:
    """Who called, and how many instances of each series it brought."""

    title: str
    sender: SenderLike
    peer: Peer
    brought: dict[str, int] = field(default_factory=dict)


class Refused(Protocol):
    """Where refusals are told: one line, one count."""

    def __call__(self, refusal: Refuse, caller: Caller, status: int) -> None:
        """`status` is the answer's."""


@dataclass(frozen=True)
class Reception:
    """What instances need to be received.

    Attributes:
        most: bytes of the largest instance.
        now: wall clock, aware.
    """

    store: Store
    series: SeriesPublisher
    authorities: Authorities
    ring: KeyRing
    admission: Admission
    most: int
    now: Callable[[], datetime]
    refused: Refused


class Instance:
    """The data set of one C-STORE. It goes to the disk as it comes: nothing of it is held, and what
    cannot be kept is read to its end, so that its sender hears why.

    Args:
        study: the only study that it may be of; empty: any.
    """

    def __init__(
        self,
        reception: Reception,
        caller: Caller,
        command: Command,
        context: Context,
        study: str = "",
    ) -> None:
        self._reception, self._caller, self._study = reception, caller, study
        self._command, self._syntax = command, context.transfers[0]
        self._refusal: Refuse | None = None
        self._damage: Refuse | None = None  # kept, and said not to be whole
        self._file: Arriving | None = None
        self._start = 0
        with self._noting():
            if not is_storage(context.abstract):
                raise Refuse(Reason.UNSUPPORTED_SOP_CLASS)
            if command.sop_class != context.abstract:
                raise Refuse(Reason.UID_MISMATCH, "presentation context")
            gate.uid(command.sop_instance.encode("ascii", "replace"), "command")
            self._file = reception.store.arriving()
            wrapper = part10.wrapper(self._syntax, command.sop_class, command.sop_instance)
            self._file.write(wrapper)
            self._start = len(wrapper)

    def write(self, chunk: memoryview) -> None:
        """To the disk, unless it is refused already."""
        if self._file is None or self._refusal is not None:
            return
        with self._noting():
            self._reception.admission.brings(self._caller.peer.place, len(chunk))
            if self._file.size + len(chunk) - self._start > self._reception.most:
                raise Refuse(Reason.TOO_LARGE)
            self._file.write(chunk)

    def end(self) -> Answer:
        """Answers yes only once it is durable (promise 1)."""
        with metrics.door_seconds.labels("dicom").time():
            if self._refusal is None:
                with self._noting():
                    self._keep()
            self.cancel()
        if self._refusal is None and self._damage is None:
            return Answer(SUCCESS)
        if self._refusal is None and self._damage is not None:
            self._reception.refused(self._damage, self._caller, _DAMAGED)
            return Answer(_DAMAGED, comment=f"kept, not analysed: {self._damage}")
        assert self._refusal is not None
        status = STATUS.get(self._refusal.reason, _CANNOT_UNDERSTAND)
        self._reception.refused(self._refusal, self._caller, status)
        return Answer(status, comment=str(self._refusal))

    @property
    def refused(self) -> Refuse | None:
        """Why it is not kept."""
        return self._refusal

    def cancel(self) -> None:
        """Nothing of what has come is kept."""
        self._reception.admission.brought(self._caller.peer.place)
        if self._file is not None:
            self._file.discard()
            self._file = None

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """While something may be refused: the first refusal is kept for the answer."""
        try:
            yield
        except Refuse as refusal:
            # without its traceback, which would keep the file mapped
            self._refusal = Refuse(refusal.reason, refusal.where)
        except OSError:  # the disk: nothing was promised
            self._refusal = Refuse(Reason.STORE_FAILED)

    def _keep(self) -> None:
        assert self._file is not None
        reception = self._reception
        header = self._header(self._file.view()[self._start :])
        if self._study and header.study != self._study:
            raise Refuse(Reason.UID_MISMATCH, "study")
        found = facts(
            header, self._caller.sender, reception.authorities, reception.ring, reception.now()
        )
        kept = reception.store.put(
            reception.series.reference(found),
            instance_name(reception.ring.pseudonym, header.sop_instance),
            self._file,
            lambda other: _marked(found, other_bytes=other).model_dump_json().encode(),
        )
        reference = reception.series.added(_marked(found, other_bytes=kept.other_bytes), kept.name)
        brought = self._caller.brought
        brought[reference] = brought.get(reference, 0) + 1

    def _header(self, data: memoryview) -> gate.Header:
        named = {"sop_class": self._command.sop_class, "sop_instance": self._command.sop_instance}
        try:
            return gate.header(data, self._syntax, **named)
        except Refuse as refusal:
            header = salvage(data, self._syntax, **named, why=refusal)
            self._damage = Refuse(refusal.reason, refusal.where)
            return header


def _marked(found: Facts, *, other_bytes: bool) -> Facts:
    return found.model_copy(update={"other_bytes": other_bytes})
