"""What a batch reaches, locked: the facts that belong together, found by the record's own rules.

Nodes are inserted and locked in key order before facts are read, so that an order and an image of
one study that meet from two partitions see each other: the second waits, then reads what the first
wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, TextClause, text

from streams.events import Event, Parked, Patient, PatientMerged, SenderSeen, decode
from worklist.order.policy import Policy
from worklist.record.facts import Fact, is_island, number_node, pair_node, person_nodes
from worklist.record.world import MOST_LENT, MOST_PATIENTS, World
from worklist.sql.writing.opening import Opener

#: Node by node (`OFFSET 0`), which is always by the index: of `nodes && :nodes` the planner thinks,
#: without statistics, that it finds most of the table, and reads all of it. A fact comes once for
#: each of its nodes.
_FIND = """SELECT f.key, f.version FROM unnest(CAST(:nodes AS text[])) n, LATERAL (
               SELECT key, xmin::text AS version FROM fact
               WHERE nodes @> ARRAY[n]{} OFFSET 0) f"""
BY_NODES = text(_FIND.format(""))
ABOUT = text(_FIND.format(" AND type IN ('PatientChanged', 'PatientMerged')"))
_BODIES = text(
    """SELECT key, xmin::text AS version, body::text AS body FROM fact
       WHERE key = ANY(CAST(:keys AS text[]))"""
)
_USES = text("SELECT key, uses FROM node WHERE key = ANY(CAST(:keys AS text[])) AND uses > 0")
_INSERT_NODES = text(
    """INSERT INTO node (key) SELECT k FROM unnest(CAST(:keys AS text[])) k
       ORDER BY k COLLATE "C" ON CONFLICT DO NOTHING"""
)
_LOCK_NODES = text(
    "SELECT key, uses FROM node WHERE key = ANY(CAST(:keys AS text[])) ORDER BY key FOR UPDATE"
)
_AUTHORITIES = text(
    """SELECT value, authority FROM patient_number
       WHERE value = ANY(CAST(:values AS text[]))"""
)


def as_array(digests: Iterable[str]) -> str:
    """PostgreSQL's text array of digests, which need no quotes: a list costs psycopg much more."""
    return f"{{{','.join(sorted(digests))}}}"


@dataclass
class Reached:
    """What was reached: facts by key, all nodes that have to be locked, and how many things name
    each of those that are known.
    """

    facts: dict[str, Fact] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    uses: dict[str, int] = field(default_factory=dict)


def hold(
    connection: Connection,
    opener: Opener,
    policy: Policy,
    touched: Collection[str],
    people: Collection[str],
    start: Callable[[World], Set[str]],
    write: Callable[[], Mapping[str, int]],
) -> Reached:
    """Locks all that `start` reaches, at once and in key order, calls `write`, and reads it.

    A number that becomes shared by this batch still reaches what it had joined before.

    Args:
        touched: all nodes of the batch.
        people: person nodes of its identity messages: all studies of these patients are reached.
        start: the nodes by which the batch joins others, under what is shared already.
        write: what it returns is how many things name the nodes that it counted anew.
    """
    reach = _Reach(connection, opener, policy, people, start)
    held = set(touched) | reach.go(touched).nodes
    while True:
        with connection.begin_nested() as step:
            reach.before = _lock(connection, held)
            counted = write()
            found = reach.go(touched)
            if found.nodes <= held:
                found.uses = reach.before | dict(counted)
                return found
            # somebody linked more while we waited: let go and lock that too, in order
            step.rollback()
        held |= found.nodes


def reached(
    connection: Connection, opener: Opener, policy: Policy, nodes: Collection[str]
) -> Reached:
    """All that `nodes` reach, as it stands: to be shown, so without a lock."""
    return _Reach(connection, opener, policy, (), lambda _: set(nodes)).go(nodes)


class _Reach:
    """Walks from nodes to facts to nodes, where numbers join."""

    def __init__(
        self,
        connection: Connection,
        opener: Opener,
        policy: Policy,
        people: Collection[str],
        start: Callable[[World], Set[str]],
    ) -> None:
        self._connection = connection
        self._policy = policy
        self._start = start
        self._opener = opener
        self._people = set(people)
        self._opened: dict[tuple[str, str], Fact] = {}
        self._uses: dict[str, int] = {}
        self.before: dict[str, int] = {}

    def go(self, touched: Collection[str]) -> Reached:
        """All that the touched numbers reach, and all studies of `people`."""
        found = Reached()
        self._uses = dict(self.before)
        persons = self._identities(self._people, found)
        frontier = self._start(self._world(touched)) | persons
        passed: set[str] = set()
        while frontier:
            passed |= frontier
            fresh = self._read(BY_NODES, frontier, found)
            named = {node for fact in fresh for node in fact.nodes}
            world = self._world(named)
            near = {node for fact in fresh for node in world.nodes(fact) | world.lenders(fact)}
            frontier = near - passed
            found.nodes |= named
        found.nodes |= passed | persons
        who = {node for fact in found.facts.values() for node in person_nodes(fact.event)}
        self._identities(who - persons, found)
        found.nodes |= who
        return found

    def _identities(self, people: Collection[str], found: Reached) -> set[str]:
        """Identity messages about `people` and all whom they name; returns all persons."""
        seen = set(people)
        frontier = set(people)
        while frontier:
            fresh = self._read(ABOUT, frontier, found)
            frontier = {n for f in fresh for n in person_nodes(f.event)} - seen
            seen |= frontier
        return seen

    def _read(self, sql: TextClause, nodes: Collection[str], found: Reached) -> list[Fact]:
        rows = self._connection.execute(sql, {"nodes": as_array(nodes)}).all()
        wanted = {key: version for key, version in rows if key not in found.facts}
        fresh: dict[str, Fact] = {}
        for key, version in wanted.items():
            known = self._opened.get((key, version)) or self._opener.recall(key, version)
            if known is not None:
                fresh[key] = known
        self._open(wanted.keys() - fresh.keys(), fresh)
        found.facts |= fresh
        return list(fresh.values())

    def _open(self, keys: Collection[str], fresh: dict[str, Fact]) -> None:
        """Reads facts that nobody remembers."""
        if not keys:
            return
        rows = self._connection.execute(_BODIES, {"keys": as_array(keys)}).all()
        for key, version, body in rows:
            fact = self._opener.fact(decode_fact(body))
            fresh[key] = self._opened[key, version] = fact
            self._opener.remember(key, version, fact, len(body))

    def _world(self, nodes: Collection[str]) -> World:
        asked = [node for node in nodes if node not in self._uses and not is_island(node)]
        self._uses |= dict.fromkeys(asked, 0) | _read_uses(self._connection, asked)
        return _world(nodes, nodes, self._uses, self._policy)


def _world(
    numbers: Iterable[str], pairs: Iterable[str], uses: Mapping[str, int], policy: Policy
) -> World:
    crowded = {node for node in pairs if uses.get(node, 0) > policy.studies_per_number}
    return World(
        shared=frozenset(node for node in numbers if uses.get(node, 0) > MOST_PATIENTS),
        crowded=frozenset(crowded),
        lending=frozenset(node for node in crowded if uses[node] <= MOST_LENT),
    )


def _read_uses(connection: Connection, nodes: Collection[str]) -> dict[str, int]:
    """How many things name each node; nodes that nobody named are left out."""
    if not nodes:
        return {}
    rows = connection.execute(_USES, {"keys": as_array(nodes)}).all()
    return {row.key: row.uses for row in rows}


def world_of(connection: Connection, found: Reached, policy: Policy) -> World:
    """What the facts at hand cannot say by themselves."""
    known = list(found.facts.values())
    numbers = {number_node(n) for f in known for n in f.numbers}
    pairs = {pair_node(n, p) for f in known for n in f.numbers for p in f.patients}
    asked = (numbers | pairs) - found.uses.keys()
    world = _world(numbers, pairs, found.uses | _read_uses(connection, asked), policy)
    values = {patient.value for fact in known for patient in _patients(fact)}
    authorities: dict[str, set[str]] = {}
    for value, authority in connection.execute(_AUTHORITIES, {"values": as_array(values)}).all():
        authorities.setdefault(value, set()).add(authority)
    return replace(
        world, authorities={value: frozenset(names) for value, names in authorities.items()}
    )


def _patients(fact: Fact) -> list[Patient]:
    found = [fact.patient] if fact.patient else []
    return [*found, fact.event.retired] if isinstance(fact.event, PatientMerged) else found


def decode_fact(body: str) -> Event:
    """The event in a fact's body; raises Park as `decode` when a later release wrote it."""
    event = decode(body.encode())
    assert not isinstance(event, Parked | SenderSeen), "these are no facts"
    return event


def _lock(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    # An island is one fact's own: nothing else can meet it.
    values = {"keys": as_array(key for key in keys if not is_island(key))}
    connection.execute(_INSERT_NODES, values)
    return {row.key: row.uses for row in connection.execute(_LOCK_NODES, values).all()}
