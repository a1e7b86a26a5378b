"""The orders of a row, each by an id: what is still open, and what a person links or unlinks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from worklist.record.orders import Order
from worklist.record.relate import components
from worklist.sql import policy_store
from worklist.sql.queue import detail
from worklist.sql.writing.closure import reached, world_of
from worklist.sql.writing.opening import Opener


@dataclass(frozen=True)
class OrderShown:
    """One order that stands near a row.

    Attributes:
        member: the id by which `link` and `unlink` name it.
        numbers: its accession, placer and filler numbers.
        status: what its sender says last; empty: nothing.
        report: ``preliminary``, ``final``, ``withdrawn`` or empty.
        open: it still waits for its report.
        lent: somebody else's, as far as is known, and the row may be it: it lends its urgency.
    """

    member: str
    numbers: tuple[str, ...]
    status: str
    report: str
    open: bool
    lent: bool = False


def orders(connection: Connection, study: str, opener: Opener) -> list[OrderShown]:
    """The orders of a row, earliest first. Raises QueueError `not_found`."""
    return near(connection, study, opener)[0]


def near(
    connection: Connection, study: str, opener: Opener
) -> tuple[list[OrderShown], list[OrderShown]]:
    """The orders of a row, and the others that its numbers lead to, each earliest first.

    Raises QueueError `not_found`.
    """
    row = detail(connection, study)
    policy = policy_store.active(connection)
    found = reached(connection, opener, policy, row["nodes"])
    own: list[Order] = []
    others: list[Order] = []
    lent: list[Order] = []
    for component in components(found.facts.values(), world_of(connection, found, policy)):
        for related in component.rows:
            mine = row["study"] in related.owned
            (own if mine else others).extend(related.orders)
            lent += [order for order, _ in related.lent] if mine else []
    kept = [order for order in others if not any(order is one for one in own)]
    return _shown(own, lent), _shown(kept, lent)


def _shown(found: list[Order], lent: list[Order]) -> list[OrderShown]:
    placed = {}
    for order in found:
        members, state = order.members, order.state
        member = min(members, key=lambda m: (members[m].received, m))
        kinds = ("accession", "placer", "filler")
        numbers = {n.value for fact in order.facts for n in fact.numbers if n.kind in kinds}
        placed[members[member].received, member] = OrderShown(
            member,
            tuple(sorted(numbers)),
            state.status,
            state.report,
            state.open,
            lent=any(order is one for one in lent),
        )
    return [placed[place] for place in sorted(placed)]
