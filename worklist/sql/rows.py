"""Items onto rows: which row an item keeps, what is written to it, and the audit of its rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from streams.studykey import digest
from worklist.order.policy import Policy
from worklist.order.rank import Rank, rank
from worklist.record.items import Item
from worklist.sql import audit
from worklist.sql.merging import merge_rows


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
        sql = f"""INSERT INTO study (study, changed, {", ".join(names)})
                  VALUES (:study, txid_current(), {", ".join(holders)})"""
    else:
        sets = ", ".join(f"{n} = {h}" for n, h in zip(names, holders, strict=True))
        sql = f"""UPDATE study SET {sets}, changed = txid_current(),
                      changed_at = clock_timestamp(), merged_into = NULL
                  WHERE study = :study"""
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
            text("""INSERT INTO outbox (study, kind, body)
                    VALUES (:study, 'flagged', CAST(:body AS jsonb))"""),
            {"study": study, "body": _json({"item": item.key, "flags": columns["flags"]})},
        )


def _same(a: Any, b: Any) -> bool:
    return bool(a == b)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _rows(connection: Connection, names: set[str]) -> list[Row[Any]]:
    sql = "SELECT * FROM study WHERE nodes && CAST(:n AS text[]) ORDER BY study FOR UPDATE"
    return list(connection.execute(text(sql), {"n": sorted(names)}).all())
