"""The orders of a row, each by an id: what is still open, and what a person links or unlinks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from worklist.record.relate import components
from worklist.sql.closure import decode_fact, world_of
from worklist.sql.opening import Opener
from worklist.sql.queue import detail


@dataclass(frozen=True)
class OrderShown:
    """One order of a row.

    Attributes:
        member: the id by which `link` and `unlink` name it.
        numbers: its accession, placer and filler numbers.
        status: what its sender says last; empty: nothing.
        report: ``preliminary``, ``final``, ``withdrawn`` or empty.
        open: it still waits for its report.
    """

    member: str
    numbers: tuple[str, ...]
    status: str
    report: str
    open: bool


def orders(connection: Connection, study: str, opener: Opener) -> list[OrderShown]:
    """The orders of a row, earliest first. Raises QueueError `not_found`."""
    bodies = connection.execute(
        text("SELECT body FROM fact WHERE key = ANY(:keys)"),
        {"keys": detail(connection, study)["reports"]},
    ).scalars()
    facts = [opener.fact(decode_fact(body)) for body in bodies]
    found = []
    for component in components(facts, world_of(connection, facts)):
        for order in (order for row in component.rows for order in row.orders):
            members, state = order.members, order.state
            member = min(members, key=lambda m: (members[m].received, m))
            kinds = ("accession", "placer", "filler")
            numbers = {n.value for f in order.facts for n in f.numbers if n.kind in kinds}
            shown = OrderShown(
                member, tuple(sorted(numbers)), state.status, state.report, state.open
            )
            found.append((members[member].received, member, shown))
    return [shown for _, _, shown in sorted(found, key=lambda each: each[:2])]
