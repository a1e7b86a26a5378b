"""The one transaction: a batch of events becomes facts, rows, ranks and audit, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
from sqlalchemy import Connection, text

from streams.errors import Park, Reason
from streams.events import (
    ActDone,
    Event,
    ExamProgressed,
    PatientChanged,
    PatientMerged,
    SeriesReceived,
)
from worklist.order.policy import Policy
from worklist.record.facts import Fact, first_receipts, node, number_node, pair_node, person_nodes
from worklist.record.items import derive
from worklist.record.world import MOST_PATIENTS, MOST_STUDIES, World
from worklist.sql.writing.closure import Reached, fact_nodes, hold, world_of
from worklist.sql.writing.items import as_json, write_items
from worklist.sql.writing.opening import Opener

#: A message that comes again changes nothing, unless this copy was received before the other.
_UPSERT = text(
    """INSERT INTO fact (key, type, nodes, received, body)
       SELECT key, type, nodes, received, body
       FROM jsonb_populate_recordset(NULL::fact, CAST(:rows AS jsonb)) ORDER BY key
       ON CONFLICT (key) DO UPDATE SET received = excluded.received, body = excluded.body
       WHERE excluded.received < fact.received"""
)


def apply(
    connection: Connection, events: Sequence[Event], *, policy: Policy, opener: Opener
) -> int:
    """Applies `events` in the caller's transaction; returns how many rows changed. Idempotent, and
    free of order.

    Raises:
        Park: before anything is written: `bad_seal` when a seal cannot be opened, `no_study_key`
            when an event names neither study nor patient.
    """
    facts = first_receipts(opener.fact(event) for event in events)
    for fact in facts.values():
        _check(fact)
    nodes = {key: fact_nodes(fact) for key, fact in facts.items()}
    touched = sorted({node for found in nodes.values() for node in found})
    people = {
        node
        for fact in facts.values()
        if isinstance(fact.event, PatientChanged | PatientMerged)
        for node in person_nodes(fact.event)
    } | _newly_placed(connection, facts)

    def write() -> None:
        _write_facts(connection, facts, nodes)
        _write_uses(connection, facts)

    def start(world: World) -> set[str]:
        return {node for fact in facts.values() for node in world.nodes(fact)}

    return _derive(connection, hold(connection, opener, touched, people, start, write), policy)


def project(
    connection: Connection, touched: Sequence[str], *, policy: Policy, opener: Opener
) -> int:
    """Derives and writes anew all rows that `touched` (nodes of rows) reach; locks as `apply`."""
    reached = hold(connection, opener, touched, (), lambda _: set(touched), lambda: None)
    return _derive(connection, reached, policy)


def _derive(connection: Connection, reached: Reached, policy: Policy) -> int:
    world = world_of(connection, reached.facts.values())
    items = derive(reached.facts.values(), world, policy)
    return write_items(connection, items, world, policy)


def _check(fact: Fact) -> None:
    if isinstance(fact.event, PatientChanged | PatientMerged):
        if fact.patient is None:
            raise Park(Reason.NO_STUDY_KEY)
    elif not fact.numbers and not isinstance(fact.event, ActDone):
        raise Park(Reason.NO_STUDY_KEY)


def _newly_placed(connection: Connection, facts: Mapping[str, Fact]) -> set[str]:
    """Patients whose number a further authority has now: a merge that stated none may end by it."""
    stated = {
        (fact.patient.value, fact.patient.authority): person_nodes(fact.event)
        for fact in facts.values()
        if fact.patient and fact.patient.authority and not isinstance(fact.event, ActDone)
    }
    if not stated:
        return set()
    known = connection.execute(
        text("SELECT value, authority FROM patient_number WHERE value = ANY(:values)"),
        {"values": sorted({value for value, _ in stated})},
    ).all()
    had = {row.value for row in known}
    pairs = {(row.value, row.authority) for row in known}
    found = {
        node
        for (value, authority), nodes in stated.items()
        if value in had and (value, authority) not in pairs
        for node in nodes
    }
    if not found:
        return set()
    open_merges = connection.scalar(
        text("""SELECT EXISTS (SELECT 1 FROM fact WHERE nodes && CAST(:nodes AS text[])
                AND type = 'PatientMerged' AND body->'retired'->>'authority' = '')"""),
        {"nodes": sorted(found)},
    )
    return found if open_merges else set()


def _write_facts(
    connection: Connection, facts: Mapping[str, Fact], nodes: Mapping[str, Sequence[str]]
) -> None:
    values = [
        {
            "key": key,
            "type": fact.event.type,
            "nodes": list(nodes[key]),
            "received": fact.received,
            "body": fact.event.model_dump(mode="json"),
        }
        for key, fact in sorted(facts.items())
    ]
    connection.execute(_UPSERT, {"rows": as_json(values)})


def _write_uses(connection: Connection, facts: Mapping[str, Fact]) -> None:
    """Counts which patients name a number, and which studies name it as theirs."""
    pairs: set[tuple[str, str]] = set()
    numbers: set[tuple[str, str]] = set()
    for fact in facts.values():
        event = fact.event
        if isinstance(event, PatientChanged | PatientMerged | ActDone):
            continue
        if fact.patient:
            numbers.add((fact.patient.value, fact.patient.authority))
        for number in fact.numbers:
            if number.kind in ("study", "step"):
                continue
            pair = pair_node(number, fact.patient)
            pairs.add((number_node(number), pair))
            if isinstance(event, SeriesReceived):
                pairs.add((pair, node("study", event.study_uid)))
            elif isinstance(event, ExamProgressed) and event.status == "available":
                pairs |= {(pair, number_node(n)) for n in fact.numbers if n.kind == "study"}
    _count(connection, pairs)
    connection.execute(
        text("""INSERT INTO patient_number (value, authority)
                SELECT p->>0, p->>1 FROM jsonb_array_elements(CAST(:pairs AS jsonb)) p
                ON CONFLICT DO NOTHING"""),
        {"pairs": orjson.dumps(sorted(p for p in numbers if p[1])).decode()},
    )


def _count(connection: Connection, pairs: set[tuple[str, str]]) -> None:
    """Notes each pair once; a number is not counted further than the rules ask."""
    connection.execute(
        text("""WITH asked AS (SELECT p->>0 AS node, p->>1 AS by
                               FROM jsonb_array_elements(CAST(:pairs AS jsonb)) p),
                     fresh AS (INSERT INTO naming (node, by) SELECT a.node, a.by FROM asked a
                               JOIN node n ON n.key = a.node WHERE n.uses <= :most
                               ON CONFLICT DO NOTHING RETURNING node)
                UPDATE node SET uses = uses + f.n
                FROM (SELECT node, count(*) AS n FROM fresh GROUP BY node) f
                WHERE node.key = f.node"""),
        {
            "pairs": orjson.dumps(sorted(pairs)).decode(),
            "most": max(MOST_PATIENTS, MOST_STUDIES),
        },
    )
