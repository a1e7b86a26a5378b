"""The metrics of doors, topics and store. Labels come from closed lists. Each shop has its own."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

DOORS = ("mllp", "dicom", "http")
received = Counter(
    "vigie_received_total", "Messages and instances that reached a door", ["door", "kind"]
)
answered = Counter("vigie_answered_total", "Answers given at a door", ["door", "answer"])
refused = Counter("vigie_refused_total", "What a door refused, by reason", ["door", "reason"])
connections = Gauge("vigie_connections", "Open connections or associations", ["door"])
door_seconds = Histogram(
    "vigie_door_seconds", "From the last byte received to the answer", ["door"], buckets=LATENCY
)
published = Counter("vigie_published_total", "Events that the broker confirmed", ["topic"])
publish_failed = Counter(
    "vigie_publish_failed_total", "Events that the broker did not confirm", ["topic"]
)
producers_replaced = Counter(
    "vigie_producers_replaced_total", "Producers that met a fatal error, each replaced by another"
)
consumed = Counter("vigie_consumed_total", "Events taken from a topic", ["stage", "topic"])
settled = Counter(
    "vigie_settled_total", "What became of events: ack, retry, park, stop", ["stage", "fate"]
)
parked = Counter("vigie_parked_total", "Events parked, by reason", ["stage", "reason"])
oldest_unpublished_seconds = Gauge(
    "vigie_oldest_unpublished_seconds", "Age of the oldest stored instance that no event names yet"
)
store_free_ratio = Gauge("vigie_store_free_ratio", "Free share of the disk that holds the store")
store_instances = Counter("vigie_store_instances_total", "Instances made durable in the store")
store_conflicts = Counter(
    "vigie_store_conflicts_total", "Instances that came again with other bytes: both are kept"
)
store_bytes = Counter("vigie_store_bytes_total", "Bytes made durable in the store")
archive_missing = Gauge(
    "vigie_archive_missing",
    "Studies of the window that the archive has, and of which no image is in the store",
)
archive_passes = Counter(
    "vigie_archive_passes_total", "Questions to the archive: dry, said, failed", ["outcome"]
)
test_messages = Counter(
    "vigie_test_messages_total",
    "Messages with MSH-11 T or D, resources labelled HTEST: answered, counted, never on the list",
    ["door"],
)

no_effect = Counter(
    "vigie_no_effect_total",
    "Messages that were understood, answered yes, and say nothing that the list is about",
    ["door", "kind"],
)

repeated = Counter(
    "vigie_repeated_total", "Messages that came again and were durable already", ["door"]
)
doubts = Counter(
    "vigie_doubts_total",
    "What a message left in doubt, and was taken nevertheless: charset, control_id (another "
    "message had it), document_status, order_status, priority (codes that no table has)",
    ["door", "what"],
)

not_imaging = Counter(
    "vigie_not_imaging_total",
    "Orders that a rule of their sender keeps off the list until something names their number",
    ["door"],
)

for _door in DOORS:  # all label sets exist at 0, so that rates and absent() work
    connections.labels(_door)
    door_seconds.labels(_door)
for _topic in ("orders", "series", "findings", "acts", "doors", "parked"):
    published.labels(_topic)
    publish_failed.labels(_topic)
