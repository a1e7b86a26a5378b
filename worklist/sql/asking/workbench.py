"""What does not fit together: rows that somebody has to look at, by what is odd about them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from worklist.sql import queue
from worklist.sql.asking import not_imaging
from worklist.sql.queue import Listing, QueueError
from worklist.sql.writing.opening import Opener

_MOST = 1000  # a count goes no further


@dataclass(frozen=True)
class Kind:
    """One kind of oddity: which open rows have it, and what may mend it."""

    where: str
    says: str


KINDS: dict[str, Kind] = {
    "orders-without-images": Kind(
        "state = 'expected' AND images_here = 0 AND COALESCE(scheduled_at, received_at)"
        " < clock_timestamp() - interval '1 day'",
        "ordered for more than a day ago, and no image came: link, or ask the RIS",
    ),
    "images-without-order": Kind(
        "images_here > 0 AND NOT EXISTS (SELECT 1 FROM fact WHERE fact.type = 'OrderChanged'"
        " AND fact.nodes && item.nodes)",
        "images came, and no order that shares a number with them: link, set-priority",
    ),
    "identity-conflicts": Kind(
        "marks && ARRAY['identity_conflict', 'person_unknown', 'order_unclear']",
        "numbers that two persons name, or nobody for sure: link, unlink",
    ),
    "cancelled-with-images": Kind(
        "'cancelled_images_exist' = ANY (marks)",
        "cancelled by the RIS after images came: confirm-cancel",
    ),
    "not-received": Kind(
        "state IN ('readable', 'preliminary') AND images_here = 0",
        "an archive or a modality says that images exist, and none is here",
    ),
}

#: The kind that has no open rows: it is listed by `not_imaging`.
OFF_LIST = "non-imaging-orders"
SAYS = {name: kind.says for name, kind in KINDS.items()} | {
    OFF_LIST: "orders that a rule of their sender keeps off the list: promote, if one is imaging"
}


def listed(
    connection: Connection, kind: str, *, limit: int = 100, cursor: str | None = None
) -> Listing:
    """The open rows of a kind, in reading order. Raises QueueError `bad_state` or `bad_cursor`."""
    if kind not in KINDS:
        raise QueueError("bad_state")
    return queue.listing(connection, limit=limit, cursor=cursor, only=KINDS[kind].where)


def counted(connection: Connection, opener: Opener) -> dict[str, int]:
    """How many rows each kind has; 1000 stands for that and more."""
    parts = ", ".join(
        f"(SELECT count(*) FROM (SELECT 1 FROM item WHERE {kind.where} LIMIT {_MOST}) found)"
        for kind in KINDS.values()
    )
    found = dict(zip(KINDS, connection.execute(text(f"SELECT {parts}")).one(), strict=True))
    return found | {OFF_LIST: len(not_imaging.listed(connection, opener))}
