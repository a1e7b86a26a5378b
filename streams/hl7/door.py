"""The MLLP door: yes only when the broker has confirmed every event of the message (promise 1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import structlog

from streams import metrics
from streams.errors import Reason, Refuse, Unavailable, VigieError, facts
from streams.events import OrderChanged, Parked, encode
from streams.hl7 import answers, mapping
from streams.hl7.envelope import Context
from streams.hl7.studies import Keyed
from streams.hl7.text.message import Header, parts_of, peek
from streams.hl7.wire.connection import PIPELINE, Connection
from streams.hl7.wire.listener import Listener, Peer
from streams.hl7.wire.repeats import Repeats
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest
from streams.kafka.topics import DOORS, ORDERS, PARKED
from streams.senders.seen import STRANGER, Seen
from streams.senders.site import Sender, Site
from streams.settings import StreamsSettings

log = structlog.get_logger()
#: Where a refused message came from, in `Parked.topic`.
ORIGIN = "mllp"
#: So much of a message is parked.
PARKED_BYTES = 1024 * 1024
#: What each sender was seen to do is told so often, seconds.
_SEEN_S = 10.0
_HERE = Peer("127.0.0.1")
#: So many messages of strangers are parked, and then no more: they would fill the topic.
_STRANGERS_PARKED = 100


class PublisherLike(Protocol):
    """What the door needs of a publisher."""

    def publish(self, topic: str, key: str, value: bytes) -> Awaitable[None]:
        """Sends now; awaited, it returns once the broker has confirmed, or raises Unavailable."""


class MllpDoor:
    """The MLLP server.

    Args:
        now: wall clock, aware.
        new_id: makes MSH-10 of our answers, at most 20 characters.
        seen: what all doors of the gateway see; its own without.
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
        seen: Seen | None = None,
    ) -> None:
        self._settings, self._site, self._ring, self._publisher = settings, site, ring, publisher
        self._now, self._new_id = now, new_id
        self._repeats = Repeats()
        self._seen = seen or Seen(settings.name, site.senders, now())
        self._strangers = 0
        self._listener: Listener | None = None
        self._telling: asyncio.Task[None] | None = None
        self._open: set[Connection] = set()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `start`."""
        return self._listener.port if self._listener else 0

    async def start(self) -> None:
        """Listens. Raises Misconfigured when the port is taken or a TLS file cannot be used."""
        self._listener = Listener(self._settings, self._serve, self.no_connection, self._site.lists)
        self._listener.start()
        self._telling = asyncio.create_task(self._tell())

    async def stop(self) -> None:
        """Takes no new message; those under way get their answers."""
        if self._listener is None:
            return
        self._listener.stop()
        for connection in self._open:
            connection.close()
        if tasks := list(self._listener.tasks):
            await asyncio.wait(tasks, timeout=self._settings.confirm_s + 2)
        if self._telling:
            self._telling.cancel()

    async def _tell(self) -> None:
        """Says on the topic `doors` what each sender was seen to do."""
        while True:
            await asyncio.sleep(_SEEN_S)
            with suppress(VigieError):  # said again in ten seconds
                for event in self._seen.events(self._now()):
                    await self._publisher.publish(DOORS.name, event.sender, encode(event))

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer
    ) -> None:
        settings = self._settings
        connection = Connection(
            reader,
            writer,
            _Taker(self, peer),
            max_bytes=settings.mllp_max_bytes,
            idle_s=settings.mllp_idle_s,
            message_s=settings.mllp_message_s,
        )
        self._open.add(connection)
        metrics.connections.labels("mllp").inc()
        try:
            await connection.serve()
        except TimeoutError:  # an OSError too, so first: an answer that nobody takes
            self.no_connection(Refuse(Reason.NOT_HL7, "answer"), peer)
        except OSError:
            pass  # the sender went away: what had no answer will be sent again
        finally:
            self._open.discard(connection)
            metrics.connections.labels("mllp").dec()

    def no_connection(self, error: VigieError, peer: Peer) -> None:
        """A connection came to nothing, or broke the rules: one counted reason, one line."""
        sender = next(
            (s.name for s in self._site.senders if s.proved_by(peer.address, peer.names)), STRANGER
        )
        self._seen.refused("mllp", error, sender, peer=peer.address)

    def answer(self, header: Header, error: VigieError | None) -> list[bytes]:
        """The acknowledgements that the sender asks for; they say why not where there is an
        `error`.
        """
        return [
            answers.answer(header, error, code, control_id=self._new_id(), now=self._now())
            for code in answers.codes_of(header, error)
        ]

    async def take(self, raw: bytes, peer: Peer = _HERE) -> tuple[Header, VigieError | None]:
        """Makes one message durable: its header, and None (positive) or why not. Raises nothing."""
        header, started, sender = peek(raw), time.perf_counter(), STRANGER
        metrics.received.labels("mllp", mapping.kind(header.type, header.event)).inc()
        try:
            who, proved = self._site.speaker(
                header.application, header.facility, peer.address, peer.names
            )
            sender = who.name
            await self._once(raw, header, who, proved=proved)
        except VigieError as error:
            self.count(error, header, peer, sender)
            if not facts(error.reason).retryable:
                await self._park(raw, error, sender, peer)
            return header, error
        self._seen.answered("mllp", sender, "AA", self._now())
        metrics.answered.labels("mllp", "AA").inc()
        metrics.door_seconds.labels("mllp").observe(time.perf_counter() - started)
        return header, None

    async def _once(self, raw: bytes, header: Header, sender: Sender, *, proved: bool) -> None:
        """Publishes what is new; the same message again is durable already, or will be."""
        named = sender.name, header.control_id, digest(raw)
        if before := self._repeats.before(*named):
            if error := await asyncio.shield(before):
                raise error
            metrics.repeated.labels("mllp").inc()
            return
        context = Context(self._site, sender, self._ring, self._now(), proved)
        if header.control_id and self._repeats.reused(*named):
            context.doubt("control_id")
        durable = self._repeats.begin(*named)
        try:
            found = mapping.read(raw, header, context)
            self._count_effect(header, found, sender.name)
            # Nothing is sent before everything is mapped; then all travel at once.
            sent = [self._publisher.publish(ORDERS.name, key, encode(made)) for key, made in found]
            await asyncio.gather(*sent)
            durable.set_result(None)
        except VigieError as error:
            durable.set_result(error)
            raise
        finally:
            for doubt in context.doubts:
                metrics.doubts.labels("mllp", doubt).inc()
            if not durable.done():
                durable.set_result(Unavailable(Reason.BROKER_DOWN))

    def _count_effect(self, header: Header, found: list[Keyed], sender: str) -> None:
        if header.processing in mapping.TEST:
            metrics.test_messages.labels("mllp").inc()
        elif not found:
            metrics.no_effect.labels("mllp", mapping.kind(header.type, header.event)).inc()
        for _, event in found:
            if isinstance(event, OrderChanged) and event.imaging is False:
                metrics.not_imaging.labels("mllp").inc()
                self._seen.not_imaging("mllp", sender, event.procedure or "")

    def count(self, error: VigieError, header: Header, peer: Peer, sender: str) -> None:
        """A message was refused: one counted reason, one line that says whose it was."""
        code = answers.code_of(error)
        self._seen.answered("mllp", sender, code, self._now())
        metrics.answered.labels("mllp", code).inc()
        control_id = ascii(header.control_id)[1:65].rstrip("'")
        self._seen.refused("mllp", error, sender, peer=peer.address, control_id=control_id)

    def cut(self, error: VigieError, header: Header, peer: Peer) -> None:
        """A message was refused of which only the start was read."""
        sender = STRANGER
        with suppress(VigieError):
            application, facility = header.application, header.facility
            sender = self._site.speaker(application, facility, peer.address, peer.names)[0].name
        self.count(error, header, peer, sender)

    async def _park(self, raw: bytes, why: VigieError, sender: str, peer: Peer) -> None:
        """Keeps a refused message for whoever has to mend the sender. The sender was told: losing
        it here loses nothing.
        """
        if sender == STRANGER:
            self._strangers += 1
        if self._strangers > _STRANGERS_PARKED and sender == STRANGER:
            return
        if not self._repeats.first_refusal(digest(raw)):
            return
        event = Parked(
            stage="gateway",
            topic=ORIGIN,
            partition=0,
            offset=0,
            key=digest(raw),
            reason=why.reason,
            attempts=1,
            parked_at=self._now(),
            sender=sender,
            where=why.where,
            peer=peer.address,
            names=tuple(sorted(peer.names)),
            original=self._ring.seal(raw[:PARKED_BYTES]),
        )
        try:
            await self._publisher.publish(PARKED.name, event.key, encode(event))
            metrics.parked.labels("gateway", why.reason.value).inc()
        except VigieError as error:
            log.warning("parking_failed", door="mllp", reason=error.reason.value)


class _Taker:
    """The door as one connection sees it."""

    def __init__(self, door: MllpDoor, peer: Peer) -> None:
        self._door, self._peer = door, peer

    async def take(self, raw: bytes) -> list[bytes]:
        """Makes a message durable, or each of a batch, and says so or why not."""
        door, peer = self._door, self._peer
        parts = parts_of(raw)
        if parts is None:
            return door.answer(*await door.take(raw, peer))
        taken = list[tuple[Header, VigieError | None]]()
        for start in range(0, len(parts), PIPELINE):  # or a large batch would keep all others out
            some = parts[start : start + PIPELINE]
            taken += await asyncio.gather(*(door.take(part, peer) for part in some))
        told = [one for message in taken for one in door.answer(*message)]
        if taken and not told:
            return []
        return [answers.batch(told, taken[0][0].marks if taken else "")]

    async def cut(self, start: bytes, error: Refuse) -> list[bytes]:
        """Says no to a message of which only the start was read."""
        header = peek(start)
        self._door.cut(error, header, self._peer)
        return self._door.answer(header, error)

    def broken(self, error: Refuse) -> None:
        """Counts what ended the connection."""
        self._door.no_connection(error, self._peer)
