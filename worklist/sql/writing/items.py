"""Writes what the record derives: open rows hot, closed ones apart, each change with its audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, text

from streams.identity.studykey import digest
from worklist.order.policy import Policy
from worklist.record.items import Item, by_member
from worklist.record.world import World
from worklist.sql import audit
from worklist.sql.models import COLUMNS
from worklist.sql.writing.columns import columns

_STAMPS = ("changed", "changed_at")
_WRITTEN = tuple(name for name in COLUMNS if name not in _STAMPS)
_LIST = ", ".join(_WRITTEN)
_SETS = ", ".join(f"{name} = excluded.{name}" for name in _WRITTEN)

#: Rows go in as one JSON value each batch: per-row statements cost the client twice as much.
_OPEN = text(
    f"""INSERT INTO item (name, changed, changed_at, {_LIST})
        SELECT name, txid_current(), clock_timestamp(), {_LIST}
        FROM jsonb_populate_recordset(NULL::item, CAST(:rows AS jsonb)) ORDER BY name
        ON CONFLICT (name) DO UPDATE SET {_SETS}, changed = excluded.changed,
            changed_at = excluded.changed_at"""
)
_CLOSE = text(
    f"""INSERT INTO closed (name, closed_at, changed, changed_at, {_LIST})
        SELECT name, :now, txid_current(), clock_timestamp(), {_LIST}
        FROM jsonb_populate_recordset(NULL::item, CAST(:rows AS jsonb)) ORDER BY name"""
)


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows for ``jsonb_populate_recordset``; times as ISO 8601."""
    return orjson.dumps(rows).decode()


@dataclass(frozen=True)
class _Old:
    """A row as it stands: its columns, and when it was closed."""

    row: Any
    closed_at: Any


def write_items(
    connection: Connection,
    items: Sequence[Item],
    off_list: Sequence[Item],
    world: World,
    policy: Policy,
) -> int:
    """Gives each item its row; returns how many rows changed.

    A row whose earliest member changed goes on under the new name; names that are no item any more
    lead to the one that has their member.
    """
    owner = by_member(items)
    # What was on the list and is kept off it now: its sender said that it is no imaging.
    old = _old_rows(connection, owner.keys() | by_member(off_list).keys())
    version = policy.version
    values = {item.name: columns(item, world, policy, version) for item in items}
    fresh = [
        item
        for item in items
        if item.name not in old or not _same(old[item.name], item, values[item.name])
    ]
    lost = [name for name in old if name not in values]
    if not fresh and not lost:
        return 0
    now = connection.scalar(text("SELECT clock_timestamp()"))
    _remove(connection, [old[n] for n in [*lost, *(i.name for i in fresh if i.name in old)]], fresh)
    opened = [values[i.name] | {"name": i.name} for i in fresh if i.open]
    closed = [values[i.name] | {"name": i.name} for i in fresh if not i.open]
    if opened:
        connection.execute(_OPEN, {"rows": as_json(opened)})
    if closed:
        connection.execute(_CLOSE, {"rows": as_json(closed), "now": now})
    _forget(connection, [name for name in lost if name not in owner])
    _name_members(connection, fresh, [name for name in lost if name in owner], owner, now)
    _leave(connection, old, fresh, lost)
    _tally(connection, old, fresh, lost, values)
    _follow(connection, lost, owner)
    _follow_images(connection, items)
    _record(connection, old, fresh, lost, owner, values)
    return len(fresh) + len(lost)


def _old_rows(connection: Connection, members: Iterable[str]) -> dict[str, _Old]:
    """The rows that answer to any of `members`, by name."""
    names = connection.execute(
        text("SELECT DISTINCT name, closed_at FROM member WHERE member = ANY(:members)"),
        {"members": sorted(members)},
    ).all()
    open_names = [row.name for row in names if row.closed_at is None]
    found = {
        row.name: _Old(row, None)
        for row in connection.execute(
            text("SELECT * FROM item WHERE name = ANY(:names)"), {"names": open_names}
        )
    }
    for name in names:
        if name.closed_at is None:
            continue
        row = connection.execute(
            text("SELECT * FROM closed WHERE name = :name AND closed_at = :at"),
            {"name": name.name, "at": name.closed_at},
        ).first()
        if row is not None:
            found[name.name] = _Old(row, name.closed_at)
    return found


def _same(old: _Old, item: Item, values: Mapping[str, Any]) -> bool:
    if (old.closed_at is None) != item.open:
        return False
    return all(values[name] == getattr(old.row, name) for name in _WRITTEN)


def _remove(connection: Connection, rows: Sequence[_Old], fresh: Sequence[Item]) -> None:
    """Takes away rows that are written elsewhere now, or are no item any more."""
    stay = {item.name for item in fresh if item.open}
    gone = [o.row.name for o in rows if o.closed_at is None and o.row.name not in stay]
    if gone:
        connection.execute(text("DELETE FROM item WHERE name = ANY(:names)"), {"names": gone})
    for old in rows:
        if old.closed_at is not None:
            connection.execute(
                text("DELETE FROM closed WHERE name = :name AND closed_at = :at"),
                {"name": old.row.name, "at": old.closed_at},
            )


def _forget(connection: Connection, names: Sequence[str]) -> None:
    """Nothing leads to a row that is on no list any more, and nobody has it."""
    if names:
        for table in ("member", "lease"):
            connection.execute(
                text(f"DELETE FROM {table} WHERE name = ANY(:names)"), {"names": list(names)}
            )


def _name_members(
    connection: Connection,
    fresh: Sequence[Item],
    lost: Sequence[str],
    owner: Mapping[str, Item],
    now: Any,
) -> None:
    """Every member leads to its row, and so does every name that a row ever had."""
    led = [(name, owner[name]) for name in lost if name not in owner[name].members]
    values = [
        {"member": member, "name": item.name, "closed_at": None if item.open else now}
        for item in fresh
        for member in item.members
    ]
    values += [
        {"member": name, "name": item.name, "closed_at": None if item.open else now}
        for name, item in led
    ]
    connection.execute(
        text("""INSERT INTO member (member, name, closed_at)
                SELECT member, name, closed_at
                FROM jsonb_populate_recordset(NULL::member, CAST(:rows AS jsonb)) ORDER BY member
                ON CONFLICT (member) DO UPDATE
                SET name = excluded.name, closed_at = excluded.closed_at"""),
        {"rows": as_json(values)},
    )


def _leave(
    connection: Connection, old: Mapping[str, _Old], fresh: Sequence[Item], lost: Sequence[str]
) -> None:
    """Notes for the live feed which rows left the open list."""
    closed = [i.name for i in fresh if not i.open and i.name in old and not old[i.name].closed_at]
    names = [*closed, *(name for name in lost if not old[name].closed_at)]
    if names:
        connection.execute(
            text("""INSERT INTO gone (changed, name)
                    SELECT txid_current(), n FROM unnest(CAST(:names AS text[])) n
                    ON CONFLICT DO NOTHING"""),
            {"names": names},
        )


def _tally(
    connection: Connection,
    old: Mapping[str, _Old],
    fresh: Sequence[Item],
    lost: Sequence[str],
    values: Mapping[str, Mapping[str, Any]],
) -> None:
    """Counts are kept as differences, in the transaction that made them."""
    change: Counter[tuple[str, int, bool]] = Counter()
    for item in fresh:
        change[item.state, values[item.name]["lane"], item.ai.word == "flagged"] += 1
    for name in [*lost, *(item.name for item in fresh if item.name in old)]:
        row = old[name].row
        change[row.state, row.lane, row.ai == "flagged"] -= 1
    rows = [
        {"state": state, "lane": lane, "flagged": flagged, "rows": count}
        for (state, lane, flagged), count in sorted(change.items())
        if count
    ]
    if rows:
        connection.execute(
            text("""INSERT INTO tally (state, lane, flagged, rows)
                    VALUES (:state, :lane, :flagged, :rows)"""),
            rows,
        )


def _follow(connection: Connection, lost: Sequence[str], owner: Mapping[str, Item]) -> None:
    """Leases follow their row's member. Of two on one row the earlier stands; the other is told."""
    for name in lost:
        if name not in owner:
            continue
        into = owner[name].name
        values = {"old": name, "into": into}
        both = connection.execute(
            text("""SELECT a.reader AS moving, b.reader AS there, b.name IS NOT NULL AS taken,
                           a.expires_at > clock_timestamp() AS live,
                           b.expires_at > clock_timestamp() AS live_there,
                           a.taken_at < b.taken_at AS earlier
                    FROM lease a LEFT JOIN lease b ON b.name = :into WHERE a.name = :old"""),
            values,
        ).first()
        if both is None:
            continue
        stays = both.taken and both.live_there and (not both.live or not both.earlier)
        if stays:
            connection.execute(text("DELETE FROM lease WHERE name = :old"), values)
        else:
            connection.execute(text("DELETE FROM lease WHERE name = :into"), values)
            connection.execute(text("UPDATE lease SET name = :into WHERE name = :old"), values)
        if both.taken and both.live and both.live_there and both.moving != both.there:
            loser = both.moving if stays else both.there
            audit.append(
                connection, "claim_superseded", into, actor=loser, detail={"by_join_of": name}
            )


def _follow_images(connection: Connection, items: Sequence[Item]) -> None:
    """A lease was taken on images: where a row is split, it goes with them."""
    bare = [item.name for item in items if not item.images_here]
    holders = {
        fact.key: item.name
        for item in items
        if item.images_here
        for fact in item.facts
        if fact.event.type == "SeriesReceived"
    }
    if not bare or not holders:
        return
    rows = connection.execute(
        text("""SELECT name, reader, fragments FROM lease
                WHERE name = ANY(:names) AND cardinality(fragments) > 0 FOR UPDATE"""),
        {"names": bare},
    ).all()
    for row in rows:
        into = next((holders[key] for key in row.fragments if key in holders), None)
        if into is None:
            continue
        moved = connection.execute(
            text("""UPDATE lease SET name = :into, changed = txid_current() WHERE name = :old
                    AND NOT EXISTS (SELECT 1 FROM lease WHERE name = :into)"""),
            {"old": row.name, "into": into},
        )
        if not moved.rowcount:
            connection.execute(text("DELETE FROM lease WHERE name = :old"), {"old": row.name})
            detail = {"by_split_of": row.name}
            audit.append(connection, "claim_superseded", into, actor=row.reader, detail=detail)


def _record(
    connection: Connection,
    old: Mapping[str, _Old],
    fresh: Sequence[Item],
    lost: Sequence[str],
    owner: Mapping[str, Item],
    values: Mapping[str, Mapping[str, Any]],
) -> None:
    """The audit of each changed row, and a word to the outbox for each new flag."""
    audit.append_all(
        connection,
        "rank",
        [(item.name, _detail(item, values[item.name])) for item in fresh],
    )
    audit.append_all(
        connection,
        "join",
        [(name, {"into": owner[name].name if name in owner else ""}) for name in lost],
    )
    flagged = [
        {
            "item": item.name,
            "body": orjson.dumps({"flags": [list(flag) for flag in item.ai.flags]}).decode(),
        }
        for item in fresh
        if item.ai.word == "flagged"
        and (item.name not in old or old[item.name].row.ai != "flagged")
    ]
    if flagged:
        connection.execute(
            text("""INSERT INTO outbox (item, kind, body)
                    VALUES (:item, 'flagged', CAST(:body AS jsonb))"""),
            flagged,
        )


def _detail(item: Item, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "lane": values["lane"],
        "due_at": values["due_at"].isoformat(),
        "received_at": values["received_at"].isoformat(),
        "state": item.state,
        "open": item.open,
        "ai": item.ai.word,
        "why": values["why"],
        "marks": list(item.marks),
        "policy": values["policy_version"],
        "models": item.ai.models,
        "inputs": sorted({result[2] for result in item.ai.results}),
        "finished_by": values["finished_by"],
        "finish": values["finish_id"],
        "facts": digest(*sorted(fact.key.encode() for fact in item.facts)),
    }
