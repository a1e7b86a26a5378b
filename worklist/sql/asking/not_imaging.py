"""Orders that a rule of their sender keeps off the list: a person sees them, and brings one up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from streams.events import OrderChanged
from worklist.record.items import Item, listed_and_off
from worklist.sql import policy_store
from worklist.sql.writing.closure import reached, world_of
from worklist.sql.writing.opening import Opener

MOST = 1000  # messages that are looked at, the newest first
_NEWEST = text(
    """SELECT key, nodes FROM fact WHERE type = 'OrderChanged' AND body->>'imaging' = 'false'
       ORDER BY received DESC, key LIMIT :most"""
)
_NODES = text(
    """SELECT nodes FROM fact WHERE key = :key AND type = 'OrderChanged'
       AND body->>'imaging' = 'false'"""
)


def listed(connection: Connection, opener: Opener, *, most: int = MOST) -> list[dict[str, Any]]:
    """What there is to show of each of the newest `most` that is on no list, the newest first;
    `promote` brings up what `study` names.
    """
    rows = connection.execute(_NEWEST, {"most": most}).all()
    asked = {row.key for row in rows}
    nodes = sorted({node for row in rows for node in row.nodes})
    policy = policy_store.active(connection)
    near = reached(connection, opener, policy, nodes)
    world = world_of(connection, near, policy)
    _, items = listed_and_off(near.facts.values(), world, policy)
    found = [_shown(item, mine) for item in items if (mine := _newest(item, asked)) is not None]
    return sorted(found, key=lambda one: (one["received_at"], one["study"]), reverse=True)


def _newest(item: Item, asked: Collection[str]) -> OrderChanged | None:
    """The newest of its messages that is one of those asked for."""
    said = [fact for fact in item.facts if fact.key in asked]
    newest = max(said, key=lambda fact: (fact.received, fact.key), default=None)
    return newest.event if newest and isinstance(newest.event, OrderChanged) else None


def _shown(item: Item, newest: OrderChanged) -> dict[str, Any]:
    return {
        "study": newest.event_id,
        "sender": newest.sender,
        "received_at": item.received_at,
        "accessions": item.accessions,
        "patient_id": item.identity.patient_id,
        "patient_name": item.identity.name or "",
        "description": item.shown.description,
        "procedure": newest.procedure or "",
        "order_class": item.priority,
    }


def nodes_of(connection: Connection, name: str) -> list[str] | None:
    """What such an order is found and locked by; None where there is none of this name."""
    found: list[str] | None = connection.scalar(_NODES, {"key": name})
    return found
