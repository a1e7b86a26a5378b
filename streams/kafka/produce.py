"""Publishing: an event is sent only when the broker has confirmed it with acks=all (promise 1)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams import metrics
from streams.errors import Reason, Unavailable
from streams.settings import StreamsSettings

log = structlog.get_logger()


def client_config(settings: StreamsSettings) -> dict[str, Any]:
    """What every librdkafka client of this site needs to reach its brokers."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka,
        "security.protocol": settings.kafka_security,
        # a broker that comes back is used within a second, not ten
        "reconnect.backoff.max.ms": 1000,
        # it would write "connection refused" to stderr by itself, each second
        "log_level": 2,
    }
    if settings.kafka_username:
        config |= {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": settings.kafka_username,
            "sasl.password": settings.kafka_password.get_secret_value(),
        }
    if settings.kafka_ca:
        config["ssl.ca.location"] = str(settings.kafka_ca)
    return config


#: So often it is looked whether a full queue has room.
_ROOM_S = 0.02


class _Waiting(NamedTuple):
    """An event on its way, and until when it may wait for room."""

    topic: str
    key: str
    value: bytes
    future: asyncio.Future[None]
    until: float


class Publisher:
    """An idempotent producer whose confirmations are awaited; one poll thread, many coroutines."""

    def __init__(self, settings: StreamsSettings) -> None:
        self._settings = settings
        self._confirm_s = settings.confirm_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._confirmed: deque[tuple[asyncio.Future[None], str, KafkaError | None]] = deque()
        self._full: deque[_Waiting] = deque()
        self._retrying = False
        self._fatal = ""  # the code of an error after which this producer sends nothing more
        self._producer = self._make()
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()

    def _make(self) -> Producer:
        return Producer(
            client_config(self._settings)
            | {
                "acks": "all",
                "enable.idempotence": True,
                # What comes while two requests are under way travels together in the next: one
                # sender that waits for each answer is not slowed down, and many share requests.
                "linger.ms": 0,
                "max.in.flight.requests.per.connection": 2,
                "message.timeout.ms": int(self._confirm_s * 1000),
                # Fail fast when no broker answers: a door must say no, not hang.
                "message.max.bytes": 8 * 1024 * 1024,
                "log.connection.close": False,
                "error_cb": self._on_error,
            },
            logger=SilentLogger(),
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error.name()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)
            if self._fatal:
                self._replace()

    def _replace(self) -> None:
        """An idempotent producer that met a fatal error never sends again: another takes over. What
        the old one held is answered with no, and its sender repeats it.
        """
        log.error("producer_replaced", code=self._fatal)
        metrics.producers_replaced.inc()
        old, self._producer, self._fatal = self._producer, self._make(), ""
        old.purge()
        old.flush(1)

    def _enqueue(self, topic: str, key: str, value: bytes, done: Any) -> None:
        """Raises BufferError where the producer's queue is full."""
        try:
            self._producer.produce(topic, value=value, key=key, on_delivery=done)
        except KafkaException:
            raise Unavailable(Reason.BROKER_DOWN) from None

    def publish(self, topic: str, key: str, value: bytes) -> asyncio.Future[None]:
        """Sends now, on the running loop; done once the broker has confirmed, or with Unavailable
        when it did not in ``confirm_s``. A full queue is waited for.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._full, self._confirmed = loop, deque(), deque()
            self._retrying = False
        future: asyncio.Future[None] = loop.create_future()
        waiting = _Waiting(topic, key, value, future, time.monotonic() + self._confirm_s)
        if self._full:
            self._full.append(waiting)
        else:
            self._send(waiting)
        return future

    def _send(self, waiting: _Waiting) -> None:
        future, topic, confirmed = waiting.future, waiting.topic, self._confirmed

        def delivered(error: KafkaError | None, _message: Message) -> None:
            confirmed.append((future, topic, error))
            if len(confirmed) == 1:  # those that come meanwhile are settled by the same call
                self._wake()

        try:
            self._enqueue(topic, waiting.key, waiting.value, delivered)
        except BufferError:
            self._full.appendleft(waiting)
            if not self._retrying:
                self._retrying = True
                asyncio.get_running_loop().call_later(_ROOM_S, self._retry)
        except Unavailable as error:
            self._fail(future, topic, error.reason)

    def _wake(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        """Tells those who wait what the broker said of each event."""
        confirmed, count = self._confirmed, 0
        while confirmed:
            future, topic, error = confirmed[0]
            if error is not None:
                self._fail(future, topic, Reason.BROKER_DOWN)
            else:
                count += 1
                metrics.published.labels(topic).inc()
                if not future.done():
                    future.set_result(None)
            confirmed.popleft()

    def _retry(self) -> None:
        """Sends what found the queue full, in its order, as far as there is room now."""
        now, self._retrying = time.monotonic(), False
        while self._full:
            before, waiting = len(self._full), self._full.popleft()
            if waiting.until < now:
                self._fail(waiting.future, waiting.topic, Reason.OVERLOADED)
                continue
            self._send(waiting)
            if len(self._full) == before:
                break

    def _fail(self, future: asyncio.Future[None], topic: str, reason: Reason) -> None:
        metrics.publish_failed.labels(topic).inc()
        if not future.done():
            future.set_exception(Unavailable(reason))

    def publish_sync(self, topic: str, key: str, value: bytes) -> None:
        """As `publish`, for a thread that may block (a DICOM association)."""
        done = threading.Event()
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)
            done.set()

        try:
            self._enqueue(topic, key, value, delivered)
        except BufferError:
            raise Unavailable(Reason.OVERLOADED) from None
        if not done.wait(self._confirm_s + 1) or failed:
            metrics.publish_failed.labels(topic).inc()
            raise Unavailable(Reason.BROKER_DOWN)
        metrics.published.labels(topic).inc()

    def reachable(self, timeout_s: float = 1.0) -> bool:
        """Whether a broker answers now."""
        try:
            return bool(self._producer.list_topics(timeout=timeout_s).brokers)
        except KafkaException:
            return False

    def close(self, timeout_s: float = 5.0) -> None:
        """Flushes what is under way and stops the poll thread."""
        self._producer.flush(timeout_s)
        self._closing.set()
        self._poller.join(timeout_s)


class SilentLogger:
    """librdkafka says "connection refused" each second; `reachable` and a counter say it better."""

    def log(self, *_args: object, **_kwargs: object) -> None:
        """Drops the line."""
