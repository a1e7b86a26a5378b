"""The reader's desk: each thing that a person does or sees is one transaction, audited, with the
street's errors.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streams.errors import Reason, Retry, Unavailable
from worklist import metrics
from worklist.sql import audit, leases, policy_store, queue
from worklist.sql.database import translated
from worklist.sql.models import OPEN
from worklist.sql.project import Identities, hold, project
from worklist.web.auth import Person
from worklist.web.schema import Changes, Claimed, Flag, LeaseOut, Listing, Row, Why

T = TypeVar("T")
_TRIES = 5
_SKIP_S = 1800.0  # `next` passes a skipped study by for so long
_READ_S = 60.0  # a page that follows the list is audited as read at most so often
_CHANGES = 1000
_OWN = f"SELECT lease_token FROM study WHERE study = :s AND claimed_by = :me AND {OPEN}"  # noqa: S608 (a constant)
_FLAGGED = f"SELECT count(*) FROM study WHERE {OPEN} AND lane < 3 AND ai = 'flagged'"  # noqa: S608 (a constant)


@dataclass(frozen=True)
class Depth:
    """One lane: how many wait, how long the oldest has."""

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


def to_row(item: dict[str, Any]) -> Row:
    """A row of the queue as everybody outside sees it."""
    flags = tuple(Flag(**flag) for flag in item["flags"])
    same = (
        "study",
        "accession",
        "accessions",
        "study_uid",
        "patient_id",
        "patient_name",
        "birth_date",
        "sex",
        "modality",
        "body_part",
        "description",
        "location",
        "site",
        "subspecialty",
        "state",
        "ai",
        "looked_for",
        "lane",
        "due_at",
        "target_at",
        "received_at",
        "scheduled_at",
        "last_image_at",
        "report_at",
        "marks",
        "claimed_by",
        "opened_by",
        "finished_at",
    )
    return Row(
        **{name: item[name] for name in same},
        ai_reason=item["ai_reason"] or None,
        priority=item["order_class"],
        clock_at=item["clock"],
        policy=item["policy_version"],
        flags=flags,
        why=tuple(Why(**term) for term in item["why"]),
        claimed_until=item["lease_expires_at"],
    )


class Desk:
    """What page and API ask of the list."""

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

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with translated(), self._engine.begin() as connection:
                yield connection
        except PoolTimeout:
            raise Unavailable(Reason.DATABASE_DOWN) from None

    def _do(self, act: Callable[[Connection], T]) -> T:
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
            return Listing(
                items=tuple(map(to_row, found.items)), next=found.next, as_of=found.as_of
            )

        return self._do(act)

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
            row = to_row(queue.detail(connection, study))
            audit.append(
                connection, "open", row.study, actor=who.name, detail={"role": who.role.value}
            )
            return row

        return self._do(act)

    def ahead(self, study: str) -> int:
        """How many are read before this one."""
        return self._do(lambda connection: queue.ahead(connection, study))

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

        claimed = self._do(act)
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

    @staticmethod
    def _claimed(connection: Connection, claim: leases.Claim) -> Claimed:
        row = to_row(queue.detail(connection, claim.study))
        lease = LeaseOut(token=claim.token, expires_at=claim.expires_at)
        return Claimed(study=claim.study, lease=lease, row=row, opened_before=claim.opened_by)

    def claim(self, who: Person, study: str) -> Claimed:
        """Claims this study."""
        done = self._do(
            lambda connection: self._claimed(
                connection, leases.claim(connection, study, who.name, self._lease_s)
            )
        )
        metrics.acts.labels("claim").inc()
        return done

    @staticmethod
    def _token(connection: Connection, who: Person, study: str, token: str | None) -> str:
        """The lease's token: as shown, or (a browser's session has shown who it is) the reader's
        own.
        """
        found = token or connection.scalar(text(_OWN), {"s": study, "me": who.name})
        if found is None:
            raise queue.QueueError("wrong_token")
        return str(found)

    def renew(self, who: Person, study: str, token: str | None) -> LeaseOut:
        """Keeps a claim alive."""

        def act(connection: Connection) -> LeaseOut:
            held = self._token(connection, who, study, token)
            return LeaseOut(
                token=held, expires_at=leases.renew(connection, study, held, self._lease_s)
            )

        return self._do(act)

    def release(self, who: Person, study: str, token: str | None) -> None:
        """Gives a study back, unread."""
        self._do(
            lambda connection: leases.release(
                connection, study, self._token(connection, who, study, token), who.name
            )
        )
        metrics.acts.labels("release").inc()

    def finish(self, who: Person, study: str, token: str | None) -> None:
        """The reader has read it."""
        self._do(
            lambda connection: leases.finish(
                connection, study, self._token(connection, who, study, token), who.name
            )
        )
        metrics.acts.labels("finish").inc()

    def skip(self, who: Person, study: str) -> None:
        """Passes a study by for this reader, for a while; its rank stays."""
        self._do(lambda connection: queue.skip(connection, study, who.name, "skipped"))
        self._skipped.setdefault(who.name, {})[study] = self._clock() + _SKIP_S
        metrics.acts.labels("skip").inc()

    def act_on_rank(self, who: Person, study: str, act: str, reason: str) -> None:
        """`pin`, `unpin` or `clear_flag`, with a reason; the row is ranked anew in the same
        transaction.
        """

        def work(connection: Connection) -> None:
            policy = policy_store.active(connection)
            hold(connection, queue.names(connection, study))  # facts before rows, as every writer
            nodes = queue.act_on_rank(connection, study, act, who.name, reason)
            project(connection, nodes, policy=policy, identities=self._identities)

        self._do(work)
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
            return Changes(
                cursor=str(seq), items=tuple(map(to_row, items)), gone=tuple(gone), as_of=now
            )

        return self._do(act)

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
            models = connection.execute(
                text("""SELECT DISTINCT body->>'package' AS package, body->>'package_version' AS version FROM fact
                        WHERE type = 'FindingsMade' AND body->>'package' <> '' ORDER BY 1, 2""")
            ).all()
            return Overview(
                tuple(lanes.values()),
                int(flagged or 0),
                tuple(f"{row.package} {row.version}" for row in models),
            )

        return self._do(act)
