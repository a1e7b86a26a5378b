"""What a batch reaches, locked: the facts that belong together, found by the record's own rules.

Nodes are inserted and locked in key order before facts are read, so that an order and an image of
one study that meet from two partitions see each other: the second waits, then reads what the first
wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, text

from streams.events import (
    Event,
    ExamProgressed,
    OrderChanged,
    Parked,
    PatientMerged,
    ReportReceived,
    SenderSeen,
    decode,
)
from worklist.record.facts import Fact, island_node, number_node, pair_node, person_nodes
from worklist.record.world import MOST_PATIENTS, MOST_STUDIES, World
from worklist.sql.writing.opening import Opener

_READ = "SELECT key, received, body FROM fact WHERE nodes && CAST(:nodes AS text[])"
_ABOUT = _READ + " AND type IN ('PatientChanged', 'PatientMerged')"


def fact_nodes(fact: Fact) -> list[str]:
    """All nodes by which a fact is found: its numbers, each also as its patient's, and persons."""
    found = set(person_nodes(fact.event))
    for number in fact.numbers:
        found.add(number_node(number))
        found |= {pair_node(number, patient) for patient in fact.patients}
    if isinstance(fact.event, OrderChanged | ReportReceived | ExamProgressed):
        found.add(island_node(fact))  # should none of its numbers join anything
    return sorted(found)


@dataclass
class Reached:
    """What was reached: facts by key, and all nodes that have to be locked."""

    facts: dict[str, Fact] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)


def hold(
    connection: Connection,
    opener: Opener,
    touched: Collection[str],
    people: Collection[str],
    start: Callable[[World], set[str]],
    write: Callable[[], None],
) -> Reached:
    """Locks all that `start` reaches, at once and in key order, calls `write`, and reads it.

    A number that becomes shared by this batch still reaches what it had joined before.

    Args:
        touched: all nodes of the batch.
        people: person nodes of its identity messages: all studies of these patients are reached.
        start: the nodes by which the batch joins others, under what is shared already.
    """
    reach = _Reach(connection, opener, people, start)
    held = set(touched) | reach.go(touched).nodes
    while True:
        with connection.begin_nested() as step:
            reach.before = _lock(connection, held)
            write()
            found = reach.go(touched)
            if found.nodes <= held:
                return found
            # somebody linked more while we waited: let go and lock that too, in order
            step.rollback()
        held |= found.nodes


def reached(connection: Connection, opener: Opener, nodes: Collection[str]) -> Reached:
    """All that `nodes` reach, as it stands: to be shown, so without a lock."""
    return _Reach(connection, opener, (), lambda _: set(nodes)).go(nodes)


class _Reach:
    """Walks from nodes to facts to nodes, where numbers join."""

    def __init__(
        self,
        connection: Connection,
        opener: Opener,
        people: Collection[str],
        start: Callable[[World], set[str]],
    ) -> None:
        self._connection = connection
        self._start = start
        self._opener = opener
        self._people = set(people)
        self._opened: dict[str, Fact] = {}
        self.before: dict[str, int] | None = None

    def go(self, touched: Collection[str]) -> Reached:
        """All that the touched numbers reach, and all studies of `people`."""
        found = Reached()
        persons = self._identities(self._people, found)
        frontier = self._start(self._world(touched)) | persons
        passed: set[str] = set()
        while frontier:
            passed |= frontier
            fresh = self._read(_READ, frontier, found)
            named = {n for f in fresh for n in fact_nodes(f)}
            world = self._world(named)
            frontier = {n for f in fresh for n in world.nodes(f)} - passed
            found.nodes |= named
        found.nodes |= passed | persons
        who = {n for f in found.facts.values() for n in person_nodes(f.event)}
        self._identities(who - persons, found)
        found.nodes |= who
        return found

    def _identities(self, people: Collection[str], found: Reached) -> set[str]:
        """Identity messages about `people` and all whom they name; returns all persons."""
        seen = set(people)
        frontier = set(people)
        while frontier:
            fresh = self._read(_ABOUT, frontier, found)
            frontier = {n for f in fresh for n in person_nodes(f.event)} - seen
            seen |= frontier
        return seen

    def _read(self, sql: str, nodes: Collection[str], found: Reached) -> list[Fact]:
        fresh = []
        for row in self._connection.execute(text(sql), {"nodes": sorted(nodes)}):
            if row.key in found.facts:
                continue
            known = self._opened.get(row.key)
            if known is None or known.received != row.received:
                known = self._opened[row.key] = self._opener.fact(decode_fact(row.body))
            found.facts[row.key] = known
            fresh.append(known)
        return fresh

    def _world(self, nodes: Collection[str]) -> World:
        before = self.before or {}
        asked = [n for n in nodes if n not in before]
        uses = {n: before[n] for n in nodes if n in before} | read_uses(self._connection, asked)
        return World(
            shared=frozenset(n for n, count in uses.items() if count > MOST_PATIENTS),
            crowded=frozenset(n for n, count in uses.items() if count > MOST_STUDIES),
        )


def read_uses(connection: Connection, nodes: Collection[str]) -> dict[str, int]:
    """How many things name each node; nodes that nobody named are left out."""
    if not nodes:
        return {}
    rows = connection.execute(
        text("SELECT key, uses FROM node WHERE key = ANY(:keys) AND uses > 0"),
        {"keys": sorted(nodes)},
    )
    return {row.key: row.uses for row in rows}


def world_of(connection: Connection, facts: Iterable[Fact]) -> World:
    """What the facts at hand cannot say by themselves."""
    known = list(facts)
    numbers = {number_node(n) for f in known for n in f.numbers}
    pairs = {pair_node(n, p) for f in known for n in f.numbers for p in f.patients}
    uses = read_uses(connection, numbers | pairs)
    values = {p.value for f in known for p in _patients(f)}
    rows = connection.execute(
        text("SELECT value, authority FROM patient_number WHERE value = ANY(:values)"),
        {"values": sorted(values)},
    ).all()
    authorities: dict[str, set[str]] = {}
    for row in rows:
        authorities.setdefault(row.value, set()).add(row.authority)
    return World(
        shared=frozenset(n for n in numbers if uses.get(n, 0) > MOST_PATIENTS),
        crowded=frozenset(n for n in pairs if uses.get(n, 0) > MOST_STUDIES),
        authorities={value: frozenset(names) for value, names in authorities.items()},
    )


def _patients(fact: Fact) -> list[Any]:
    found = [fact.patient] if fact.patient else []
    return [*found, fact.event.retired] if isinstance(fact.event, PatientMerged) else found


def decode_fact(body: dict[str, Any]) -> Event:
    """The event in a fact's body; raises Park as `decode` when a later release wrote it."""
    event = decode(orjson.dumps(body))
    assert not isinstance(event, Parked | SenderSeen), "these are no facts"
    return event


def _lock(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    # An island is one fact's own: nothing else can meet it.
    values = {"keys": sorted(key for key in keys if not key.startswith("i"))}
    connection.execute(
        text("""INSERT INTO node (key) SELECT k FROM unnest(CAST(:keys AS text[])) k
                ORDER BY k COLLATE "C" ON CONFLICT DO NOTHING"""),
        values,
    )
    rows = connection.execute(
        text("SELECT key, uses FROM node WHERE key = ANY(:keys) ORDER BY key FOR UPDATE"), values
    )
    return {row.key: row.uses for row in rows}
