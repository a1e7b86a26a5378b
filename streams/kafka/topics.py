"""The topics: what each carries, who writes it, how it is kept."""

from __future__ import annotations

from dataclasses import dataclass

#: 14 days on every topic.
RETENTION_MS = 14 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Topic:
    """One topic. `why` is one sentence for the reader of ``vigie topics``."""

    name: str
    partitions: int
    why: str


# `orders` and `series` have equal counts: Faust co-partitions only then.
ORDERS = Topic("orders", 4, "what RIS and EHR say: orders, patients, merges, reports")
SERIES = Topic("series", 4, "what modalities say: series stored, exams in progress or done")
FINDINGS = Topic("findings", 4, "what screening found, or why it did not look")
# As many as `orders`, so that acts are applied by as many workers; those of one study, whose key
# they share, in the order in which they were done.
ACTS = Topic("acts", 4, "what persons did to the list, sealed with a key of the list's own")
# A few counts of each sender every ten seconds: one partition carries any site.
DOORS = Topic("doors", 1, "what each gateway saw of each configured sender, without identity")
PARKED = Topic("parked", 1, "what failed for good, sealed, with its reason")
ALL = (ORDERS, SERIES, FINDINGS, ACTS, DOORS, PARKED)
