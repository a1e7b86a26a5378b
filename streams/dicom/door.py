"""The DICOM door: an SCP that answers 0x0000 only for what is durable in the store (promise 1)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from socketserver import BaseServer
from typing import Any, Protocol

from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from streams import metrics
from streams.dicom import gate, listener, part10, steps
from streams.dicom.exams import Exams
from streams.dicom.headers import SenderLike, facts
from streams.dicom.publishing import PublisherLike, SeriesPublisher
from streams.errors import Reason, Refuse, VigieError
from streams.health import listening
from streams.seal import KeyRing
from streams.settings import StreamsSettings
from streams.store import Store

VERIFICATION = "1.2.840.10008.1.1"
#: MPPS data sets are decoded here, so no compressed syntax for them; C-STORE takes every syntax as
#: it comes.
_PLAIN_SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
SUCCESS = 0x0000
#: Statuses of C-STORE (PS3.4 Table B.2-1, PS3.7 §9.1.1.1.9).
STATUS = {
    Reason.STORE_FULL: 0xA700,
    Reason.UID_MISMATCH: 0xA900,
    Reason.UNSUPPORTED_SOP_CLASS: 0x0122,
    Reason.UNKNOWN_SENDER: 0x0124,
    Reason.NOT_AUTHORISED: 0x0124,
}
_CANNOT_UNDERSTAND = 0xC000
#: Statuses of N-CREATE and N-SET (PS3.7 §10.1.5, §10.1.3).
_PROCESSING_FAILURE, _NOT_AUTHORISED = 0x0110, 0x0124
_TIMEOUT_S = 30.0  # for an association request, and for the rest of a message
_IDLE_S = 120.0  # between messages
_UPKEEP_S = 600.0
_DAY_S = 86400.0


class SiteLike(Protocol):
    """What the door needs of the site's folder."""

    def sender_for_ae(self, ae_title: str, address: str) -> SenderLike:
        """The sender behind a calling AE title and address; raises Refuse `unknown_sender` where
        the site says so.
        """


@dataclass
class _Peer:
    """One association: who it is, and how many instances of each series it brought."""

    sender: SenderLike | None = None
    brought: dict[str, int] = field(default_factory=dict)


class DicomDoor:
    """C-ECHO, C-STORE of every storage class in every transfer syntax, and MPPS. Never storage
    commitment.

    Args:
        now: wall clock, aware.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        site: SiteLike,
        ring: KeyRing,
        publisher: PublisherLike,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._site, self._ring, self._publisher, self._now = (
            settings,
            site,
            ring,
            publisher,
            now,
        )
        self.store = Store(settings.store, min_free=settings.store_min_free)
        self.series = SeriesPublisher(
            self.store,
            publisher,
            pseudonym=ring.pseudonym,
            gateway=settings.name,
            quiet_s=settings.quiet_s,
        )
        self._exams = Exams(self.store, self.series, ring, publisher, now)
        self._peers: dict[int, _Peer] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server: ThreadedAssociationServer | None = None
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return (
            int(self._server.socket.getsockname()[1]) if self._server and self._server.socket else 0
        )

    @property
    def alive(self) -> bool:
        """Whether it listens and publishes: part of readiness."""
        return (
            self.series.alive
            and bool(self._threads)
            and all(thread.is_alive() for thread in self._threads)
        )

    def start(self) -> None:
        """Listens, and takes up what a killed gateway left unpublished. Raises
        Misconfigured when the port is taken.
        """
        listener.quiet()
        ae = AE(ae_title=self._settings.ae_title)
        ae.maximum_pdu_size = listener.MAX_PDU
        ae.maximum_associations = self._settings.dicom_connections
        ae.acse_timeout = ae.dimse_timeout = _TIMEOUT_S
        ae.network_timeout = _IDLE_S
        ae.add_supported_context(VERIFICATION)
        ae.add_supported_context(steps.MPPS, _PLAIN_SYNTAXES)
        with listening("VIGIE_DICOM_PORT", self._settings.bind, self._settings.dicom_port):
            self._server = ae.make_server(
                (self._settings.bind, self._settings.dicom_port),
                server_class=ThreadedAssociationServer,
                request_handler=listener.handler(
                    self._settings.dicom_max_bytes, 2 * self._settings.dicom_connections
                ),
                evt_handlers=[
                    (evt.EVT_C_ECHO, self._on_echo),
                    (evt.EVT_C_STORE, self._on_store),
                    (evt.EVT_N_CREATE, self._on_create),
                    (evt.EVT_N_SET, self._on_set),
                    (evt.EVT_CONN_OPEN, self._on_open),
                    (evt.EVT_RELEASED, self._on_over),
                    (evt.EVT_CONN_CLOSE, self._on_close),
                ],
            )
        self.series.start()
        self._threads = [
            threading.Thread(
                target=self._server.serve_forever, args=(0.2,), name="dicom-door", daemon=True
            ),
            threading.Thread(target=self._upkeep, name="store-upkeep", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends all associations, publishes what waits if the broker is there, and returns."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._server:
            BaseServer.shutdown(
                self._server
            )  # pynetdicom's own asks for a server that `AE.start_server` made
            self._server.server_close()
            for association in self._server.active_associations:
                association.abort()
        for thread in self._threads:
            thread.join()
        self.series.stop()

    def _upkeep(self) -> None:
        while True:
            self.store.free_ratio()
            self.store.remove_older_than(self._settings.store_days * _DAY_S, now=time.time())
            if self._closing.wait(_UPKEEP_S):
                return

    def _peer(self, association: Any) -> _Peer:
        with self._lock:
            return self._peers.setdefault(id(association), _Peer())

    def _sender(self, association: Any) -> SenderLike:
        peer = self._peer(association)
        if peer.sender is None:
            title = str(association.requestor.ae_title).strip()
            peer.sender = self._site.sender_for_ae(title, str(association.requestor.address))
        return peer.sender

    def _on_open(self, event: Any) -> None:
        self._peer(event.assoc)
        metrics.connections.labels("dicom").inc()

    def _on_over(self, event: Any) -> None:
        """Released: its series can be published, before the sender closes its connection."""
        peer = self._peer(event.assoc)
        brought, peer.brought = peer.brought, {}
        self.series.association_over(brought)

    def _on_close(self, event: Any) -> None:
        with self._lock:
            peer = self._peers.pop(id(event.assoc), None)
        if peer is not None:
            metrics.connections.labels("dicom").dec()
            self.series.association_over(peer.brought)

    def _on_echo(self, event: Any) -> int:
        metrics.received.labels("dicom", "echo").inc()
        return SUCCESS

    def _on_store(self, event: Any) -> int:
        metrics.received.labels("dicom", "instance").inc()
        with metrics.door_seconds.labels("dicom").time():
            try:
                self._store(event)
                status = SUCCESS
            except Refuse as refusal:
                status = STATUS.get(refusal.reason, _CANNOT_UNDERSTAND)
                metrics.refused.labels("dicom", refusal.reason.value).inc()
            except OSError:  # the disk: nothing was promised
                status = STATUS[Reason.STORE_FULL]
                metrics.refused.labels("dicom", Reason.STORE_FULL.value).inc()
        metrics.answered.labels("dicom", f"{status:04X}").inc()
        return status

    def _store(self, event: Any) -> None:
        sender = self._sender(event.assoc)
        request, context = event.request, event.context
        sop_class, sop_instance = (
            str(request.AffectedSOPClassUID or ""),
            str(request.AffectedSOPInstanceUID or ""),
        )
        if context.abstract_syntax in (VERIFICATION, steps.MPPS):
            raise Refuse(Reason.UNSUPPORTED_SOP_CLASS)
        if sop_class != context.abstract_syntax:
            raise Refuse(Reason.UID_MISMATCH, "presentation context")
        data = request.DataSet.getbuffer() if request.DataSet else memoryview(b"")
        if len(data) > self._settings.dicom_max_bytes:
            raise Refuse(Reason.TOO_LARGE)
        header = gate.header(
            data, str(context.transfer_syntax), sop_class=sop_class, sop_instance=sop_instance
        )
        found = facts(header, sender, self._ring, self._now())
        wrapper = part10.wrapper(header.transfer_syntax, sop_class, sop_instance)
        name = self.store.put(
            header.study,
            header.series,
            header.sop_instance,
            [wrapper, data],
            found.model_dump_json().encode(),
        )
        reference = self.series.added(found, name)
        brought = self._peer(event.assoc).brought
        brought[reference] = brought.get(reference, 0) + 1

    def _on_create(self, event: Any) -> tuple[int, None]:
        metrics.received.labels("dicom", "mpps").inc()
        request = event.request
        return self._exam(event, request.AffectedSOPInstanceUID, request.AttributeList, first=True)

    def _on_set(self, event: Any) -> tuple[int, None]:
        metrics.received.labels("dicom", "mpps").inc()
        request = event.request
        return self._exam(
            event, request.RequestedSOPInstanceUID, request.ModificationList, first=False
        )

    def _exam(self, event: Any, step_uid: Any, body: Any, *, first: bool) -> tuple[int, None]:
        syntax, data = str(event.context.transfer_syntax), body.getvalue() if body else b""
        try:
            sender = self._sender(event.assoc)
            status = self._exams.take(sender, str(step_uid or ""), data, syntax, first=first)
        except (VigieError, OSError) as error:
            reason = error.reason if isinstance(error, VigieError) else Reason.STORE_FULL
            unknown = reason in (Reason.UNKNOWN_SENDER, Reason.NOT_AUTHORISED)
            status = _NOT_AUTHORISED if unknown else _PROCESSING_FAILURE
            metrics.refused.labels("dicom", reason.value).inc()
        metrics.answered.labels("dicom", f"{status:04X}").inc()
        return status, None
