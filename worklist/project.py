"""The one transaction: a batch of events becomes facts, rows, ranks and audit, or nothing at all (DESIGN §2).

Nodes (accessions, study UIDs, patients) are inserted and locked in key order before facts are read, so that an order
and an image of one study that meet from two partitions see each other: the second waits, then reads what the first wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from streams.errors import Park, Reason
from streams.events import Event, Identity, OrderChanged, decode
from streams.seal import KeyRing
from streams.studykey import digest
from worklist import audit, metrics
from worklist.facts import Item, Known, derive, fact_key, newer, nodes, terminality
from worklist.policy import Policy
from worklist.rank import Rank, rank

_UPSERT = text("""
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
    """.replace("{newer}", """((excluded.version_time, excluded.terminality, excluded.version_sequence, excluded.version_digest COLLATE "C")
             > (fact.version_time, fact.terminality, fact.version_sequence, fact.version_digest COLLATE "C"))"""))  # fmt: skip


_PEOPLE = """SELECT key, first_received, body FROM fact
             WHERE nodes && CAST(:n AS text[]) AND type IN ('PatientChanged','PatientMerged')"""


class Identities(Mapping[str, Identity]):
    """Opens seals, each once in its life. A seal that does not open is nobody, and the row says so by its gaps."""

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


def apply(connection: Connection, events: Sequence[Event], *, policy: Policy, identities: Identities) -> int:
    """Applies `events` in the caller's transaction; returns how many rows changed. Idempotent, and free of order.

    Raises:
        Park: `bad_seal` when an identity cannot be opened (before anything is written).
    """
    for event in events:
        if event.identity:
            identities[event.identity]
    facts = _newest(events)
    touched = sorted({n for known in facts.values() for n in nodes(known.event)})
    if not touched:
        raise Park(Reason.NO_STUDY_KEY)
    _lock(connection, touched)
    _write_facts(connection, facts)
    return project(connection, touched, policy=policy, identities=identities)


def project(connection: Connection, touched: Sequence[str], *, policy: Policy, identities: Identities) -> int:
    """Derives and writes anew all rows that `touched` nodes reach."""
    known = _closure(connection, touched)
    items = derive(known, identities, policy)
    rows = _rows(connection, items, touched)
    return sum(_write_group(connection, group, rows, policy) for group in [items])


def _newest(events: Sequence[Event]) -> dict[str, Known]:
    facts: dict[str, Known] = {}
    for event in events:
        key = fact_key(event)
        old = facts.get(key)
        first = min(event.received_at, old.first_received) if old else event.received_at
        facts[key] = Known(event if old is None or newer(event, old.event) else old.event, first)
    return facts


def _lock(connection: Connection, keys: Sequence[str]) -> None:
    connection.execute(text("INSERT INTO node (key) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING"), {"keys": sorted(keys)})
    connection.execute(
        text('SELECT key FROM node WHERE key = ANY(:keys) ORDER BY key COLLATE "C" FOR UPDATE'), {"keys": sorted(keys)}
    ).all()


def _write_facts(connection: Connection, facts: Mapping[str, Known]) -> None:
    values = [
        {
            "key": key, "type": known.event.type, "nodes": nodes(known.event), "time": known.event.version.time,
            "terminality": terminality(known.event), "sequence": known.event.version.sequence,
            "digest": known.event.version.digest, "received": known.first_received, "body": known.event.model_dump_json(),
        }
        for key, known in sorted(facts.items())
    ]  # fmt: skip
    connection.execute(_UPSERT, values)


def _closure(connection: Connection, touched: Sequence[str]) -> dict[str, Known]:
    """All facts that the touched nodes reach. Patients lead to their own facts and merges, and, if touched, to their studies."""
    # A touched patient is all the patients merged with them: what changes for one changes the studies of all.
    known = _people(connection, [n for n in touched if n.startswith("p:")])
    followed: set[str] = set()
    frontier = set(touched).union(*(nodes(k.event) for k in known.values()))
    while frontier:
        _lock(connection, sorted(frontier - set(touched)))
        followed |= frontier
        found = connection.execute(
            text("SELECT key, first_received, body FROM fact WHERE nodes && CAST(:n AS text[])"), {"n": sorted(frontier)}
        )
        reached: set[str] = set()
        for key, first, body in found.all():
            event = decode_fact(body)
            known[key] = Known(event, first)
            reached |= set(nodes(event))
        # A patient that was only reached brings demographics and merges, not every other study of theirs.
        people = sorted(n for n in reached - followed if n.startswith("p:"))
        known |= _people(connection, people)
        frontier = {n for n in reached - followed if not n.startswith("p:")}
    return known


def _people(connection: Connection, people: Sequence[str]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    frontier, followed = set(people), set(people)
    while frontier:
        rows = connection.execute(
            text(_PEOPLE),
            {"n": sorted(frontier)},
        ).all()
        known |= {key: Known(decode_fact(body), first) for key, first, body in rows}
        frontier = {n for k in known.values() for n in nodes(k.event)} - followed
        followed |= frontier
    return known


def decode_fact(body: dict[str, Any]) -> Event:
    """The event in a fact's body; raises Park as `decode` when a later release wrote it."""
    event = decode(orjson.dumps(body))
    assert not hasattr(event, "stage"), "parked events are no facts"
    return event


def _rows(connection: Connection, items: Sequence[Item], touched: Sequence[str]) -> list[Row[Any]]:
    reached = sorted({n for item in items for n in item.nodes} | {n for n in touched if not n.startswith("p:")})
    return list(
        connection.execute(text("SELECT * FROM study WHERE nodes && CAST(:n AS text[]) ORDER BY study FOR UPDATE"), {"n": reached}).all()
    )


def _write_group(connection: Connection, items: Sequence[Item], rows: Sequence[Row[Any]], policy: Policy) -> int:
    """Gives each item its row: the one it had, else the oldest that shares a node, else a new one. The rest are merged into these."""
    free = {row.study: row for row in rows}
    owner: dict[str, Row[Any] | None] = {}
    for item in items:
        owner[item.key] = next((r for r in free.values() if r.item == item.key and r.merged_into is None), None)
        if (row := owner[item.key]) is not None:
            del free[row.study]
    for item in items:
        if owner[item.key] is None:
            shared = [r for r in free.values() if r.merged_into is None and set(r.nodes) & set(item.nodes)]
            row = min(shared, key=lambda r: (r.received_at, r.study), default=None)
            owner[item.key] = row
            if row is not None:
                del free[row.study]
    changed = 0
    names: dict[str, str] = {}
    for item in items:
        row = owner[item.key]
        names[item.key] = row.study if row is not None else digest(item.key.encode(), str(item.study_uid).encode())
        changed += _write(connection, names[item.key], item, row, policy)
    for row in free.values():
        changed += _merge(connection, row, items, names)
    return changed


def _merge(connection: Connection, row: Row[Any], items: Sequence[Item], names: Mapping[str, str]) -> int:
    """`row` is no item any more: its study is read under another row. An earlier claim stands."""
    into = next((names[i.key] for i in items if set(i.nodes) & set(row.nodes)), None)
    if into is None or row.merged_into == into:
        return 0
    connection.execute(
        text("UPDATE study SET merged_into = :into, changed = txid_current(), changed_at = clock_timestamp() WHERE study = :study"),
        {"into": into, "study": row.study},
    )
    connection.execute(
        text("""UPDATE study SET claimed_by = o.claimed_by, lease_token = o.lease_token, lease_expires_at = o.lease_expires_at,
                    opened_by = COALESCE(study.opened_by, o.opened_by), pinned = study.pinned OR o.pinned
                FROM study o WHERE study.study = :into AND o.study = :study AND o.claimed_by IS NOT NULL AND study.claimed_by IS NULL"""),
        {"into": into, "study": row.study},
    )
    audit.append(connection, "merge_rows", row.study, detail={"into": into})
    return 1


def _columns(item: Item, place: Rank, policy: Policy) -> dict[str, Any]:
    return {
        "item": item.key, "nodes": list(item.nodes), "accession": item.accessions[0] if item.accessions else "",
        "accessions": list(item.accessions), "study_uid": item.study_uid, "patient": item.patient,
        "patient_id": item.identity.patient_id, "patient_issuer": item.identity.issuer, "patient_name": item.identity.name,
        "birth_date": item.identity.birth_date, "sex": item.identity.sex, "modality": item.modality, "body_part": item.body_part,
        "description": item.description, "subspecialty": item.subspecialty, "site": item.site, "location": item.location,
        "order_class": item.priority, "marks": [*item.marks, *(["priority_conflict"] if item.priority_conflict else [])],
        "ai": item.ai, "ai_reason": item.ai_reason, "flags": [list(f) for f in item.flags], "looked_for": list(item.looked_for),
        "abstained": list(item.abstained), "lane": place.lane, "due_at": place.due_at, "received_at": place.received_at,
        "target_at": place.target_at, "why": [list(t) for t in place.why], "clock": item.clock, "scheduled_at": item.scheduled_at,
        "last_image_at": item.last_image_at, "report_at": item.report_at, "policy_version": policy.version,
        "facts": {"readable": item.readable}, "state": item.state,
    }  # fmt: skip


_JSON = {"flags", "why", "facts"}


def _write(connection: Connection, study: str, item: Item, row: Row[Any] | None, policy: Policy) -> int:
    pinned, promoted, cleared = (row.pinned, row.promoted, row.cleared) if row is not None else (False, False, [])
    place = rank(item.rank_facts(pinned=pinned, promoted=promoted, cleared=[(c[0], c[1]) for c in cleared]), policy)
    columns = _columns(item, place, policy)
    if promoted and item.state == "historic":
        columns["state"] = "readable"
    if cleared and item.ai == "flagged" and all([p, c] in cleared for p, c, _ in item.flags):
        columns["ai"] = "not_flagged"
    if row is not None and all(_same(getattr(row, name), value) for name, value in columns.items()):
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


def _record(connection: Connection, study: str, item: Item, row: Row[Any] | None, columns: dict[str, Any], policy: Policy) -> None:
    detail = {
        "item": item.key, "lane": columns["lane"], "due_at": columns["due_at"].isoformat(),
        "received_at": columns["received_at"].isoformat(),
        "state": columns["state"], "ai": columns["ai"], "why": columns["why"], "policy": policy.version, "nodes": list(item.nodes),
    }  # fmt: skip
    audit.append(connection, "rank", study, detail=detail)
    was = row.ai if row is not None else "pending"
    if columns["ai"] == "flagged" and was != "flagged":
        connection.execute(
            text("INSERT INTO outbox (study, kind, body) VALUES (:study, 'flagged', CAST(:body AS jsonb))"),
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
