"""The port of a DICOM door: accepts connections, TLS where the door has it, ends them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from streams.dicom.upper.admission import Admission, Place
from streams.dicom.upper.association import REQUEST_S, Association, Called, Peer
from streams.dicom.upper.wire import Closed, Wire
from streams.errors import Reason, Refuse
from streams.health import listening
from streams.senders.tls import names_in

#: Names a refusal: its reason and place, the address of the peer.
Refused = Callable[[Refuse, str], None]
_BACKLOG = 4096  # the system lowers it to its own limit
_STOP_S = 10.0


class Listener:
    """Accepts until `stop`.

    Args:
        refused: is told of each refusal that `called` does not know of.
        context: TLS of this door; None: in clear.
        idle_s: silence between messages that ends an association, seconds.
    """

    def __init__(
        self,
        called: Called[Any],
        admission: Admission,
        refused: Refused,
        *,
        context: ssl.SSLContext | None,
        idle_s: float,
    ) -> None:
        self._called, self._admission, self._refused = called, admission, refused
        self._context, self._idle_s = context, idle_s
        self._socket: socket.socket | None = None
        self._open: dict[threading.Thread, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="dicom-door", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    @property
    def alive(self) -> bool:
        """Whether it accepts."""
        return self._thread.is_alive()

    def start(self, address: str, port: int) -> None:
        """Listens. Raises Misconfigured when the port cannot be had."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with listening("VIGIE_DICOM_PORT", address, port):
            self._socket = socket.create_server((address, port), family=family, backlog=_BACKLOG)
        self._thread.start()

    def stop(self) -> None:
        """Takes no more, ends what is open; a request that is whole is still dealt with."""
        self._closing = True
        if self._socket:
            _end(self._socket)  # wakes `accept`
            self._thread.join()
            self._socket.close()
        with self._lock:
            threads = dict(self._open)
        for end in threads.values():
            end()
        for thread in threads:
            thread.join(_STOP_S)

    def _accept(self) -> None:
        while not self._closing and self._socket:
            try:
                connection, address = self._socket.accept()
            except OSError:
                if self._closing:
                    return
                continue  # it went away, or there is no descriptor left just now
            self._begin(connection, str(address[0]))

    def _begin(self, connection: socket.socket, address: str) -> None:
        place, oldest = self._admission.enters(address, lambda: _end(connection))
        if oldest is not None:
            self._refused(Refuse(Reason.OVERLOADED, "half-open connections"), oldest.address)
        thread = threading.Thread(
            target=self._connection, args=(connection, place), name="dicom", daemon=True
        )
        with self._lock:
            self._open[thread] = place.end
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self._refused(Refuse(Reason.OVERLOADED, "threads"), address)
            self._left(thread, place, connection)

    def _left(self, thread: threading.Thread, place: Place, connection: socket.socket) -> None:
        connection.close()
        self._admission.leaves(place)
        with self._lock:
            self._open.pop(thread, None)

    def _connection(self, connection: socket.socket, place: Place) -> None:
        wire = None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            names: frozenset[str] | None = None
            if self._context is not None:
                connection, names = self._protected(connection)
            wire = Wire(connection, REQUEST_S)
            Association(wire, Peer(place, names), self._called, self._idle_s).serve()
        except Refuse as refusal:
            self._refused(refusal, place.address)
        except (Closed, OSError):
            pass  # the sender went away: what had no answer will be sent again
        finally:
            if wire is not None:
                wire.close()
            self._left(threading.current_thread(), place, connection)

    def _protected(self, connection: socket.socket) -> tuple[socket.socket, frozenset[str]]:
        """Raises Refuse `bad_certificate` where the handshake fails."""
        assert self._context is not None
        connection.settimeout(REQUEST_S)
        try:
            protected = self._context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, TimeoutError):
            raise Refuse(Reason.BAD_CERTIFICATE, "TLS") from None
        return protected, names_in(protected)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it ended by itself
        connection.shutdown(socket.SHUT_RDWR)
