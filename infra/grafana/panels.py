"""What the dashboard shows: each panel's question, its queries, and from where on to worry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One picture: its title, what it says in one sentence, and its queries as (expression,
    legend).
    """

    title: str
    says: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    warn: float | None = None  # from here on orange
    bad: float | None = None  # from here on red


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def _quantile(share: float, metric: str, by: str = "le", job: str = "") -> str:
    selector = f'{{job="{job}"}}' if job else ""
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket{selector}[5m])))"


PATIENTS = Row(
    "Are patients waiting longer than they should?",
    (
        Panel(
            "Past their target",
            "Unread studies whose target has passed, by lane.",
            (('lane:vigie_overdue:max{lane!="unreadable"}', "{{lane}}"),),
            kind="stat",
            warn=1,
            bad=5,
            width=6,
        ),
        Panel(
            "Longest wait",
            "How long the oldest unread study of each lane has waited.",
            (('lane:vigie_oldest_wait_seconds:max{lane!="unreadable"}', "{{lane}}"),),
            unit="s",
            kind="stat",
            width=6,
        ),
        Panel(
            "Reads in 30 minutes",
            "Studies taken, claimed or finished by readers.",
            (("site:vigie_reads:increase30m", "reads"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Not in the chain",
            "Audit rows that the sealer has not sealed yet.",
            (('max(vigie_audit_unsealed{job="worklist"})', "unsealed"),),
            kind="stat",
            warn=200,
            bad=1000,
            width=6,
        ),
        Panel(
            "Studies by state",
            "Rows of the list, by state.",
            (("state:vigie_studies:max", "{{state}}"),),
        ),
        Panel(
            "Unread by lane",
            "What waits, by lane; unreadable means that no image is there yet.",
            (("lane:vigie_waiting:max", "{{lane}}"),),
        ),
        Panel(
            "What people do",
            "Acts of readers and leads, per minute.",
            (('60 * sum by (act) (rate(vigie_worklist_acts_total{job="web"}[5m]))', "{{act}}"),),
        ),
    ),
)

FLOW = Row(
    "Flow: from the door to the list",
    (
        Panel(
            "Door to list",
            "From the first receipt of an event to its row.",
            (
                (_quantile(0.5, "vigie_door_to_list_seconds"), "p50"),
                ("site:vigie_door_to_list_seconds:p95_5m", "p95"),
            ),
            unit="s",
            warn=2,
            bad=5,
        ),
        Panel(
            "Last image to rank",
            "From a series at the door to its finding in the rank; the aim is a p95 under 2 s.",
            (
                (_quantile(0.5, "vigie_last_image_to_rank_seconds"), "p50"),
                ("site:vigie_last_image_to_rank_seconds:p95_5m", "p95"),
            ),
            unit="s",
            warn=2,
            bad=10,
        ),
        Panel(
            "Published and applied",
            "Events a second that the broker confirmed, and that the list took. A gap that stays "
            "is lag.",
            (
                ("site:vigie_published_events:rate5m", "published"),
                ("site:vigie_applied_events:rate5m", "applied"),
            ),
            unit="ops",
        ),
        Panel(
            "Behind",
            "For so long the oldest event has waited that a sender was promised and the list has "
            "not. Web measures it, also when the worklist is dead.",
            (
                ('max(vigie_worklist_behind_seconds{job=~"web|worklist"})', "oldest waits"),
                ('max(vigie_outbox_oldest_seconds{job="web"})', "oldest act waits"),
            ),
            unit="s",
            warn=10,
            bad=60,
        ),
        Panel(
            "Transactions of the list",
            "Time of one transaction, and the events in it.",
            ((_quantile(0.95, "vigie_worklist_batch_seconds", job="worklist"), "p95"),),
            unit="s",
        ),
        Panel(
            "Parked",
            "Events that could not be processed, by stage and reason. None is the norm.",
            (
                (
                    "sum by (stage, reason) (increase(vigie_parked_total[15m]))",
                    "{{stage}} {{reason}}",
                ),
                ('sum(increase(vigie_published_total{topic="parked"}[15m]))', "all"),
            ),
            warn=1,
            bad=50,
        ),
        Panel(
            "Fates",
            "What became of events, per second.",
            (("sum by (stage, fate) (rate(vigie_settled_total[5m]))", "{{stage}} {{fate}}"),),
            unit="ops",
        ),
    ),
)

DOORS = Row(
    "Doors: MLLP and DICOM",
    (
        Panel(
            "Answers",
            "Answers a second, by door: HL7 acknowledgements, DICOM statuses.",
            (("sum by (door, answer) (rate(vigie_answered_total[5m]))", "{{door}} {{answer}}"),),
            unit="ops",
        ),
        Panel(
            "Refusals",
            "What a door refused, by reason, in 15 minutes.",
            (
                (
                    "sum by (door, reason) (increase(vigie_refused_total[15m]))",
                    "{{door}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Time to the answer",
            "p95 from the last byte received to the answer.",
            ((_quantile(0.95, "vigie_door_seconds", "le, door", "gateway"), "{{door}}"),),
            unit="s",
        ),
        Panel(
            "Open connections",
            "Connections and associations.",
            (('sum by (door) (vigie_connections{job="gateway"})', "{{door}}"),),
            width=6,
        ),
        Panel(
            "Store, free",
            "Free share of the store's disk.",
            (('min(vigie_store_free_ratio{job="gateway"})', "free"),),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Stored",
            "Bytes a second made durable.",
            (('sum(rate(vigie_store_bytes_total{job="gateway"}[5m]))', "stored"),),
            unit="Bps",
            width=6,
        ),
        Panel(
            "Oldest unpublished image",
            "Age of the oldest stored instance that no event names.",
            (('max(vigie_oldest_unpublished_seconds{job="gateway"})', "age"),),
            unit="s",
            width=6,
            warn=60,
            bad=300,
        ),
    ),
)

SCREENING = Row(
    "Screening",
    (
        Panel(
            "Findings",
            "Findings published per minute, by package and outcome.",
            (
                (
                    "60 * sum by (package, outcome) (rate(vigie_triage_findings_total[5m]))",
                    "{{package}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Not analysed",
            "Series that were not analysed in 15 minutes, by reason.",
            (("sum by (reason) (increase(vigie_triage_not_analysed_total[15m]))", "{{reason}}"),),
        ),
        Panel(
            "Event to finding",
            "From a series event taken to its findings confirmed.",
            (
                (_quantile(0.5, "vigie_triage_screen_seconds"), "p50"),
                (_quantile(0.95, "vigie_triage_screen_seconds"), "p95"),
            ),
            unit="s",
        ),
        Panel(
            "Waiting to be screened",
            "Series read ahead, and images that wait for a batch.",
            (
                ('sum(vigie_triage_pool_events{job="triage"})', "series"),
                ('sum(vigie_triage_batch_queue{job="triage"})', "images"),
            ),
        ),
        Panel(
            "Decode and forward",
            "p95 of decoding a series and of one batch through a network.",
            (
                (_quantile(0.95, "vigie_triage_decode_seconds"), "decode"),
                (_quantile(0.95, "vigie_triage_forward_seconds", "le, package"), "{{package}}"),
            ),
            unit="s",
        ),
        Panel(
            "Constancy",
            "1: the reference images gave the expected scores. 0: the package is in shadow.",
            (('min by (package) (vigie_triage_constancy_ok{job="triage"})', "{{package}}"),),
            kind="stat",
        ),
        Panel(
            "Unlike what was learned",
            "Share of the series of a day that are foreign to a package, by what told so, "
            "and how far its members are apart.",
            (
                (
                    "sum by (package, rule) (increase(vigie_triage_input_unlike_total[1d]))"
                    " / on (package) group_left "
                    "sum by (package) (increase(vigie_triage_input_foreign_count[1d]))",
                    "{{package}} foreign by {{rule}}",
                ),
                (
                    "histogram_quantile(0.5, sum by (le, package) "
                    "(rate(vigie_triage_input_spread_bucket[1d])))",
                    "{{package}} spread, p50",
                ),
            ),
        ),
        Panel(
            "Packages in use",
            "Package, version, and the device that runs it.",
            (('vigie_triage_model_info{job="triage"}', "{{package}} {{version}} {{mode}}"),),
            kind="stat",
            width=24,
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            "Up",
            "Processes that answer, by kind.",
            (('sum by (job) (up{job=~"gateway|triage|worklist|web"})', "{{job}}"),),
            kind="stat",
        ),
        Panel(
            "Memory",
            "Resident memory.",
            (
                (
                    'process_resident_memory_bytes{job=~"gateway|triage|worklist|web"}',
                    "{{job}} {{instance}}",
                ),
            ),
            unit="bytes",
        ),
        Panel(
            "Processor",
            "Cores in use.",
            (
                (
                    'rate(process_cpu_seconds_total{job=~"gateway|triage|worklist|web"}[5m])',
                    "{{job}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Pages that follow the list",
            "Browsers and programs on the live feed.",
            (('sum(vigie_feed_clients{job="web"})', "pages"),),
        ),
    ),
)

ROWS = (PATIENTS, FLOW, DOORS, SCREENING, PROCESSES)
