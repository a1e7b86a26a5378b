"""The one transaction: a batch of events becomes facts, rows, ranks and audit, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson
from sqlalchemy import Connection, text

from streams.errors import Park, Reason
from streams.events import (
    ActDone,
    Event,
    ExamProgressed,
    Number,
    PatientChanged,
    PatientMerged,
    SeriesReceived,
    encode,
)
from worklist.order.policy import LEAST_STUDIES, MOST_COUNTED, Policy
from worklist.record.facts import (
    Fact,
    Name,
    first_receipts,
    node,
    number_node,
    pair_node,
    person_nodes,
)
from worklist.record.items import listed_and_off
from worklist.record.world import World
from worklist.sql.writing.closure import Reached, as_array, hold, world_of
from worklist.sql.writing.items import as_json, write_items
from worklist.sql.writing.opening import Opener

#: A message that comes again changes nothing, unless this copy was received before the other.
_UPSERT = text(
    """INSERT INTO fact (key, type, nodes, received, body)
       SELECT key, type, nodes, received, body
       FROM jsonb_populate_recordset(NULL::fact, CAST(:rows AS jsonb)) ORDER BY key
       ON CONFLICT (key) DO UPDATE SET received = excluded.received, body = excluded.body
       WHERE excluded.received < fact.received
       RETURNING key, xmin::text AS version"""
)
_KNOWN = text(
    """SELECT value, authority FROM patient_number
       WHERE value = ANY(CAST(:values AS text[]))"""
)
_SPOKEN_OF = text(
    """SELECT n FROM unnest(CAST(:nodes AS text[])) n
       WHERE EXISTS (SELECT 1 FROM fact WHERE nodes @> ARRAY[n]
                     AND type IN ('PatientChanged', 'PatientMerged'))"""
)
_ADD_NUMBERS = text(
    """INSERT INTO patient_number (value, authority)
       SELECT p->>0, p->>1 FROM jsonb_array_elements(CAST(:pairs AS jsonb)) p
       ON CONFLICT DO NOTHING"""
)
_COUNT = text(
    """WITH asked AS (SELECT p->>0 AS node, p->>1 AS by
                      FROM jsonb_array_elements(CAST(:pairs AS jsonb)) p),
            fresh AS (INSERT INTO naming (node, by) SELECT a.node, a.by FROM asked a
                      JOIN node n ON n.key = a.node WHERE n.uses <= :most
                      ON CONFLICT DO NOTHING RETURNING node)
       UPDATE node SET uses = uses + f.n
       FROM (SELECT node, count(*) AS n FROM fresh GROUP BY node) f
       WHERE node.key = f.node
       RETURNING node.key, node.uses, node.uses > :least AND node.named IS NULL AS nameless"""
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
    touched = {node for fact in facts.values() for node in fact.nodes}
    people = {
        node
        for fact in facts.values()
        if isinstance(fact.event, PatientChanged | PatientMerged)
        for node in person_nodes(fact.event)
    } | _newly_placed(connection, facts)

    def write() -> Mapping[str, int]:
        _write_facts(connection, facts, opener)
        return _write_uses(connection, facts)

    def start(world: World) -> set[str]:
        return {node for fact in facts.values() for node in world.nodes(fact) | world.lenders(fact)}

    reached = hold(connection, opener, policy, touched, people, start, write)
    return _derive(connection, reached, policy)


def project(
    connection: Connection, touched: Sequence[str], *, policy: Policy, opener: Opener
) -> int:
    """Derives and writes anew all rows that `touched` (nodes of rows) reach; locks as `apply`."""
    reached = hold(connection, opener, policy, touched, (), lambda _: set(touched), dict)
    return _derive(connection, reached, policy)


def _derive(connection: Connection, reached: Reached, policy: Policy) -> int:
    world = world_of(connection, reached, policy)
    items, off_list = listed_and_off(reached.facts.values(), world, policy)
    return write_items(connection, items, off_list, world, policy)


def _check(fact: Fact) -> None:
    if isinstance(fact.event, PatientChanged | PatientMerged):
        if fact.patient is None:
            raise Park(Reason.NO_STUDY_KEY)
    elif not fact.numbers and not isinstance(fact.event, ActDone):
        raise Park(Reason.NO_STUDY_KEY)


def _newly_placed(connection: Connection, facts: Mapping[str, Fact]) -> set[str]:
    """Patients whose number an authority has now that had none, and of whom identity messages
    speak: one that stated no authority, or of whom an open number is, may be told otherwise by it.
    """
    stated = {pair for fact in facts.values() for pair in _stated(fact)}
    if not stated:
        return set()
    asked = {"values": as_array({value for value, _ in stated})}
    known = {(value, authority) for value, authority in connection.execute(_KNOWN, asked).all()}
    nodes = {node("who", value) for value, _ in stated - known}
    if not nodes:
        return set()
    return set(connection.execute(_SPOKEN_OF, {"nodes": as_array(nodes)}).scalars())


def _stated(fact: Fact) -> list[tuple[str, str]]:
    """The patient numbers of which a fact states the authority: value, authority."""
    found = [fact.patient] if fact.patient else []
    if isinstance(fact.event, PatientMerged):
        found.append(fact.event.retired)
    return [(patient.value, patient.authority) for patient in found if patient.authority]


def _write_facts(connection: Connection, facts: Mapping[str, Fact], opener: Opener) -> None:
    bodies = {key: encode(fact.event) for key, fact in facts.items()}
    values = [
        {
            "key": key,
            "type": fact.event.type,
            "nodes": fact.nodes,
            "received": fact.received,
            "body": orjson.Fragment(bodies[key]),
        }
        for key, fact in sorted(facts.items())
    ]
    for key, version in connection.execute(_UPSERT, {"rows": as_json(values)}).all():
        opener.remember(key, version, facts[key], len(bodies[key]))


def _write_uses(connection: Connection, facts: Mapping[str, Fact]) -> dict[str, int]:
    """Counts which patients name a number, and which studies name it as theirs; returns how many
    things name what was counted anew.
    """
    pairs: set[tuple[str, str]] = set()
    names: dict[str, Number | Name] = {}
    numbers: set[tuple[str, str]] = set()
    for fact in facts.values():
        event = fact.event
        numbers.update(_stated(fact))
        if isinstance(event, PatientChanged | PatientMerged | ActDone):
            continue
        for number in fact.numbers:
            if number.kind in ("study", "step"):
                continue
            alone, pair = number_node(number), pair_node(number, fact.patient)
            pairs.add((alone, pair))
            names |= {alone: number, pair: Name(number, fact.patient)}
            if isinstance(event, SeriesReceived):
                pairs.add((pair, node("study", event.study_uid)))
            elif isinstance(event, ExamProgressed) and event.status == "available":
                pairs |= {(pair, number_node(n)) for n in fact.numbers if n.kind == "study"}
    counted = _count(connection, pairs, names)
    connection.execute(_ADD_NUMBERS, {"pairs": _as_text(numbers)})
    return counted


def _as_text(pairs: Iterable[tuple[str, str]]) -> str:
    return orjson.dumps(sorted(pairs)).decode()


def _named(what: Number | Name) -> dict[str, str]:
    """A number, and where it is one patient's whose: by pseudonym, empty where nobody says."""
    if isinstance(what, Number):
        return what.model_dump()
    number, patient = what
    whose = {"patient": "", "patient_authority": ""}
    if patient:
        whose = {"patient": patient.value, "patient_authority": patient.authority}
    return number.model_dump() | whose


def _count(
    connection: Connection, pairs: set[tuple[str, str]], names: Mapping[str, Number | Name]
) -> dict[str, int]:
    """Notes each pair once; a number is not counted further than any site asks. Returns what was
    counted anew.

    Of a number that may be a bad one its name is kept, to be told.
    """
    asked = {"pairs": _as_text(pairs), "most": MOST_COUNTED, "least": LEAST_STUDIES}
    counted = connection.execute(_COUNT, asked).all()
    told = {row.key: _named(names[row.key]) for row in counted if row.nameless}
    if told:
        connection.execute(
            text("UPDATE node SET named = CAST(:names AS jsonb)->key WHERE key = ANY(:keys)"),
            {"keys": list(told), "names": orjson.dumps(told).decode()},
        )
    return {row.key: row.uses for row in counted}
