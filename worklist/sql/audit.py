"""The audit: append-only rows, each chained by a keyed seal in a table of its own (promise 9).

Acts append in their own transaction; one sealer chains the rows in batches, in the order of their
transactions. A row is chained only when every older transaction has ended (below
``pg_snapshot_xmin``), so that the chain never passes over one that commits late.

A seal needs the audit's key, which neither database nor web has: who can write the database can
break the chain, and cannot mend it. What was cut off at the end is seen by an anchor: a place and
its seal, written down elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, text

from streams.identity.seal import KeyRing

_LOCK = 7_310_002
_GENESIS = "0" * 64
_APPEND = text("""INSERT INTO audit (act, item, actor, reason, detail)
                  VALUES (:act, :item, :actor, :reason, CAST(:detail AS jsonb))""")
_APPEND_ALL = text("""INSERT INTO audit (act, item, actor, reason, detail)
                      SELECT :act, r->>'item', '', '', r->'detail'
                      FROM jsonb_array_elements(CAST(:rows AS jsonb)) r""")
_CHAIN = text("INSERT INTO audit_seal (place, audit_id, seal) VALUES (:place, :audit_id, :seal)")
_ROW = """a.id, a.xid, to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS at,
          a.act, a.item, a.actor, a.reason, a.detail::text AS detail"""

#: What every older transaction of has ended. After the chain's last row, in its order.
_SETTLED = text(
    f"""SELECT {_ROW} FROM audit a
        WHERE (a.xid, a.id) > (:xid, :id)
        AND a.xid < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
        AND NOT EXISTS (SELECT 1 FROM audit_seal s WHERE s.audit_id = a.id)
        ORDER BY a.xid, a.id LIMIT :n"""
)
#: A dump that was restored elsewhere has transactions that this server never had: all of them have
#: ended. Until the chain's last row is of this server, it is looked for in the whole audit.
_RESTORED = text(
    f"""SELECT {_ROW} FROM audit a
        WHERE (a.xid < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
               OR a.xid >= (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint)
        AND NOT EXISTS (SELECT 1 FROM audit_seal s WHERE s.audit_id = a.id)
        ORDER BY a.xid < (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint, a.xid, a.id
        LIMIT :n"""
)
_LAST = text(
    """SELECT s.place, s.seal, a.xid, a.id,
              a.xid >= (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint AS restored
       FROM audit_seal s LEFT JOIN audit a ON a.id = s.audit_id
       ORDER BY s.place DESC LIMIT 1"""
)
_SEALS = text(
    "SELECT place, seal, audit_id FROM audit_seal WHERE place > :place ORDER BY place LIMIT :n"
)
_ROWS = text(f"SELECT {_ROW} FROM audit a WHERE a.id = ANY(:ids)")


def append(
    connection: Connection,
    act: str,
    item: str,
    *,
    actor: str = "",
    reason: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Adds a row in the caller's transaction."""
    values = {
        "act": act,
        "item": item,
        "actor": actor,
        "reason": reason,
        "detail": orjson.dumps(detail or {}).decode(),
    }
    connection.execute(_APPEND, values)


def append_all(
    connection: Connection, act: str, rows: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    """Adds what one batch did to many items, as `append` would."""
    if rows:
        values = [{"item": item, "detail": detail} for item, detail in rows]
        connection.execute(_APPEND_ALL, {"act": act, "rows": orjson.dumps(values).decode()})


@dataclass(frozen=True)
class Anchor:
    """A place of the chain and the seal there; as text ``place:seal``."""

    place: int = 0
    seal: str = _GENESIS

    def __str__(self) -> str:
        return f"{self.place}:{self.seal}"

    @classmethod
    def parse(cls, said: str) -> Anchor:
        """Raises ValueError when `said` is no anchor."""
        place, _, link = said.partition(":")
        if not place.isdigit() or len(link) != len(_GENESIS):
            raise ValueError(f"{said}: an anchor is PLACE:SEAL, as the log has it")
        return cls(int(place), link)


def chain_key(ring: KeyRing) -> bytes:
    """The key of the seals: of a ring of its own, and as lasting as that ring's pseudonyms."""
    return hmac.digest(ring.pseudonym, b"vigie audit", "sha256")


def end(connection: Connection) -> Anchor:
    """Where the chain ends now."""
    last = connection.execute(_LAST).first()
    return Anchor(last.place, last.seal) if last else Anchor()


def seal(connection: Connection, key: bytes, limit: int = 5000) -> int:
    """Chains up to `limit` settled rows; returns how many. Does nothing when another process is
    sealing.
    """
    if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": _LOCK}):
        return 0
    last = connection.execute(_LAST).first()
    at = Anchor(last.place, last.seal) if last else Anchor()
    if last and (last.restored or last.id is None):  # or the row itself was taken away
        found = connection.execute(_RESTORED, {"n": limit}).all()
    else:
        where = {"xid": last.xid if last else -1, "id": last.id if last else -1, "n": limit}
        found = connection.execute(_SETTLED, where).all()
    chained = []
    for row in found:
        at = Anchor(at.place + 1, _link(key, at, row))
        chained.append({"place": at.place, "audit_id": row.id, "seal": at.seal})
    if chained:
        connection.execute(
            text(
                "INSERT INTO audit_seal (place, audit_id, seal) VALUES (:place, :audit_id, :seal)"
            ),
            chained,
        )
    return len(chained)


def unsealed(connection: Connection) -> int:
    """How many rows the chain does not hold yet: those after its end."""
    return int(
        connection.scalar(
            text("""SELECT count(*) FROM audit WHERE (xid, id) > (
                        SELECT xid, id FROM (
                            SELECT a.xid, a.id FROM audit_seal s JOIN audit a ON a.id = s.audit_id
                            ORDER BY s.place DESC LIMIT 1) last
                        UNION ALL SELECT -1, -1
                        WHERE NOT EXISTS (SELECT 1 FROM audit_seal))
                    AND xid < (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint""")
        )
        or 0
    )


def _link(key: bytes, previous: Anchor, row: Any) -> str:
    body = json.dumps(
        [
            previous.place + 1,
            previous.seal,
            row.id,
            row.xid,
            row.at,
            row.act,
            row.item,
            row.actor,
            row.reason,
            row.detail,
        ],
        ensure_ascii=False,
    )
    return hmac.new(key, body.encode(), hashlib.sha256).hexdigest()


def walk(connection: Connection, key: bytes, since: Anchor, limit: int) -> tuple[Anchor, bool]:
    """Follows the chain from `since` over at most `limit` links: how far it holds, and whether it
    does. At its end the answer is `since` itself.
    """
    seals = connection.execute(_SEALS, {"place": since.place, "n": limit}).all()
    ids = {"ids": sorted(link.audit_id for link in seals)}
    rows = {row.id: row for row in connection.execute(_ROWS, ids)}
    for link in seals:
        row = rows.get(link.audit_id)
        if link.place != since.place + 1 or row is None:
            return since, False
        if not hmac.compare_digest(link.seal, _link(key, since, row)):
            return since, False
        since = Anchor(link.place, link.seal)
    return since, True


@dataclass(frozen=True)
class Verdict:
    """What `verify` found.

    Attributes:
        sealed: how many rows the chain holds, from its start.
        unsealed: rows without a seal. All were written lately, or somebody slipped them in.
        broken: the first place that does not fit; None when all do.
        slipped_in: rows without a seal that the chain must have passed: inserted afterwards.
        lost: anchors that the chain does not have: its end was cut off, or made anew.
    """

    sealed: int
    unsealed: int
    broken: int | None
    slipped_in: int
    lost: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, taken away or slipped in."""
        return self.broken is None and not self.slipped_in and not self.lost


def verify(
    connection: Connection, key: bytes, anchors: Sequence[Anchor] = (), step: int = 5000
) -> Verdict:
    """Walks the whole chain, compares it with `anchors`, and counts what it does not hold."""
    at, fits = Anchor(), True
    wanted = {anchor.place: anchor for anchor in anchors}
    seen = {at.place: at}
    while fits:
        before = at
        ahead = [place - at.place for place in wanted if place > at.place]
        at, fits = walk(connection, key, at, min([step, *ahead]))
        if at.place in wanted:
            seen[at.place] = at
        if at == before:
            break
    return Verdict(
        sealed=at.place,
        unsealed=_count(connection, ""),
        broken=None if fits else at.place + 1,
        slipped_in=_slipped_in(connection),
        lost=tuple(str(anchor) for anchor in anchors if seen.get(anchor.place) != anchor),
    )


def _slipped_in(connection: Connection) -> int:
    last = connection.execute(_LAST).first()
    if last is None or last.id is None or last.restored:
        return 0
    return _count(connection, "AND (a.xid, a.id) < (:xid, :id)", {"xid": last.xid, "id": last.id})


def _count(connection: Connection, where: str, values: Mapping[str, Any] | None = None) -> int:
    return int(
        connection.scalar(
            text(f"""SELECT count(*) FROM audit a WHERE NOT EXISTS (
                         SELECT 1 FROM audit_seal s WHERE s.audit_id = a.id) {where}"""),
            values or {},
        )
        or 0
    )
