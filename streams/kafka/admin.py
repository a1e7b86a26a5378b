"""Makes our topics on a real broker; those that exist are left as they are."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.errors import Reason, Unavailable
from streams.kafka.produce import client_config
from streams.kafka.topics import ALL, RETENTION_MS
from streams.settings import StreamsSettings


def make_topics(settings: StreamsSettings, *, replicas: int = 1, timeout_s: float = 15.0) -> None:
    """Creates what is missing at the site's broker. Raises Unavailable when it does not answer."""
    admin = AdminClient(client_config(settings))
    # With acks=all a positive answer means: one broker may be lost and the event is still there.
    config = {"retention.ms": str(RETENTION_MS), "min.insync.replicas": str(max(1, replicas - 1))}
    wanted = [NewTopic(topic.name, topic.partitions, replicas, config=config) for topic in ALL]
    for made in admin.create_topics(wanted, request_timeout=timeout_s).values():
        try:
            made.result(timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA") from None
        except TimeoutError:
            raise Unavailable(Reason.BROKER_DOWN, "VIGIE_KAFKA") from None
