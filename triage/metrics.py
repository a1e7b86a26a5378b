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
    "vigie_triage_pool_events", "Series events read ahead and not yet acknowledged"
)
batch_queue = Gauge("vigie_triage_batch_queue", "Images that wait for a batch")
findings = Counter("vigie_triage_findings_total", "Findings published", ["package", "outcome"])
not_analysed = Counter(
    "vigie_triage_not_analysed_total", "Series that were not analysed, by reason", ["reason"]
)
model_info = Gauge("vigie_triage_model_info", "Packages in use: 1", ["package", "version", "mode"])
packages_refused = Gauge(
    "vigie_triage_packages_refused",
    "Package folders that did not pass their checks at start, and are not used",
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
