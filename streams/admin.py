"""Makes the four topics on a real broker; those that exist are left as they are."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.errors import Reason, Unavailable
from streams.produce import client_config
from streams.settings import StreamsSettings
from streams.topics import ALL, RETENTION_MS


def make_topics(settings: StreamsSettings, *, replicas: int = 1, timeout_s: float = 15.0) -> None:
    """Creates what is missing at the site's broker. Raises Unavailable when it does not answer."""
    admin = AdminClient(client_config(settings) | {"log_level": 2})
    wanted = [
        NewTopic(topic.name, topic.partitions, replicas, config={"retention.ms": str(RETENTION_MS)}) for topic in ALL
    ]  # fmt: skip
    try:
        for made in admin.create_topics(wanted, request_timeout=timeout_s).values():
            made.result(timeout_s)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA") from None
