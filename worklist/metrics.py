"""All metrics of the list: its agent, its rows, what persons did, the live feed."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from streams.metrics import LATENCY

STATES = ("expected", "arriving", "readable", "preliminary", "final", "cancelled", "historic")
LANES = ("pinned", "emergent", "list", "unreadable")

batch_seconds = Histogram(
    "vigie_worklist_batch_seconds", "One transaction of the list's agent", buckets=LATENCY
)
batch_events = Histogram(
    "vigie_worklist_batch_events",
    "Events in one transaction",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
door_to_list = Histogram(
    "vigie_door_to_list_seconds", "From the first receipt at a door to the row", buckets=LATENCY
)
image_to_rank = Histogram(
    "vigie_last_image_to_rank_seconds",
    "From a series at the door to its finding in the rank",
    buckets=LATENCY,
)
studies = Gauge("vigie_worklist_studies", "Rows by state", ["state"])
waiting = Gauge("vigie_worklist_waiting", "Unread rows by lane", ["lane"])
oldest_wait = Gauge(
    "vigie_worklist_oldest_wait_seconds", "Longest wait of an unread row, by lane", ["lane"]
)
overdue = Gauge("vigie_worklist_overdue", "Unread rows past their target, by lane", ["lane"])
acts = Counter("vigie_worklist_acts_total", "What persons did", ["act"])
unsealed = Gauge("vigie_audit_unsealed", "Audit rows that the chain does not hold yet")
list_age = Gauge("vigie_worklist_last_change_timestamp_seconds", "When a row last changed")
applied = Gauge("vigie_worklist_last_commit_timestamp_seconds", "When the agent last committed")
feed_clients = Gauge("vigie_feed_clients", "Browsers and programs that follow the live feed")
feed_coalesced = Counter(
    "vigie_feed_coalesced_total", "Times that a slow client's waiting frames became one reload"
)
feed_frames = Counter(
    "vigie_feed_frames_total", "Frames made for the feed, each once for all clients"
)

for _state in STATES:
    studies.labels(_state)
for _lane in LANES:
    waiting.labels(_lane)
    oldest_wait.labels(_lane)
    overdue.labels(_lane)
for _act in ("claim", "release", "finish", "pin", "unpin", "skip", "clear_flag", "promote", "next"):
    acts.labels(_act)
