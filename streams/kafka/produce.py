"""Publishing: an event is sent only when the broker has confirmed it with acks=all (promise 1)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams import metrics
from streams.errors import Reason, Unavailable
from streams.settings import StreamsSettings


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


class Publisher:
    """An idempotent producer whose confirmations are awaited; one poll thread, many coroutines."""

    def __init__(self, settings: StreamsSettings) -> None:
        self._confirm_s = settings.confirm_s
        self._producer = Producer(
            client_config(settings)
            | {
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.timeout.ms": int(settings.confirm_s * 1000),
                # Fail fast when no broker answers: a door must say no, not hang.
                "message.max.bytes": 8 * 1024 * 1024,
                "log.connection.close": False,
            },
            logger=_SilentLogger(),
        )
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)

    def _enqueue(self, topic: str, key: str, value: bytes, done: Any) -> None:
        try:
            self._producer.produce(topic, value=value, key=key, on_delivery=done)
        except BufferError:
            raise Unavailable(Reason.OVERLOADED) from None
        except KafkaException:
            raise Unavailable(Reason.BROKER_DOWN) from None

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        """Returns once the broker has confirmed. Raises Unavailable when it did not in
        ``confirm_s``.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(Unavailable(Reason.BROKER_DOWN))

        def delivered(error: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(settle, error)

        self._enqueue(topic, key, value, delivered)
        try:
            async with asyncio.timeout(self._confirm_s + 1):
                await future
        except (Unavailable, TimeoutError):
            metrics.publish_failed.labels(topic).inc()
            raise Unavailable(Reason.BROKER_DOWN) from None
        metrics.published.labels(topic).inc()

    def publish_sync(self, topic: str, key: str, value: bytes) -> None:
        """As `publish`, for a thread that may block (a DICOM association)."""
        done = threading.Event()
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)
            done.set()

        self._enqueue(topic, key, value, delivered)
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


class _SilentLogger:
    """librdkafka says "connection refused" each second; `reachable` and a counter say it better."""

    def log(self, *_args: object, **_kwargs: object) -> None:
        """Drops the line."""
