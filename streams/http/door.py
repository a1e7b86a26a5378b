"""The HTTP door's server: its port, TLS and time limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from streams.dicom.receiving import Reception
from streams.errors import Misconfigured, Reason, Refuse
from streams.health import is_loopback, listening
from streams.http.app import Paths, PublisherLike, make_app
from streams.http.gatekeeper import Gatekeeper, Receive, Scope, Send
from streams.identity.seal import KeyRing
from streams.senders.seen import Seen
from streams.senders.site import Site
from streams.senders.tls import handshake, names_in, server_context
from streams.settings import StreamsSettings

#: Connections at once that have not said what they want; one more ends the oldest, so that who asks
#: at once is heard. Those that have asked are bounded by their sender.
HALF_OPEN = 256
_HEAD_S = 10.0  # a request's head must be whole so soon
_STOP_S = 3


class _Config(Config):
    """uvicorn's, and where connections are told of that came to nothing, with their address."""

    turned_away: Callable[[Refuse, str], None]


class _Protocol(H11Protocol):
    """Closes who does not say what they want, and says who shows which certificate."""

    config: _Config
    waiting: ClassVar[dict[_Protocol, None]] = {}  # oldest first

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        protected = transport.get_extra_info("ssl_object")
        names = names_in(protected) if protected else None
        inner: Any = self.app
        self._late: asyncio.TimerHandle | None = None
        self._wait()

        async def named(scope: Scope, receive: Receive, send: Send) -> None:
            self._heard()
            scope["certificate"] = names
            await inner(scope, receive, send)

        self.app = named

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is not None:
            return
        self._late = asyncio.get_running_loop().call_later(_HEAD_S, self._slow)
        self.waiting[self] = None
        if len(self.waiting) > HALF_OPEN:
            oldest = next(iter(self.waiting))
            oldest._turn_away(Refuse(Reason.OVERLOADED, "connections"))

    def _slow(self) -> None:
        self._turn_away(Refuse(Reason.TOO_SLOW, "head"))

    def _turn_away(self, refusal: Refuse) -> None:
        self._heard()
        self._tell(refusal)
        self.transport.close()

    def _tell(self, refusal: Refuse) -> None:
        address = self.transport.get_extra_info("peername") or ("",)
        self.config.turned_away(refusal, str(address[0]))

    def send_400_response(self, msg: str) -> None:
        """It is no HTTP."""
        self._tell(Refuse(Reason.BAD_REQUEST, "HTTP"))
        super().send_400_response(msg)

    def _heard(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
            self.waiting.pop(self, None)


class HttpDoor:
    """JSON, FHIR and STOW-RS.

    Args:
        reception: of the DICOM door: images go the same way.
        now: wall clock, aware.
        seen: what all doors of the gateway see; its own without.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        site: Site,
        ring: KeyRing,
        publisher: PublisherLike,
        reception: Reception,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        seen: Seen | None = None,
    ) -> None:
        self._settings = settings
        self._tls = server_context(
            "VIGIE_HTTP_TLS", settings.http_tls_cert, settings.http_tls_key, settings.http_tls_ca
        )
        seen = seen or Seen(settings.name, (), now())
        paths = Paths(site, ring, publisher, reception, now, seen)
        app = Gatekeeper(make_app(paths), settings, site, seen, now)
        self._config = _Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_S,
        )
        self._config.turned_away = app.turned_away
        if self._tls is not None:
            # Its address is not told: no connection has been made yet.
            failed = partial(app.turned_away, Refuse(Reason.BAD_CERTIFICATE, "TLS"), "")
            self._tls.sslobject_class = handshake(failed)
        self._socket: socket.socket | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    @property
    def alive(self) -> bool:
        """Whether it serves: part of readiness."""
        return self._serving is not None and not self._serving.done()

    async def start(self) -> None:
        """Listens. Raises Misconfigured when the port is taken, or open to others in clear."""
        address = self._settings.http_bind
        if not is_loopback(address) and self._tls is None and not self._settings.insecure:
            raise Misconfigured(
                f"VIGIE_HTTP_BIND: {address} can be reached from elsewhere, without encryption: "
                "set VIGIE_HTTP_TLS_CERT, VIGIE_HTTP_TLS_KEY and VIGIE_HTTP_TLS_CA, or put a TLS "
                "proxy before a loopback address"
            )
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        port = self._settings.http_port
        with listening("VIGIE_HTTP_PORT", address, port, bind="VIGIE_HTTP_BIND"):
            self._socket = socket.create_server((address, port), family=family, backlog=512)
        self._config.load()
        self._config.ssl = self._tls
        self._server = _Served(self._config)
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait([self._serving, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def stop(self) -> None:
        """Takes no new request; those under way get their answers."""
        if self._server and self._serving:
            self._server.should_exit = True
            await asyncio.wait([self._serving])


class _Served(Server):
    """Says when it serves; signals are the process's affair."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then says so."""
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield
