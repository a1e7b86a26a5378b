"""The one transaction: a batch of events becomes facts, rows, ranks and audit, or nothing at all
(DESIGN §2).

Nodes (accessions, study UIDs, order numbers, patients) are inserted and locked in key order before
facts are read, all that is reached at once, so that an order and an image of one study that meet
from two partitions see each other: the second waits, then reads what the first wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from streams.errors import Park, Reason
from streams.events import Event, Identity, OrderChanged, PatientChanged, PatientMerged, decode
from streams.seal import KeyRing
from streams.studykey import digest
from worklist import metrics
from worklist.order.policy import Policy
from worklist.order.rank import Rank, rank
from worklist.record.facts import Known, fact_key, newer, nodes, terminality
from worklist.record.items import Item, derive
from worklist.sql import audit
from worklist.sql.merging import merge_rows

_UPSERT = text(
    """
    INSERT INTO fact (key, type, nodes, version_time, terminality, version_sequence, version_digest, first_received, body)
    VALUES (:key, :type, :nodes, :time, :terminality, :sequence, :digest, :received, CAST(:body AS jsonb))
    ON CONFLICT (key) DO UPDATE SET
        nodes = ARRAY(SELECT DISTINCT unnest(fact.nodes || excluded.nodes) ORDER BY 1),
        first_received = LEAST(fact.first_received, excluded.first_received),
        version_time = CASE WHEN {newer} THEN excluded.version_time ELSE fact.version_time END,
        terminality = CASE WHEN {newer} THEN excluded.terminality ELSE fact.terminality END,
        version_sequence = CASE WHEN {newer} THEN excluded.version_sequence ELSE fact.version_sequence END,
        version_digest = CASE WHEN {newer} THEN excluded.version_digest ELSE fact.version_digest END,
        body = CASE WHEN {newer} THEN excluded.body ELSE fact.body END
    """.replace(
        "{newer}",
        """((excluded.version_time, excluded.terminality, excluded.version_sequence, excluded.version_digest COLLATE "C")
             > (fact.version_time, fact.terminality, fact.version_sequence, fact.version_digest COLLATE "C"))""",
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


def _rows(connection: Connection, names: set[str]) -> list[Row[Any]]:
    sql = "SELECT * FROM study WHERE nodes && CAST(:n AS text[]) ORDER BY study FOR UPDATE"
    return list(connection.execute(text(sql), {"n": sorted(names)}).all())


def _write_group(
    connection: Connection, items: Sequence[Item], rows: Sequence[Row[Any]], policy: Policy
) -> int:
    """Gives each item its row; rows that are no item any more are merged into the row under which
    their study is read.
    """
    owner = _owners(items, rows)
    names = {key: row.study for key, row in owner.items()}
    names |= _new_names(connection, [i for i in items if i.key not in owner])
    owned = set(names.values())
    into: dict[str, str] = {}
    for row in rows:
        if row.study not in owned:
            shared = [i for i in items if set(i.nodes) & set(row.nodes)]
            if shared:
                into[row.study] = max(shared, key=lambda i: (*_kinship(i, row), i.key)).key
    changed = 0
    for item in items:
        heirs = [r for r in rows if into.get(r.study) == item.key and r.merged_into is None]
        changed += _write(connection, names[item.key], item, owner.get(item.key), heirs, policy)
    for row in rows:
        if row.study in into and row.merged_into != names[into[row.study]]:
            merge_rows(connection, row.study, names[into[row.study]])
            changed += 1
    return changed


def _kinship(item: Item, row: Row[Any]) -> tuple[bool, int]:
    """How well `row` fits `item`: the same patient, then the most names in common."""
    return (row.patient == item.patient, len(set(row.nodes) & set(item.nodes)))


def _owners(items: Sequence[Item], rows: Sequence[Row[Any]]) -> dict[str, Row[Any]]:
    """Which item keeps which row: the one it had, else the best relative, else one that was merged
    and is an item again.
    """
    live = {r.study: r for r in rows if r.merged_into is None}
    owner: dict[str, Row[Any]] = {}
    for row in sorted(live.values(), key=lambda r: (r.received_at, r.study)):
        if row.item in {i.key for i in items} and row.item not in owner:
            owner[row.item] = live.pop(row.study)
    pairs = [
        (i, r)
        for i in items
        for r in live.values()
        if i.key not in owner and set(i.nodes) & set(r.nodes)
    ]
    pairs.sort(key=lambda p: (*(-k for k in _kinship(*p)), p[1].received_at, p[1].study, p[0].key))
    for item, row in pairs:
        if item.key not in owner and row.study in live:
            owner[item.key] = live.pop(row.study)
    for row in rows:
        if (
            row.merged_into is not None
            and row.item not in owner
            and row.item in {i.key for i in items}
        ):
            owner[row.item] = row
    return owner


def _new_names(connection: Connection, items: Sequence[Item]) -> dict[str, str]:
    """Public names of new rows: a digest of the natural key, another one where a row of that name
    went to another item.
    """
    wished = {
        i.key: [
            digest(i.key.encode(), i.study_uid.encode(), *([bytes([n])] if n else []))
            for n in range(16)
        ]
        for i in items
    }
    if not wished:
        return {}
    sql = text("SELECT study FROM study WHERE study = ANY(:names)")
    taken = set(connection.scalars(sql, {"names": [n for names in wished.values() for n in names]}))
    return {key: next(n for n in names if n not in taken) for key, names in wished.items()}


def _columns(item: Item, place: Rank, policy: Policy) -> dict[str, Any]:
    return {
        "item": item.key,
        "nodes": list(item.nodes),
        "accession": item.accessions[0] if item.accessions else "",
        "accessions": list(item.accessions),
        "study_uid": item.study_uid,
        "patient": item.patient,
        "patient_id": item.identity.patient_id,
        "patient_issuer": item.identity.issuer,
        "patient_name": item.identity.name,
        "birth_date": item.identity.birth_date,
        "sex": item.identity.sex,
        "modality": item.modality,
        "body_part": item.body_part,
        "description": item.description,
        "subspecialty": item.subspecialty,
        "site": item.site,
        "location": item.location,
        "order_class": item.priority,
        "marks": [*item.marks, *(["priority_conflict"] if item.priority_conflict else [])],
        "ai": item.ai,
        "ai_reason": item.ai_reason,
        "flags": [list(f) for f in item.flags],
        "looked_for": list(item.looked_for),
        "abstained": list(item.abstained),
        "lane": place.lane,
        "due_at": place.due_at,
        "received_at": place.received_at,
        "target_at": place.target_at,
        "why": [list(t) for t in place.why],
        "clock": item.clock,
        "scheduled_at": item.scheduled_at,
        "last_image_at": item.last_image_at,
        "report_at": item.report_at,
        "policy_version": policy.version,
        "facts": {"readable": item.readable},
        "state": item.state,
    }


_JSON = {"flags", "why", "facts"}


def _write(
    connection: Connection,
    study: str,
    item: Item,
    row: Row[Any] | None,
    heirs: Sequence[Row[Any]],
    policy: Policy,
) -> int:
    """Writes `item` to its row. What persons did to the rows that merge into it (`heirs`) goes on
    to hold.
    """
    acts = [*heirs, *([row] if row is not None else [])]
    pinned, promoted = any(r.pinned for r in acts), any(r.promoted for r in acts)
    cleared = row.cleared if row is not None else []
    place = rank(
        item.rank_facts(pinned=pinned, promoted=promoted, cleared=[(c[0], c[1]) for c in cleared]),
        policy,
    )
    columns = _columns(item, place, policy) | {"pinned": pinned, "promoted": promoted}
    if promoted and item.state == "historic":
        columns["state"] = "readable"
    if cleared and item.ai == "flagged" and all([p, c] in cleared for p, c, _ in item.flags):
        columns["ai"] = "not_flagged"
    if (
        row is not None
        and row.merged_into is None
        and all(_same(getattr(row, name), value) for name, value in columns.items())
    ):
        return 0
    names = list(columns)
    holders = [f"CAST(:{n} AS jsonb)" if n in _JSON else f":{n}" for n in names]
    values = {n: _json(v) if n in _JSON else v for n, v in columns.items()} | {"study": study}
    if row is None:
        sql = f"INSERT INTO study (study, changed, {', '.join(names)}) VALUES (:study, txid_current(), {', '.join(holders)})"
    else:
        sets = ", ".join(f"{n} = {h}" for n, h in zip(names, holders, strict=True))
        sql = f"UPDATE study SET {sets}, changed = txid_current(), changed_at = clock_timestamp(), merged_into = NULL WHERE study = :study"
    connection.execute(text(sql), values)
    _record(connection, study, item, row, columns, policy)
    return 1


def _record(
    connection: Connection,
    study: str,
    item: Item,
    row: Row[Any] | None,
    columns: dict[str, Any],
    policy: Policy,
) -> None:
    detail = {
        "item": item.key,
        "lane": columns["lane"],
        "due_at": columns["due_at"].isoformat(),
        "received_at": columns["received_at"].isoformat(),
        "state": columns["state"],
        "ai": columns["ai"],
        "why": columns["why"],
        "policy": policy.version,
        "nodes": list(item.nodes),
    }
    audit.append(connection, "rank", study, detail=detail)
    was = row.ai if row is not None else "pending"
    if columns["ai"] == "flagged" and was != "flagged":
        connection.execute(
            text(
                "INSERT INTO outbox (study, kind, body) VALUES (:study, 'flagged', CAST(:body AS jsonb))"
            ),
            {"study": study, "body": _json({"item": item.key, "flags": columns["flags"]})},
        )


def _same(a: Any, b: Any) -> bool:
    return bool(a == b)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


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
