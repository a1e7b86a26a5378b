"""The reader's desk: what a person does, each act in one transaction, with its audit row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine
from starlette.requests import Request

from worklist import metrics
from worklist.sql import acts, leases, policy_store, queue
from worklist.sql.acts import Wish
from worklist.sql.people import handing, work
from worklist.sql.rights import may
from worklist.sql.writing.opening import Opener
from worklist.web.door.auth import Person
from worklist.web.schema import Claimed, LeaseOut, Row, SiblingOut
from worklist.web.views import Views


@dataclass(frozen=True)
class Did:
    """What was done (see `sql.acts.Done`); the undo of a finish gives the reader's lease back."""

    act_id: str
    study: str
    open: bool
    late: bool
    lease: LeaseOut | None


class Desk(Views):
    """What page and API do to the list, on behalf of a person. Safe to share between threads.

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
        super().__init__(engine, opener, clock)
        self._lease_s = lease_s

    def next(self, who: Person, *, siblings: bool = False) -> Claimed | None:
        """Claims what is to be read first; what this reader skipped lately comes after everything
        else. With `siblings` what belongs with it is claimed too, where it is free.
        """
        claimed = self._run(lambda c: self._next(c, who, siblings))
        if claimed:
            metrics.acts.labels("next").inc()
        return claimed

    def go_on(self, who: Person) -> Claimed | str | None:
        """What a reader reads now, one study at a time: the name of the one that they have, else
        the next one, claimed; None when there is nothing to read.
        """

        def act(connection: Connection) -> Claimed | str | None:
            held = work.one_at_a_time(connection, who.name)
            return held or self._next(connection, who, siblings=False)

        found = self._run(act)
        if isinstance(found, Claimed):
            metrics.acts.labels("next").inc()
        return found

    def _next(self, connection: Connection, who: Person, siblings: bool) -> Claimed | None:
        skipped = work.skipped_by(connection, who.name)
        reader, lease_s = who.name, self._lease_s
        claim = leases.next_study(connection, reader, lease_s, skipped, siblings=siblings)
        if claim is None and skipped:
            claim = leases.next_study(connection, reader, lease_s, siblings=siblings)
        return self._claimed(connection, claim) if claim else None

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
        """Claims this study; when `sure`, also one that somebody reads elsewhere, or had
        open until a moment ago.
        """

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

    def kept_for(self, who: Person, row: Row) -> str:
        """Another reader, who had the row open until a moment ago; empty where there is none."""
        if row.claimed_by or row.opened_by in (None, who.name) or row.opened_until is None:
            return ""
        ago = (datetime.now(UTC) - row.opened_until).total_seconds()
        return str(row.opened_by) if ago < self._lease_s * leases.GRACE else ""

    def renew(self, who: Person, study: str, token: str | None) -> LeaseOut:
        """Keeps a claim alive."""

        def act(connection: Connection) -> LeaseOut:
            held = self._token(connection, who, study, token)
            return LeaseOut(
                token=held, expires_at=leases.renew(connection, study, held, self._lease_s)
            )

        return self._run(act)

    def renew_all(self, who: Person) -> dict[str, datetime]:
        """Keeps all claims of this reader alive; by study, until when."""
        return self._run(lambda c: leases.renew_all(c, who.name, self._lease_s))

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
            if wish.act == "skip":
                self._pass_by(connection, who, done.study, wish.reason)
            if done.undone == "skip":
                work.skip_no_more(connection, who.name, done.study)
            lease = self._again(connection, who, done) if done.undone == "finish" else None
            return Did(done.act_id, done.study, done.open, done.late, lease)

        done = self._run(act)
        metrics.acts.labels(wish.act).inc()
        return done

    @staticmethod
    def _pass_by(connection: Connection, who: Person, study: str, reason: str) -> None:
        """`next` gives the study to others, and to this reader another one."""
        work.skip(connection, who.name, study)
        if token := leases.own_token(connection, study, who.name):
            leases.release(connection, study, who.name, token, reason)

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
        """Takes a study that another reader had, or as a lead has, with a reason. Raises QueueError
        `asked` where its holder has to say yes first.
        """

        def act(connection: Connection) -> Claimed | None:
            claim = handing.take_over(
                connection,
                study,
                who.name,
                self._lease_s,
                reason,
                at_once=may(who.role.value, "release", own=False),
            )
            return self._claimed(connection, claim) if claim else None

        done = self._run(act)
        metrics.acts.labels("take_over").inc()
        if done is None:
            raise queue.QueueError("asked", self.glance(study).claimed_by or "")
        return done

    def hand_over(self, who: Person, study: str, token: str | None, to: str, reason: str) -> None:
        """Gives one's study to another reader, with a reason."""

        def act(connection: Connection) -> None:
            held = self._token(connection, who, study, token)
            handing.hand_over(connection, study, held, who.name, to, self._lease_s, reason)

        self._run(act)
        metrics.acts.labels("hand_over").inc()


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
