"""All metrics of triage. Labels come from closed lists."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from streams.errors import Reason

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

decode_seconds = Histogram(
    "vigie_triage_decode_seconds", "Decoding the frames of one series", buckets=_SECONDS
)
decoders_replaced = Counter(
    "vigie_triage_decoders_replaced_total", "Decoder processes that died or were ended"
)
batch_images = Histogram(
    "vigie_triage_batch_images", "Images in one batch", buckets=(1, 2, 4, 8, 16, 32, 64)
)
forward_seconds = Histogram(
    "vigie_triage_forward_seconds", "One batch through one network", ["package"], buckets=_SECONDS
)
screen_seconds = Histogram(
    "vigie_triage_screen_seconds",
    "From a series event taken to its findings confirmed",
    buckets=(*_SECONDS, 120, 300),
)
backlog_events = Gauge(
    "vigie_triage_pool_events", "The backlog: series events read ahead and not yet acknowledged"
)
late_dropped = Counter(
    "vigie_triage_late_dropped_total",
    "Series told as late that were never screened: newer ones needed the room",
)
batch_queue = Gauge("vigie_triage_batch_queue", "Images that wait for a batch")
findings = Counter("vigie_triage_findings_total", "Findings published", ["package", "outcome"])
not_analysed = Counter(
    "vigie_triage_not_analysed_total", "Series that were not analysed, by reason", ["reason"]
)
model_info = Gauge(
    "vigie_triage_model_info", "1 for each package in use", ["package", "version", "mode"]
)
packages_refused = Gauge(
    "vigie_triage_packages_refused",
    "Package folders that did not pass their checks at start, and are not used",
)
_SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
input_foreign = Histogram(
    "vigie_triage_input_foreign",
    "Probability that a series is unlike those that its package learned from, by the package's "
    "own guard",
    ["package"],
    buckets=_SHARES,
)
input_spread = Histogram(
    "vigie_triage_input_spread",
    "Standard deviation of the logits of a package's members, of the images that count in a series",
    ["package"],
    buckets=(0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5),
)
input_unlike = Counter(
    "vigie_triage_input_unlike_total",
    "Series that are out of distribution, by what told so: features (the package's guard), the "
    "size of the body, or that no skull is seen",
    ["package", "rule"],
)
key_images_missed = Counter(
    "vigie_triage_key_images_missed_total", "Flags whose picture could not be drawn or kept"
)
runners_replaced = Counter(
    "vigie_triage_runners_replaced_total",
    "Processes of networks from elsewhere that died or were too slow in a batch",
    ["package"],
)
constancy_ok = Gauge(
    "vigie_triage_constancy_ok",
    "Whether the last reference images gave the expected scores",
    ["package"],
)
constancy_drift = Gauge(
    "vigie_triage_constancy_drift", "Largest |score - expected| of the last run", ["package"]
)

for _reason in (
    Reason.NO_MODEL,
    Reason.UNDECODABLE_PIXELS,
    Reason.DECODE_LIMIT,
    Reason.LATE,
    Reason.MODEL_FAILED,
):
    not_analysed.labels(_reason.value)  # at 0, so that rates and absent() work
