"""The reader's desk: what a person sees or does, each in one transaction, with its audit row."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
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
from worklist.sql import acts, audit, counts, leases, orders, policy_store, queue
from worklist.sql.acts import Wish
from worklist.sql.database import translated
from worklist.sql.orders import OrderShown
from worklist.sql.rights import may
from worklist.sql.writing.opening import Opener
from worklist.web.auth import Person
from worklist.web.schema import Changes, Claimed, LeaseOut, Listing, Row, SiblingOut

Result = TypeVar("Result")
_TRIES = 5
_SKIP_S = 1800.0  # `next` passes a skipped study by for so long
_READ_S = 60.0  # a page that follows the list is audited as read at most so often
_CHANGES = 1000  # rows in one step of the feed at most; more is a gap


@dataclass(frozen=True)
class Overview:
    """The whole list in numbers, and which models have looked."""

    depths: tuple[counts.Depth, ...]
    flagged: int
    models: tuple[str, ...]

    @property
    def unread(self) -> int:
        """What can be read now."""
        return sum(depth.unread for depth in self.depths if depth.lane < 3)


@dataclass(frozen=True)
class Did:
    """What was done (see `sql.acts.Done`); the undo of a finish gives the reader's lease back."""

    act_id: str
    study: str
    open: bool
    late: bool
    lease: LeaseOut | None


@dataclass(frozen=True)
class Choices:
    """What a row's forms offer: order classes, readers, orders that may be linked or unlinked."""

    classes: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    link: tuple[OrderShown, ...] = ()
    unlink: tuple[OrderShown, ...] = ()


def to_row(item: dict[str, Any], policy: Policy | None) -> Row:
    """A row of the queue as everybody outside sees it. `policy` is the one that ranked it; None
    where this release cannot read that one.
    """
    waits = item["open"] and item["state"] in ("readable", "preliminary")
    bound = overtaken_until(item["due_at"], policy) if waits and policy else None
    named = {
        "ai_reason": item["ai_reason"] or None,
        "priority": item["order_class"],
        "clock_at": item["clock"],
        "policy": item["policy_version"],
        "claimed_until": item["lease_expires_at"],
        "overtaken_until": bound,
        "images": {"here": item["images_here"], "announced": item["images_announced"]},
        "coverage": item["coverage"] or None,
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
        opener: Opener,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._opener = opener
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

    def glance(self, study: str) -> Row:
        """One study as it stands, for a notice that names nobody: not audited."""

        def act(connection: Connection) -> Row:
            (row,) = self._rows(connection, [queue.detail(connection, study)])
            return row

        return self._run(act)

    def choices(self, who: Person, row: Row, readers: Sequence[str]) -> Choices:
        """What this person may choose from on the row's page. Orders are read where a lead has to
        tell them apart: of a row that meets another patient's, or has several.
        """

        def act(connection: Connection) -> Choices:
            others = tuple(name for name in readers if name != who.name)
            classes = tuple(policy_store.active(connection).classes)
            if not row.study_uid or not may(who.role.value, "link") or not _unclear(row):
                return Choices(classes, others)
            own, near = orders.near(connection, row.study, self._opener)
            lent = [order for order in near if order.lent]
            return Choices(classes, others, tuple(near), (*own, *lent))

        return self._run(act)

    def ahead(self, study: str) -> int:
        """How many are read before this one."""
        return self._run(lambda connection: queue.ahead(connection, study))

    def next(self, who: Person, *, siblings: bool = False) -> Claimed | None:
        """Claims what is to be read first; what this reader skipped lately comes after everything
        else. With `siblings` what belongs with it is claimed too, where it is free.
        """
        skipped = self._skipped_by(who)

        def act(connection: Connection) -> Claimed | None:
            reader, lease_s = who.name, self._lease_s
            claim = leases.next_study(connection, reader, lease_s, skipped, siblings=siblings)
            if claim is None and skipped:
                claim = leases.next_study(connection, reader, lease_s, siblings=siblings)
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
        return Claimed(
            study=claim.study,
            lease=LeaseOut(token=claim.token, expires_at=claim.expires_at),
            row=row,
            opened_before=claim.opened_by,
            siblings=tuple(_sibling(sibling) for sibling in claim.siblings),
        )

    def claim(
        self, who: Person, study: str, *, siblings: bool = False, sure: bool = False
    ) -> Claimed:
        """Claims this study; when `sure`, also one that somebody reads elsewhere."""

        def act(connection: Connection) -> Claimed:
            claim = leases.claim(
                connection, study, who.name, self._lease_s, siblings=siblings, sure=sure
            )
            return self._claimed(connection, claim)

        done = self._run(act)
        metrics.acts.labels("claim").inc()
        return done

    @staticmethod
    def _token(connection: Connection, who: Person, study: str, token: str | None) -> str:
        """The lease's token: the one that was sent; without one, that of the reader's own claim."""
        found = token or leases.own_token(connection, study, who.name)
        if found is None:
            row = leases.locked(connection, study)
            raise queue.QueueError("wrong_token", leases.holder(connection, row.name) or "")
        return found

    def renew(self, who: Person, study: str, token: str | None) -> LeaseOut:
        """Keeps a claim alive."""

        def act(connection: Connection) -> LeaseOut:
            held = self._token(connection, who, study, token)
            return LeaseOut(
                token=held, expires_at=leases.renew(connection, study, held, self._lease_s)
            )

        return self._run(act)

    def release(self, who: Person, study: str, token: str | None, reason: str = "") -> None:
        """Gives a study back, unread; a lead also what another reader has, with a reason."""

        def act(connection: Connection) -> None:
            held = token or leases.own_token(connection, study, who.name)
            if held is None and not may(who.role.value, "release", own=False):
                held = self._token(connection, who, study, None)
            leases.release(connection, study, who.name, held, reason)

        self._run(act)
        metrics.acts.labels("release").inc()

    def do(self, who: Person, wish: Wish) -> Did:
        """Any act but claims: finish, pin, link and the rest, each a fact from then on.

        Who takes a finish back has the study again.
        """

        def act(connection: Connection) -> Did:
            policy = policy_store.active(connection)
            done = acts.do(connection, wish, policy=policy, opener=self._opener)
            lease = self._again(connection, who, done) if done.undone == "finish" else None
            return Did(done.act_id, done.study, done.open, done.late, lease)

        done = self._run(act)
        if wish.act == "skip":
            self._skipped.setdefault(who.name, {})[done.study] = self._clock() + _SKIP_S
        metrics.acts.labels(wish.act).inc()
        return done

    def _again(self, connection: Connection, who: Person, done: acts.Done) -> LeaseOut | None:
        """The lease that an undone finish gives back; None where a report has closed the row since,
        or there is nothing to read any more.
        """
        try:
            claim = leases.claim(connection, done.study, who.name, self._lease_s, sure=True)
        except queue.QueueError:
            return None
        return LeaseOut(token=claim.token, expires_at=claim.expires_at)

    def take_over(self, who: Person, study: str, reason: str) -> Claimed:
        """Takes a study that another reader has, with a reason."""

        def act(connection: Connection) -> Claimed:
            claim = leases.take_over(connection, study, who.name, self._lease_s, reason)
            return self._claimed(connection, claim)

        done = self._run(act)
        metrics.acts.labels("take_over").inc()
        return done

    def hand_over(self, who: Person, study: str, token: str | None, to: str, reason: str) -> None:
        """Gives one's study to another reader, with a reason."""

        def act(connection: Connection) -> None:
            held = self._token(connection, who, study, token)
            leases.hand_over(connection, study, held, who.name, to, self._lease_s, reason)

        self._run(act)
        metrics.acts.labels("hand_over").inc()

    def changes(self, cursor: str | None) -> Changes:
        """What is new since `cursor`; from the head without one."""

        def act(connection: Connection) -> Changes:
            head = queue.head_seq(connection)
            now = connection.scalar(text("SELECT clock_timestamp()"))
            if cursor is None:
                return Changes(cursor=str(head), as_of=now)
            found = queue.changes_since(connection, queue.since(cursor), _CHANGES)
            if found.full:
                return Changes(cursor=str(head), gap=True, as_of=now)
            rows = self._rows(connection, found.items)
            return Changes(cursor=str(found.seq), items=rows, gone=tuple(found.gone), as_of=now)

        return self._run(act)

    def overview(self) -> Overview:
        """The list in numbers."""

        def act(connection: Connection) -> Overview:
            return Overview(
                tuple(counts.depths(connection)),
                counts.flagged(connection),
                tuple(" ".join(package) for package in counts.packages(connection)),
            )

        return self._run(act)


def _unclear(row: Row) -> bool:
    """Whether which orders are the row's is a question."""
    several = len(row.accessions) > 1
    return several or bool({"identity_conflict", "may_be_order"} & set(row.marks))


def _sibling(found: leases.Sibling) -> SiblingOut:
    lease = (
        LeaseOut(token=found.token, expires_at=found.expires_at)
        if found.token and found.expires_at
        else None
    )
    return SiblingOut(study=found.study, claimed_by=found.claimed_by, lease=lease)


def desk_of(request: Request) -> Desk:
    """The desk of the application that serves `request`."""
    desk: Desk = request.app.state.desk
    return desk
