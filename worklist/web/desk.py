"""The reader's desk: what a person sees or does, each in one transaction, with its audit row."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import Request

from streams.errors import Reason, Retry, Unavailable
from worklist import metrics
from worklist.order.policy import Policy
from worklist.order.rank import overtaken_until
from worklist.sql import audit, leases, policy_store, queue
from worklist.sql.database import translated
from worklist.sql.models import OPEN
from worklist.sql.project import Identities, hold, project
from worklist.web.auth import Person
from worklist.web.schema import Changes, Claimed, LeaseOut, Listing, Row

Result = TypeVar("Result")
_TRIES = 5
_SKIP_S = 1800.0  # `next` passes a skipped study by for so long
_READ_S = 60.0  # a page that follows the list is audited as read at most so often
_CHANGES = 1000  # rows in one step of the feed at most; more is a gap
_FLAGGED = f"""SELECT count(*) FROM study
               WHERE {OPEN} AND lane < 3 AND ai = 'flagged'"""  # noqa: S608 (a constant)
_MODELS = """SELECT DISTINCT body->>'package' AS package, body->>'package_version' AS version
             FROM fact WHERE type = 'FindingsMade' AND body->>'package' <> '' ORDER BY 1, 2"""


@dataclass(frozen=True)
class Depth:
    """One lane: unread rows, how long the oldest has waited (seconds), rows past their target."""

    lane: int
    unread: int
    oldest_s: float
    overdue: int


@dataclass(frozen=True)
class Overview:
    """The whole list in numbers, and which models have looked."""

    depths: tuple[Depth, ...]
    flagged: int
    models: tuple[str, ...]

    @property
    def unread(self) -> int:
        """What can be read now."""
        return sum(depth.unread for depth in self.depths if depth.lane < 3)


def to_row(item: dict[str, Any], policy: Policy | None) -> Row:
    """A row of the queue as everybody outside sees it. `policy` is the one that ranked it; None
    where this release cannot read that one.
    """
    waits = item["state"] in ("readable", "preliminary") and item["finished_at"] is None
    bound = overtaken_until(item["due_at"], policy) if waits and policy else None
    named = {
        "ai_reason": item["ai_reason"] or None,
        "priority": item["order_class"],
        "clock_at": item["clock"],
        "policy": item["policy_version"],
        "claimed_until": item["lease_expires_at"],
        "overtaken_until": bound,
    }
    return Row(**(item | named))


class Desk:
    """What page and API ask of the list, on behalf of a person. Safe to share between threads.

    Every act raises Unavailable when the database is away or too busy, and QueueError where the
    list refuses it.
    """

    def __init__(
        self,
        engine: Engine,
        identities: Identities,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._identities = identities
        self._lease_s = lease_s
        self._clock = clock
        self._skipped: dict[str, dict[str, float]] = {}
        self._read_at: dict[str, float] = {}
        self._policies: dict[str, Policy | None] = {}

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with translated(), self._engine.begin() as connection:
                yield connection
        except PoolTimeout:
            raise Unavailable(Reason.DATABASE_DOWN) from None

    def _run(self, act: Callable[[Connection], Result]) -> Result:
        """One act in one transaction; a deadlock or serialisation failure is tried again."""
        for attempt in range(_TRIES):
            try:
                with self._transaction() as connection:
                    return act(connection)
            except Unavailable:
                raise
            except Retry:
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
        raise Unavailable(Reason.OVERLOADED)

    def _rows(self, connection: Connection, items: list[dict[str, Any]]) -> tuple[Row, ...]:
        for version in {item["policy_version"] for item in items} - self._policies.keys():
            self._policies[version] = policy_store.stored(connection, version)
        return tuple(to_row(item, self._policies[item["policy_version"]]) for item in items)

    def listing(
        self,
        who: Person,
        *,
        limit: int,
        cursor: str | None,
        state: str,
        accession: str | None,
        study_uid: str | None,
    ) -> Listing:
        """A part of the list in reading order."""

        def act(connection: Connection) -> Listing:
            found = queue.listing(
                connection,
                limit=limit,
                cursor=cursor,
                state=None if state == "open" else state,
                accession=accession,
                study_uid=study_uid,
            )
            self._audit_reading(connection, who, len(found.items), state)
            items = self._rows(connection, found.items)
            return Listing(items=items, next=found.next, as_of=found.as_of)

        return self._run(act)

    def _audit_reading(self, connection: Connection, who: Person, items: int, state: str) -> None:
        now = self._clock()
        if now - self._read_at.get(who.name, -_READ_S) >= _READ_S:
            self._read_at[who.name] = now
            audit.append(
                connection,
                "list",
                "",
                actor=who.name,
                detail={"role": who.role.value, "items": items, "state": state},
            )

    def study(self, who: Person, study: str) -> Row:
        """One study, opened: always audited."""

        def act(connection: Connection) -> Row:
            (row,) = self._rows(connection, [queue.detail(connection, study)])
            audit.append(
                connection, "open", row.study, actor=who.name, detail={"role": who.role.value}
            )
            return row

        return self._run(act)

    def ahead(self, study: str) -> int:
        """How many are read before this one."""
        return self._run(lambda connection: queue.ahead(connection, study))

    def next(self, who: Person) -> Claimed | None:
        """Claims what is to be read first; what this reader skipped lately comes after everything
        else.
        """
        skipped = self._skipped_by(who)

        def act(connection: Connection) -> Claimed | None:
            claim = leases.next_study(connection, who.name, self._lease_s, skipped)
            if claim is None and skipped:
                claim = leases.next_study(connection, who.name, self._lease_s)
            return self._claimed(connection, claim) if claim else None

        claimed = self._run(act)
        if claimed:
            metrics.acts.labels("next").inc()
        return claimed

    def _skipped_by(self, who: Person) -> tuple[str, ...]:
        now = self._clock()
        kept = {
            study: until for study, until in self._skipped.get(who.name, {}).items() if until > now
        }
        self._skipped[who.name] = kept
        return tuple(kept)

    def _claimed(self, connection: Connection, claim: leases.Claim) -> Claimed:
        (row,) = self._rows(connection, [queue.detail(connection, claim.study)])
        lease = LeaseOut(token=claim.token, expires_at=claim.expires_at)
        return Claimed(study=claim.study, lease=lease, row=row, opened_before=claim.opened_by)

    def claim(self, who: Person, study: str) -> Claimed:
        """Claims this study."""
        done = self._run(
            lambda connection: self._claimed(
                connection, leases.claim(connection, study, who.name, self._lease_s)
            )
        )
        metrics.acts.labels("claim").inc()
        return done

    @staticmethod
    def _token(connection: Connection, who: Person, study: str, token: str | None) -> str:
        """The lease's token: the one that was sent; without one, that of the reader's own claim."""
        found = token or leases.own_token(connection, study, who.name)
        if found is None:
            raise queue.QueueError("wrong_token")
        return found

    def renew(self, who: Person, study: str, token: str | None) -> LeaseOut:
        """Keeps a claim alive."""

        def act(connection: Connection) -> LeaseOut:
            held = self._token(connection, who, study, token)
            return LeaseOut(
                token=held, expires_at=leases.renew(connection, study, held, self._lease_s)
            )

        return self._run(act)

    def release(self, who: Person, study: str, token: str | None) -> None:
        """Gives a study back, unread."""
        self._run(
            lambda connection: leases.release(
                connection, study, self._token(connection, who, study, token), who.name
            )
        )
        metrics.acts.labels("release").inc()

    def finish(self, who: Person, study: str, token: str | None) -> None:
        """The reader has read it."""
        self._run(
            lambda connection: leases.finish(
                connection, study, self._token(connection, who, study, token), who.name
            )
        )
        metrics.acts.labels("finish").inc()

    def skip(self, who: Person, study: str) -> None:
        """Passes a study by for this reader, for a while; its rank stays."""
        self._run(lambda connection: queue.skip(connection, study, who.name, "skipped"))
        self._skipped.setdefault(who.name, {})[study] = self._clock() + _SKIP_S
        metrics.acts.labels("skip").inc()

    def act_on_rank(self, who: Person, study: str, act: str, reason: str) -> None:
        """`pin` or `clear_flag`, with a reason; the row is ranked anew in the same transaction."""

        def work(connection: Connection) -> None:
            policy = policy_store.active(connection)
            # Facts are locked before rows, by every writer in this order.
            hold(connection, queue.names(connection, study))
            nodes = queue.act_on_rank(connection, study, act, who.name, reason)
            project(connection, nodes, policy=policy, identities=self._identities)

        self._run(work)
        metrics.acts.labels(act).inc()

    def changes(self, cursor: str | None) -> Changes:
        """What is new since `cursor`; from the head without one."""

        def act(connection: Connection) -> Changes:
            head = queue.head_seq(connection)
            now = connection.scalar(text("SELECT clock_timestamp()"))
            if cursor is None:
                return Changes(cursor=str(head), as_of=now)
            items, gone, seq = queue.changes_since(connection, int(cursor), _CHANGES)
            if len(items) + len(gone) >= _CHANGES:
                return Changes(cursor=str(head), gap=True, as_of=now)
            rows = self._rows(connection, items)
            return Changes(cursor=str(seq), items=rows, gone=tuple(gone), as_of=now)

        return self._run(act)

    def overview(self) -> Overview:
        """The list in numbers."""

        def act(connection: Connection) -> Overview:
            lanes = {lane: Depth(lane, 0, 0.0, 0) for lane in range(4)}
            for row in queue.depths(connection):
                old = lanes[row.lane]
                oldest = max(old.oldest_s, row.oldest_s)
                lanes[row.lane] = Depth(
                    row.lane, old.unread + row.unread, oldest, old.overdue + row.overdue
                )
            flagged = connection.scalar(text(_FLAGGED))
            models = connection.execute(text(_MODELS)).all()
            return Overview(
                tuple(lanes.values()),
                int(flagged or 0),
                tuple(f"{row.package} {row.version}" for row in models),
            )

        return self._run(act)


def desk_of(request: Request) -> Desk:
    """The desk of the application that serves `request`."""
    desk: Desk = request.app.state.desk
    return desk
