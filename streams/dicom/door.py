"""The DICOM door: who may call, and which request goes where. It answers 0x0000 only for what is
durable (promise 1).
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog

from streams import metrics
from streams.dicom.agreed import VERIFICATION, agree
from streams.dicom.exams import ExamMessage, Exams
from streams.dicom.patients import SenderLike
from streams.dicom.publishing import PublisherLike, SeriesPublisher
from streams.dicom.receiving import SUCCESS, Caller, Instance, Reception
from streams.dicom.upper import commands
from streams.dicom.upper.admission import Admission
from streams.dicom.upper.association import Incoming, Peer
from streams.dicom.upper.commands import Answer, Command
from streams.dicom.upper.listener import Listener
from streams.dicom.upper.pdu import Context, Request
from streams.errors import Reason, Refuse
from streams.identity.seal import KeyRing
from streams.senders.authorities import Authorities
from streams.senders.seen import Seen
from streams.senders.tls import server_context
from streams.settings import StreamsSettings
from streams.storage.key_images import KeyImageFolder
from streams.storage.store import Store

log = structlog.get_logger()
_NO_SUCH_OPERATION = 0x0211  # PS3.7 Annex C
_UPKEEP_S = 600.0
_DAY_S = 86400.0


class SiteLike(Protocol):
    """What the door needs of the site's folder."""

    @property
    def authorities(self) -> Authorities:
        """Who gives numbers out, and which values identify nothing."""

    def sender_for_ae(self, ae_title: str, address: str) -> SenderLike:
        """The sender behind a calling AE title and address; raises Refuse `unknown_sender` where
        the site says so.
        """


class DicomDoor:
    """C-ECHO, C-STORE of every storage class, MPPS, availability notices. Never storage commitment:
    Vigie is not the archive.

    Args:
        now: wall clock, aware.
        seen: what all doors of the gateway see; its own without.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        site: SiteLike,
        ring: KeyRing,
        publisher: PublisherLike,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        seen: Seen | None = None,
    ) -> None:
        self._settings, self._site, self._now = settings, site, now
        self._seen = seen or Seen(settings.name, (), now())
        self.store = Store(settings.store, min_free=settings.store_min_free)
        self.series = SeriesPublisher(
            self.store,
            publisher,
            pseudonym=ring.pseudonym,
            gateway=settings.name,
            quiet_s=settings.quiet_s,
        )
        self._exams = Exams(self.store, self.series, site.authorities, ring, publisher, now)
        admission = Admission(
            settings.dicom_connections, settings.dicom_connections_each, settings.dicom_max_bytes
        )
        self._admission = admission
        self.reception = Reception(
            self.store,
            self.series,
            site.authorities,
            ring,
            admission,
            settings.dicom_max_bytes,
            now,
            self._refused,
        )
        self._listener = Listener(
            self,
            admission,
            self._turned_away,
            context=server_context(
                "VIGIE_DICOM_TLS",
                settings.dicom_tls_cert,
                settings.dicom_tls_key,
                settings.dicom_tls_ca,
            ),
            idle_s=settings.dicom_idle_s,
        )
        self._closing = threading.Event()
        self._upkeep_thread = threading.Thread(
            target=self._upkeep, name="store-upkeep", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return self._listener.port

    @property
    def alive(self) -> bool:
        """Whether it listens and publishes: part of readiness."""
        return self.series.alive and self._listener.alive and self._upkeep_thread.is_alive()

    def start(self) -> None:
        """Listens, and takes up what a killed gateway left unpublished. Raises
        Misconfigured when the port is taken.
        """
        self._listener.start(self._settings.bind, self._settings.dicom_port)
        self.series.start()
        self._upkeep_thread.start()

    def stop(self) -> None:
        """Ends all associations, publishes what waits if the broker is there, and returns."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._listener.stop()
        self._upkeep_thread.join()
        self.series.stop()

    def _upkeep(self) -> None:
        while True:
            try:
                self.store.free_ratio()
                self.store.remove_older_than(self._settings.store_days * _DAY_S, now=time.time())
                KeyImageFolder(self._settings.key_images).remove_without(self._settings.store)
            except OSError as error:  # the disk is away: next time
                log.warning("upkeep_failed", error=errno.errorcode.get(error.errno or 0, ""))
            if self._closing.wait(_UPKEEP_S):
                return

    def admits(self, request: Request, peer: Peer) -> Caller:
        """Who calls. Raises Refuse where the door is not for the caller, or meant for another."""
        if request.called != self._settings.ae_title:
            raise Refuse(Reason.WRONG_CALLED_AE, f"calling {request.calling!r}")
        where = f"calling {request.calling!r}"
        try:
            sender = self._site.sender_for_ae(request.calling, peer.place.address)
        except Refuse as refusal:
            raise Refuse(refusal.reason, where) from None
        wanted = set(sender.certificates)
        if peer.names is not None and wanted and not wanted & peer.names:
            raise Refuse(Reason.NOT_AUTHORISED, f"certificate, {where}")
        self._admission.associates(peer.place, request.calling)
        metrics.connections.labels("dicom").inc()
        return Caller(request.calling, sender, peer)

    def agrees(self, proposed: Context) -> tuple[int, str]:
        """As `streams.dicom.agreed` has it."""
        return agree(proposed)

    def takes(self, caller: Caller, command: Command, context: Context) -> Incoming:
        """The request goes to what deals with it."""
        kind = _KINDS.get(command.field, "other")
        metrics.received.labels("dicom", kind).inc()
        incoming: Incoming
        if command.field == commands.STORE:
            incoming = Instance(self.reception, caller, command, context)
        elif command.field in (commands.CREATE, commands.SET):
            incoming = ExamMessage(self._exams, caller, command, context, self._refused)
        elif command.field == commands.ECHO and context.abstract == VERIFICATION:
            incoming = _Plain(Answer(SUCCESS))
        else:
            incoming = _Plain(Answer(_NO_SUCH_OPERATION))
            self._refused(Refuse(Reason.UNSUPPORTED_MESSAGE), caller, _NO_SUCH_OPERATION)
        return _Counted(incoming, lambda code: self._answered(caller, code))

    def _answered(self, caller: Caller, code: str) -> None:
        metrics.answered.labels("dicom", code).inc()
        self._seen.answered("dicom", caller.sender.name, code, self._now())

    def over(self, caller: Caller) -> None:
        """Its series can be published, before the sender closes its connection."""
        brought, caller.brought = caller.brought, {}
        self.series.association_over(brought)

    def ended(self, _caller: Caller) -> None:
        """The connection is gone."""
        metrics.connections.labels("dicom").dec()

    def _refused(self, refusal: Refuse, caller: Caller, status: int) -> None:
        self._seen.refused(
            "dicom",
            refusal,
            caller.sender.name,
            calling=caller.title,
            peer=caller.peer.place.address,
            status=f"{status:04X}",
        )

    def _turned_away(self, refusal: Refuse, address: str) -> None:
        """A connection or an association, not a request."""
        self._seen.refused("dicom", refusal, peer=address)


_KINDS = {
    commands.STORE: "instance",
    commands.ECHO: "echo",
    commands.CREATE: "step",
    commands.SET: "step",
}


class _Plain:
    """A request whose answer does not depend on its data set."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def write(self, chunk: memoryview) -> None:
        """Not looked at."""

    def end(self) -> Answer:
        """The answer."""
        return self._answer

    def cancel(self) -> None:
        """Nothing to undo."""


class _Counted:
    """Counts the answers of another."""

    def __init__(self, incoming: Incoming, answered: Callable[[str], None]) -> None:
        self.write, self.cancel, self._end = incoming.write, incoming.cancel, incoming.end
        self._answered = answered

    def end(self) -> Answer:
        """The answer."""
        answer = self._end()
        self._answered(f"{answer.status:04X}")
        return answer
