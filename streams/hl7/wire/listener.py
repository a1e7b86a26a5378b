"""Who is at the other end: connections are accepted within limits, their address and certificate
known before a byte of a message is read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from streams.errors import Reason, Refuse, VigieError
from streams.health import listening
from streams.hl7.wire.proxy import origin
from streams.senders.tls import names_in, server_context
from streams.settings import StreamsSettings

_BACKLOG = 1024
_READ = 65536  # bytes of one connection that may lie unread beside its message


@dataclass(frozen=True)
class Peer:
    """The other end: its address, and the names in its certificate: common name, DNS names, and
    ``sha256:…`` of the whole; none without TLS.
    """

    address: str
    names: frozenset[str] = field(default=frozenset())


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Peer], Awaitable[None]]


class Listener:
    """Accepts connections and hands them to `serve`, each in a task of its own.

    Args:
        refused: told of each connection that comes to nothing, and why.
        listed: whether an address is one of a sender's: others may hold half of the connections at
            most, so that strangers never lock a sender out.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        serve: Serve,
        refused: Callable[[VigieError, Peer], None],
        listed: Callable[[str], bool],
    ) -> None:
        self._settings, self._serve = settings, serve
        self._refused, self._listed = refused, listed
        self._balancers = [ip_network(text) for text in settings.mllp_balancers]
        self._tls = server_context(
            "VIGIE_MLLP_TLS",
            settings.mllp_tls_cert,
            settings.mllp_tls_key,
            settings.mllp_tls_ca,
        )
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], str] = {}

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start` and after `stop`."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        """What serves the open connections."""
        return self._open.keys()

    def start(self) -> None:
        """Listens. Raises Misconfigured when the port is taken."""
        settings = self._settings
        with listening("VIGIE_MLLP_PORT", settings.bind, settings.mllp_port):
            self._socket = socket.create_server(
                (settings.bind, settings.mllp_port),
                family=socket.AF_INET6 if ":" in settings.bind else socket.AF_INET,
                backlog=_BACKLOG,
                reuse_port=settings.mllp_share_port,
            )
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket))

    def stop(self) -> None:
        """Accepts no more; what is open stays open."""
        if self._accepting and self._socket:
            self._accepting.cancel()
            self._socket.close()
            self._socket = None

    async def _accept(self, listening_at: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening_at)
            except OSError:  # it was gone already, or this process has too many files open
                await asyncio.sleep(0.05)
                continue
            task = loop.create_task(self._connected(connection, str(address[0])))
            self._open[task] = str(address[0])
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._open[task]

    async def _connected(self, connection: socket.socket, address: str) -> None:
        peer = Peer(address)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._settings.mllp_message_s):
                peer = Peer(await self._address(connection, address))
                self._need_room(peer.address)
                reader, writer = await self._streams(connection)
        except VigieError as error:
            connection.close()
            self._refused(error, peer)
            return
        except (ssl.SSLError, TimeoutError, OSError) as error:
            connection.close()
            if not isinstance(error, ConnectionError):
                self._refused(Refuse(Reason.TLS_FAILED, _why(error)), peer)
            return
        names = names_in(writer.get_extra_info("ssl_object")) if self._tls else frozenset[str]()
        try:
            await self._serve(reader, writer, Peer(peer.address, names))
        finally:
            writer.close()

    async def _address(self, connection: socket.socket, address: str) -> str:
        """Whom the connection is of: a listed balancer says it."""
        if not self._balancers:
            return address
        if not any(ip_address(address) in network for network in self._balancers):
            return address
        found = await origin(connection, address)
        task = asyncio.current_task()
        if task in self._open:
            self._open[task] = found
        return found

    def _need_room(self, address: str) -> None:
        """Raises Refuse `overloaded` where this peer, strangers, or all hold enough already."""
        most, held = self._settings.mllp_connections, Counter(self._open.values())
        strangers = sum(count for other, count in held.items() if not self._listed(other))
        full = len(self._open) > most or held[address] > self._settings.mllp_per_peer
        if full or (not self._listed(address) and strangers > max(most // 2, 1)):
            raise Refuse(Reason.OVERLOADED)

    async def _streams(
        self, connection: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_READ, loop)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._tls
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _why(error: Exception) -> str:
    """What a TLS library calls it: a word from its own list."""
    return (getattr(error, "reason", None) or type(error).__name__)[:64]
