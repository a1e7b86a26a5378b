"""The MLLP door: yes only when the broker has confirmed every event of the message (promise 1)."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog

from streams import metrics
from streams.errors import Misconfigured, Reason, Refuse, VigieError, facts
from streams.events import Parked, encode
from streams.health import listening
from streams.hl7 import answers, mapping
from streams.hl7.framing import Frames, TooLarge, frame
from streams.hl7.message import Header, parse, peek
from streams.kafka.topics import ORDERS, PARKED
from streams.seal import KeyRing
from streams.settings import StreamsSettings
from streams.site import Site
from streams.studykey import digest

log = structlog.get_logger()
#: Where a refused message came from, in `Parked.topic`.
ORIGIN = "mllp"
_TEST = frozenset({"T", "D"})
_PRODUCTION = frozenset({"", "P"})
_PARK_BYTES = 1024 * 1024


class PublisherLike(Protocol):
    """What the door needs of a publisher."""

    def publish(self, topic: str, key: str, value: bytes) -> Awaitable[None]:
        """Returns once the broker has confirmed; raises Unavailable."""


class MllpDoor:
    """The MLLP server.

    Args:
        now: wall clock, aware.
        new_id: makes MSH-10 of our answers, at most 20 characters.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        site: Site,
        ring: KeyRing,
        publisher: PublisherLike,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str],
    ) -> None:
        self._settings, self._site, self._ring, self._publisher = settings, site, ring, publisher
        self._now, self._new_id = now, new_id
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def start(self) -> None:
        """Listens. Raises Misconfigured when the port is taken or a TLS file cannot be used."""
        settings = self._settings
        context = tls(settings)
        with listening("VIGIE_MLLP_PORT", settings.bind, settings.mllp_port):
            self._server = await asyncio.start_server(
                self._connected, settings.bind, settings.mllp_port, ssl=context, limit=65536
            )

    async def stop(self) -> None:
        """Takes no new message; those under way get their answers."""
        if self._server:
            self._server.close()
        for task in self._open - self._busy:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=self._settings.confirm_s + 2)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= self._settings.mllp_connections:
            metrics.refused.labels("mllp", Reason.OVERLOADED.value).inc()
            writer.close()
            return
        self._open.add(task)
        metrics.connections.labels("mllp").inc()
        try:
            await self._serve(reader, writer, task)
        except (
            TimeoutError
        ):  # an OSError too, so first: half a message, or an answer that nobody takes
            metrics.refused.labels("mllp", Reason.NOT_HL7.value).inc()
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            pass  # the sender went away, or we are closing: what had no answer will be sent again
        finally:
            self._open.discard(task)
            self._busy.discard(task)
            metrics.connections.labels("mllp").dec()
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        settings = self._settings
        frames = Frames(
            reader,
            max_bytes=settings.mllp_max_bytes,
            idle_s=settings.mllp_idle_s,
            message_s=settings.mllp_message_s,
        )
        while True:
            try:
                raw = await frames.next()
            except TooLarge as error:
                self._count(error)
                await self._send(writer, peek(error.start), error)
                return
            except Refuse as error:
                metrics.refused.labels("mllp", error.reason.value).inc()
                return
            if raw is None:
                return
            self._busy.add(task)
            started = time.perf_counter()
            header, refusal = await self.take(raw)
            await self._send(writer, header, refusal)
            metrics.door_seconds.labels("mllp").observe(time.perf_counter() - started)
            self._busy.discard(task)
            if self._server is None or not self._server.is_serving():
                return

    async def _send(
        self, writer: asyncio.StreamWriter, header: Header, error: VigieError | None
    ) -> None:
        writer.write(
            frame(answers.answer(header, error, control_id=self._new_id(), now=self._now()))
        )
        async with asyncio.timeout(self._settings.mllp_message_s):
            await writer.drain()

    async def take(self, raw: bytes) -> tuple[Header, VigieError | None]:
        """Makes one message durable: its header, and None (positive) or why not. Raises nothing."""
        header = peek(raw)
        metrics.received.labels("mllp", mapping.kind(header.type, header.event)).inc()
        try:
            await self._publish(raw, header)
        except VigieError as error:
            self._count(error)
            if not facts(error.reason).retryable:
                await self._park(raw, error.reason)
            return header, error
        metrics.answered.labels("mllp", "AA").inc()
        return header, None

    async def _publish(self, raw: bytes, header: Header) -> None:
        sender = self._site.sender_for_hl7(header.application, header.facility)
        message = parse(raw, sender.charset)
        if message.header.processing not in _PRODUCTION | _TEST:
            raise Refuse(Reason.BAD_FIELD, "MSH-11")
        context = mapping.Context(self._site, sender, self._ring, self._now())
        found = mapping.events(message, context)
        if message.header.processing in _TEST:
            metrics.test_messages.labels("mllp").inc()
            return
        for key, event in found:
            await self._publisher.publish(ORDERS.name, key, encode(event))

    def _count(self, error: VigieError) -> None:
        metrics.answered.labels("mllp", answers.code_of(error)).inc()
        metrics.refused.labels("mllp", error.reason.value).inc()
        log.warning("refused", door="mllp", reason=error.reason.value, where=error.where)

    async def _park(self, raw: bytes, reason: Reason) -> None:
        """Keeps a refused message for whoever has to mend the sender. The sender was told: losing
        it here loses nothing.
        """
        event = Parked(
            stage="gateway",
            topic=ORIGIN,
            partition=0,
            offset=0,
            key=digest(raw),
            reason=reason,
            attempts=1,
            parked_at=self._now(),
            original=self._ring.seal(raw[:_PARK_BYTES]),
        )
        try:
            await self._publisher.publish(PARKED.name, event.key, encode(event))
            metrics.parked.labels("gateway", reason.value).inc()
        except VigieError as error:
            log.warning("parking_failed", door="mllp", reason=error.reason.value)


def tls(settings: StreamsSettings) -> ssl.SSLContext | None:
    """Mutual TLS (IHE ATNA) when a certificate is set; None without. Raises Misconfigured."""
    if settings.mllp_tls_cert is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.mllp_tls_ca)
        context.load_cert_chain(settings.mllp_tls_cert, settings.mllp_tls_key)
    except OSError as error:  # an SSLError is one too
        raise Misconfigured(
            "VIGIE_MLLP_TLS_CERT, VIGIE_MLLP_TLS_KEY, VIGIE_MLLP_TLS_CA: a file cannot be used "
            f"({error.strerror or type(error).__name__}): each is PEM, readable by this user"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    return context
