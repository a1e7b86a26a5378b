"""All metrics of the list: its agent, its rows, what persons did, the live feed."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from streams.metrics import LATENCY
from worklist.sql.rights import RIGHTS

STATES = (
    "expected",
    "arriving",
    "readable",
    "preliminary",
    "read",
    "final",
    "cancelled",
    "historic",
)
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
for _act in RIGHTS.keys() - {"renew"}:  # a renewal is the browser's doing
    acts.labels(_act)
unsealed = Gauge("vigie_audit_unsealed", "Audit rows that the chain does not hold yet")
sealed = Gauge("vigie_audit_sealed_rows", "Audit rows that the chain holds: never fewer")
anchor = Gauge(
    "vigie_audit_anchor_info", "The chain's last place and seal, told each hour", ["place", "seal"]
)
intact = Gauge("vigie_audit_intact", "1 while each walk along the audit's chain found it whole")
verified = Gauge(
    "vigie_audit_verified_timestamp_seconds", "When a walk last came to the end of the chain"
)
stuck = Gauge("vigie_worklist_stuck", "Open rows that could not be derived anew")
skipped_often = Gauge(
    "vigie_worklist_skipped_often", "Open rows that three readers or more have passed by"
)
unanswered = Gauge(
    "vigie_worklist_unanswered",
    "Open rows whose last image came an hour ago, and no model has answered; counted up to 1000",
)
shared_numbers = Gauge(
    "vigie_worklist_shared_numbers",
    "Numbers that too many patients, or studies of one patient, name; counted up to 1000",
    ["named_by"],
)
doubtful_clocks = Counter(
    "vigie_worklist_doubtful_clocks_total",
    "Fragments of series whose stated time was not believed, by sender",
    ["sender"],
)
sender_heard = Gauge(
    "vigie_sender_heard_timestamp_seconds",
    "When a listed sender was last heard at a door, of all gateways; else since when it is known",
    ["sender", "door"],
)
sender_silent_after = Gauge(
    "vigie_sender_silent_after_seconds",
    "For how long a listed sender may be silent in this hour: half as long again as usual, or "
    "silent_after_h",
    ["sender", "door"],
)
chores_failed = Counter(
    "vigie_chores_failed_total", "Rounds in which a chore could not be done", ["chore"]
)
list_age = Gauge("vigie_worklist_last_change_timestamp_seconds", "When a row last changed")
applied = Gauge("vigie_worklist_last_commit_timestamp_seconds", "When the agent last committed")
behind_events = Gauge(
    "vigie_worklist_behind_events", "Records that the broker holds and the list does not yet"
)
behind_seconds = Gauge(
    "vigie_worklist_behind_seconds",
    "For so long the oldest record has waited that the list does not have yet; 0: none waits",
)
applied_age = Gauge(
    "vigie_worklist_applied_age_seconds", "Age, at a door, of the newest event that the list holds"
)
still = Gauge(
    "vigie_worklist_still_seconds",
    "For so long the agent has done nothing, though events wait and it waits for nothing named",
)
waits_for = Gauge(
    "vigie_worklist_waits_for", "1 while the agent waits for a dependency that is away", ["wanted"]
)
gap = Gauge(
    "vigie_worklist_gap_timestamp_seconds",
    "When events were last found lost before the list had them; 0: never, or it was announced",
)
gaps = Counter(
    "vigie_worklist_gaps_total", "Gaps in a topic's offsets: expired unread, or made anew", ["kind"]
)
lost = Counter("vigie_worklist_lost_total", "Positions that were passed over unread")
outbox_unsent = Gauge("vigie_outbox_unsent", "What persons did that the topic does not hold yet")
outbox_oldest = Gauge(
    "vigie_outbox_oldest_seconds", "Age of the oldest act that the topic does not hold yet"
)
outbox_sent = Counter("vigie_outbox_sent_total", "What persons did, sent to the topic")
outbox_refused = Counter("vigie_outbox_refused_total", "Acts too large for the topic: never sent")
truth = Gauge(
    "vigie_list_truth",
    "1 while page and API say so of the list: what is away, late or off",
    ["line"],
)
feed_clients = Gauge("vigie_feed_clients", "Browsers and programs that follow the live feed")
feed_dropped = Counter(
    "vigie_feed_dropped_total",
    "Clients of the feed that were let go: slow ones, and stuck ones that took nothing",
    ["reason"],
)
feed_frames = Counter(
    "vigie_feed_frames_total", "Frames made for the feed, each once for all clients"
)

TRUTHS = (
    "database",
    "behind",
    "waits",
    "gap",
    "ai_off",
    "ai_late",
    "ai_late_of",
    "ai_silent",
    "reranking",
)
logins = Counter("vigie_logins_total", "Logins by browser, by what became of them", ["result"])
refused = Counter(
    "vigie_web_refused_total", "Requests that were more than one client gets at once", ["reason"]
)

WAITS = ("database", "schema", "lock", "policy", "kafka")
for _wanted in WAITS:
    waits_for.labels(_wanted)
for _result in ("known", "unknown"):
    logins.labels(_result)
for _reason in ("too_many", "too_many_streams"):
    refused.labels(_reason)
for _reason in ("slow", "stuck"):
    feed_dropped.labels(_reason)
for _line in TRUTHS:
    truth.labels(_line)
for _kind in ("expired", "anew"):
    gaps.labels(_kind)
for _chore in ("expire", "fold", "trim", "sessions", "skips", "partition", "rerank"):
    chores_failed.labels(_chore)
for _state in STATES:
    studies.labels(_state)
for _lane in LANES:
    waiting.labels(_lane)
    oldest_wait.labels(_lane)
    overdue.labels(_lane)
for _act in ("claim", "release", "finish", "pin", "unpin", "skip", "clear_flag", "promote", "next"):
    acts.labels(_act)
