"""The one transaction: a batch of events becomes facts, rows, ranks and audit, or nothing at all.

Nodes (accessions, study UIDs, order numbers, patients) are inserted and locked in key order before
facts are read, all that is reached at once, so that an order and an image of one study that meet
from two partitions see each other: the second waits, then reads what the first wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, text

from streams.errors import Park, Reason
from streams.events import Event, Identity, OrderChanged, PatientChanged, PatientMerged, decode
from streams.seal import KeyRing
from worklist import metrics
from worklist.order.policy import Policy
from worklist.record.facts import Known, fact_key, newer, nodes, terminality
from worklist.record.items import derive
from worklist.sql.rows import _rows, _write_group

_UPSERT = text(
    """
    INSERT INTO fact (key, type, nodes, version_time, terminality, version_sequence, version_digest,
                      first_received, body)
    VALUES (:key, :type, :nodes, :time, :terminality, :sequence, :digest,
            :received, CAST(:body AS jsonb))
    ON CONFLICT (key) DO UPDATE SET
        nodes = ARRAY(SELECT DISTINCT unnest(fact.nodes || excluded.nodes) ORDER BY 1),
        first_received = LEAST(fact.first_received, excluded.first_received),
        version_time = CASE WHEN {newer} THEN excluded.version_time ELSE fact.version_time END,
        terminality = CASE WHEN {newer} THEN excluded.terminality ELSE fact.terminality END,
        version_sequence =
            CASE WHEN {newer} THEN excluded.version_sequence ELSE fact.version_sequence END,
        version_digest =
            CASE WHEN {newer} THEN excluded.version_digest ELSE fact.version_digest END,
        body = CASE WHEN {newer} THEN excluded.body ELSE fact.body END
    """.replace(
        "{newer}",
        """((excluded.version_time, excluded.terminality, excluded.version_sequence,
             excluded.version_digest COLLATE "C")
            > (fact.version_time, fact.terminality, fact.version_sequence,
               fact.version_digest COLLATE "C"))""",
    )
)


_PEOPLE = """SELECT key, first_received, nodes, body FROM fact
             WHERE nodes && CAST(:n AS text[]) AND type IN ('PatientChanged','PatientMerged')"""


class Identities(Mapping[str, Identity]):
    """Opens seals, each once in its life. A seal that does not open is nobody, and the row says so
    by its gaps.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._open: dict[str, Identity] = {}

    def __getitem__(self, sealed: str) -> Identity:
        if sealed not in self._open:
            if len(self._open) > 10_000:
                self._open.clear()
            self._open[sealed] = self._ring.open_identity(sealed)
        return self._open[sealed]

    def __iter__(self) -> Any:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)


def apply(
    connection: Connection, events: Sequence[Event], *, policy: Policy, identities: Identities
) -> int:
    """Applies `events` in the caller's transaction; returns how many rows changed. Idempotent, and
    free of order.

    Raises:
        Park: before anything is written: `bad_seal` when an identity cannot be opened,
            `no_study_key` when an event names neither study nor patient.
    """
    for event in events:
        if event.identity:
            identities[event.identity]
        if all(n.startswith("p:") for n in nodes(event)) and not isinstance(
            event, PatientChanged | PatientMerged
        ):
            raise Park(Reason.NO_STUDY_KEY)
    facts = _newest(events)
    touched = sorted({n for known in facts.values() for n in known.nodes})
    people = {
        n
        for k in facts.values()
        if isinstance(k.event, PatientChanged | PatientMerged)
        for n in k.nodes
    }
    known = hold(connection, touched, people, lambda: _write_facts(connection, facts))
    return _derive(connection, known, policy=policy, identities=identities)


def project(
    connection: Connection, touched: Sequence[str], *, policy: Policy, identities: Identities
) -> int:
    """Derives and writes anew all rows that `touched` nodes reach; locks as `apply` does, so that
    no stale fact is ranked.
    """
    return _derive(connection, hold(connection, touched), policy=policy, identities=identities)


def hold(
    connection: Connection,
    touched: Sequence[str],
    people: Collection[str] = (),
    write: Callable[[], None] = lambda: None,
) -> dict[str, Known]:
    """Locks all that `touched` reaches, at once and in key order, calls `write`, and returns the
    facts: nobody else can rank them now.
    """
    _, reached = _closure(connection, touched, people)
    held = reached | set(touched)
    while True:
        with connection.begin_nested() as step:
            _lock(connection, held)
            write()
            known, reached = _closure(connection, touched, people)
            if reached <= held:
                return known
            # somebody linked more while we waited: let go and lock that too, in order
            step.rollback()
        held |= reached


def _derive(
    connection: Connection, known: Mapping[str, Known], *, policy: Policy, identities: Identities
) -> int:
    items = derive(known, identities, policy)
    rows = _rows(connection, {n for k in known.values() for n in k.nodes if not n.startswith("p:")})
    return _write_group(connection, items, rows, policy)


def _newest(events: Sequence[Event]) -> dict[str, Known]:
    facts: dict[str, Known] = {}
    for event in events:
        key, new = fact_key(event), Known(event, event.received_at, frozenset(nodes(event)))
        if (old := facts.get(key)) is not None:
            newest = event if newer(event, old.event) else old.event
            new = Known(newest, min(event.received_at, old.first_received), new.nodes | old.nodes)
        facts[key] = new
    return facts


def _lock(connection: Connection, keys: Collection[str]) -> None:
    values = {"keys": sorted(keys)}
    connection.execute(
        text("INSERT INTO node (key) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING"),
        values,
    )
    connection.execute(
        text('SELECT key FROM node WHERE key = ANY(:keys) ORDER BY key COLLATE "C" FOR UPDATE'),
        values,
    ).all()


def _write_facts(connection: Connection, facts: Mapping[str, Known]) -> None:
    values = [
        {
            "key": key,
            "type": known.event.type,
            "nodes": sorted(known.nodes),
            "time": known.event.version.time,
            "terminality": terminality(known.event),
            "sequence": known.event.version.sequence,
            "digest": known.event.version.digest,
            "received": known.first_received,
            "body": known.event.model_dump_json(),
        }
        for key, known in sorted(facts.items())
    ]
    connection.execute(_UPSERT, values)


def _closure(
    connection: Connection, touched: Sequence[str], people: Collection[str]
) -> tuple[dict[str, Known], set[str]]:
    """All facts that the touched nodes reach, and the nodes reached (what has to be locked).

    What was said of `people` (a merge, an address) reaches all their studies, under every number
    that was merged; a patient whom a study merely names brings what is known of the patient, not
    every other study.
    """
    known = _about(connection, people)
    persons = set(people) | {n for k in known.values() for n in k.nodes}
    seen: set[str] = set()
    frontier = {n for n in touched if not n.startswith("p:")} | persons
    while frontier:
        seen |= frontier
        known |= _facts(
            connection,
            "SELECT key, first_received, nodes, body FROM fact WHERE nodes && CAST(:n AS text[])",
            frontier,
        )
        frontier = {n for k in known.values() for n in k.nodes if not n.startswith("p:")} - seen
    known |= _about(
        connection, {n for k in known.values() for n in k.nodes if n.startswith("p:")} - persons
    )
    return known, seen


def _about(connection: Connection, people: Collection[str]) -> dict[str, Known]:
    """What is known of `people`, and of all who were merged with them."""
    known: dict[str, Known] = {}
    frontier, seen = set(people), set(people)
    while frontier:
        known |= _facts(connection, _PEOPLE, frontier)
        frontier = {n for k in known.values() for n in k.nodes} - seen
        seen |= frontier
    return known


def _facts(connection: Connection, sql: str, names: set[str]) -> dict[str, Known]:
    rows = connection.execute(text(sql), {"n": sorted(names)}).all()
    return {r.key: Known(decode_fact(r.body), r.first_received, frozenset(r.nodes)) for r in rows}


def decode_fact(body: dict[str, Any]) -> Event:
    """The event in a fact's body; raises Park as `decode` when a later release wrote it."""
    event = decode(orjson.dumps(body))
    assert not hasattr(event, "stage"), "parked events are no facts"
    return event


def measure(events: Sequence[Event], now: datetime) -> None:
    """Notes how long after the door the batch was applied (call after the commit)."""
    for event in events:
        age = max(0.0, (now - event.received_at).total_seconds())
        if event.type == "FindingsMade":
            metrics.image_to_rank.observe(age)
        elif isinstance(event, OrderChanged) or event.type == "SeriesReceived":
            metrics.door_to_list.observe(age)
    metrics.batch_events.observe(len(events))
    metrics.applied.set(now.timestamp())
