"""What a person sees of the list, each look in one transaction, with its audit row."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from streams.errors import Park, Reason, Retry, Unavailable
from worklist.order.policy import Policy
from worklist.order.rank import overtaken_until
from worklist.sql import audit, counts, orders, policy_store, queue, shared
from worklist.sql.asking import not_imaging, workbench
from worklist.sql.asking.beside import beside
from worklist.sql.asking.search import Asked, search
from worklist.sql.database import translated
from worklist.sql.orders import OrderShown
from worklist.sql.people import work
from worklist.sql.rights import may
from worklist.sql.writing.opening import Opener
from worklist.web.door.auth import Person
from worklist.web.schema import BesideOut, Changes, ClosedOut, CountsOut, Listing, OffListRow, Row

Result = TypeVar("Result")
_TRIES = 5
_READ_S = 60.0  # a page that follows the list is audited as read at most so often
_CHANGES = 1000  # rows in one step of the feed at most; more is a gap


@dataclass(frozen=True)
class Overview:
    """The whole list in numbers, and which models have looked."""

    depths: tuple[counts.Depth, ...]
    brief: counts.Brief
    models: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """What a row's forms offer: order classes, readers, orders that may be linked or unlinked."""

    classes: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    link: tuple[OrderShown, ...] = ()
    unlink: tuple[OrderShown, ...] = ()


_TOO_LONG = "57014"  # the statement's time was over
_DAY = timedelta(days=1)


def age_at(birth_date: str, time: datetime) -> str:
    """The age at `time` as DICOM writes it; empty where the birth date is none, or is later."""
    try:
        born = datetime.strptime(birth_date, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return ""
    days = (time - born) // _DAY
    months = (time.year - born.year) * 12 + time.month - born.month - (time.day < born.day)
    if not 0 <= days < 150 * 366:
        return ""
    if days < 60:
        return f"{days:03d}D"
    return f"{months:03d}M" if months < 36 else f"{months // 12:03d}Y"


def to_row(item: dict[str, Any], policy: Policy | None) -> Row:
    """A row of the queue as everybody outside sees it. `policy` is the one that ranked it; None
    where this release cannot read that one.
    """
    waits = item["open"] and item["state"] in ("readable", "preliminary")
    bound = overtaken_until(item["due_at"], policy) if waits and policy else None
    named = {
        "age": age_at(item["birth_date"], item["clock"]),
        "ai_reason": item["ai_reason"] or None,
        "ai_unlike": item["ai_unlike"] or None,
        "priority": item["order_class"],
        "clock_at": item["clock"],
        "policy": item["policy_version"],
        "claimed_until": item["lease_expires_at"],
        "overtaken_until": bound,
        "images": {"here": item["images_here"], "announced": item["images_announced"]},
        "coverage": item["coverage"] or None,
    }
    return Row(**(item | named))


class Views:
    """What page and API ask of the list, on behalf of a person. Safe to share between threads.

    All of it raises Unavailable when the database is away or too busy.
    """

    def __init__(
        self,
        engine: Engine,
        opener: Opener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._opener = opener
        self._clock = clock
        self._read_at: dict[str, float] = {}
        self._policies: dict[str, Policy | None] = {}

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

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
            return Listing(items=items, next=found.next, as_of=found.as_of, after=found.after)

        return self._run(act)

    def part(self, who: Person, limit: int, cursor: str | None) -> Listing:
        """A part of what is to be read, after `cursor`: preliminary reports stand apart."""
        return self.listing(
            who, limit=limit, cursor=cursor, state="unread", accession=None, study_uid=None
        )

    def search(self, who: Person, asked: Asked, limit: int) -> tuple[tuple[Row, ...], bool]:
        """Rows by words and facets, and whether there are more. Raises QueueError `too_broad` where
        it takes too long, too.
        """

        def act(connection: Connection) -> tuple[tuple[Row, ...], bool]:
            self._audit_reading(connection, who, 0, "search")
            try:
                found = search(connection, asked, limit)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", "") == _TOO_LONG:
                    raise queue.QueueError("too_broad") from None
                raise
            return self._rows(connection, found.items), found.more

        return self._run(act)

    def pinned(self, who: Person) -> tuple[Row, ...]:
        """What persons put first, in reading order."""

        def act(connection: Connection) -> tuple[Row, ...]:
            found = queue.listing(connection, limit=1000, only="pinned_by <> ''")
            self._audit_reading(connection, who, len(found.items), "pins")
            return self._rows(connection, found.items)

        return self._run(act)

    def odd(self, who: Person, kind: str, *, limit: int, cursor: str | None) -> Listing:
        """Open rows of a kind of oddity, in reading order."""

        def act(connection: Connection) -> Listing:
            found = workbench.listed(connection, kind, limit=limit, cursor=cursor)
            self._audit_reading(connection, who, len(found.items), kind)
            items = self._rows(connection, found.items)
            return Listing(items=items, next=found.next, as_of=found.as_of, after=found.after)

        return self._run(act)

    def odd_counts(self) -> dict[str, int]:
        """How many rows each kind of oddity has."""
        return self._run(lambda c: workbench.counted(c, self._opener))

    def off_list(self, who: Person, most: int) -> tuple[OffListRow, ...]:
        """Orders that are no imaging by a rule of their sender, the newest first."""

        def act(connection: Connection) -> tuple[OffListRow, ...]:
            found = not_imaging.listed(connection, self._opener)[:most]
            self._audit_reading(connection, who, len(found), workbench.OFF_LIST)
            return tuple(OffListRow.model_validate(row) for row in found)

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

    def note_failed_login(self, address: str) -> None:
        """Somebody at that address showed what nobody has; it is written down."""
        self._run(lambda c: audit.append(c, "login_failed", "", detail={"address": address}))

    def study(self, who: Person, study: str) -> Row:
        """One study, opened: always audited."""

        def act(connection: Connection) -> Row:
            (row,) = self._rows(connection, [queue.detail(connection, study)])
            audit.append(
                connection, "open", row.study, actor=who.name, detail={"role": who.role.value}
            )
            return row

        return self._run(act)

    def beside(self, row: Row) -> BesideOut:
        """What was said of an opened study under seal; None of it where a seal does not open.

        The opening of the study is what the audit has.
        """

        def act(connection: Connection) -> BesideOut:
            try:
                found = beside(connection, {"reports": row.reports}, self._opener)
            except Park:
                return BesideOut(sealed=True)
            return BesideOut.model_validate(found, from_attributes=True)

        return self._run(act)

    def glance(self, study: str) -> Row:
        """One study as it stands, for a notice that names nobody: not audited."""
        return self._run(lambda c: self._rows(c, [queue.detail(c, study)])[0])

    def held(self, who: Person) -> tuple[Row, ...]:
        """What this reader has now."""
        return self._run(lambda c: self._rows(c, work.held(c, who.name)))

    def finished(self, who: Person, since: datetime) -> tuple[Row, ...]:
        """What this reader finished since then."""
        return self._run(lambda c: self._rows(c, work.finished(c, who.name, since)))

    def skipped_often(self) -> list[str]:
        """Open studies that three readers or more have passed by."""
        return self._run(work.skipped_often)

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

    def siblings(self, study: str) -> tuple[Row, ...]:
        """What belongs with a study: the same person's, of the same accession or unread."""
        return self._run(lambda c: self._rows(c, queue.siblings(c, study)))

    def shared_numbers(self, most: int) -> list[shared.SharedNumber]:
        """Numbers that too many name, the `most` worst."""
        return self._run(lambda c: shared.listed(c, policy_store.active(c), most))

    def before(self, cursor: str) -> int:
        """How many are read before the page that `cursor` begins."""
        return self._run(lambda connection: queue.before(connection, cursor))

    def changes(self, cursor: str | None) -> Changes:
        """What is new since `cursor`; from the head without one."""

        def act(connection: Connection) -> Changes:
            if cursor is None:
                return Changes(cursor=str(queue.head_seq(connection)), as_of=datetime.now(UTC))
            found = queue.changes_since(connection, queue.since(cursor), _CHANGES)
            now = datetime.now(UTC)
            if found.full:
                return Changes(cursor=str(queue.head_seq(connection)), gap=True, as_of=now)
            if not found.items and not found.gone:
                return Changes(cursor=str(found.seq), as_of=now)
            brief = counts.brief(connection)
            closed = queue.became(connection, found.gone) if found.gone else ()
            return Changes(
                cursor=str(found.seq),
                items=self._rows(connection, found.items),
                gone=tuple(found.gone),
                closed=tuple(ClosedOut(**one) for one in closed),
                counts=CountsOut.model_validate(brief, from_attributes=True),
                as_of=now,
            )

        return self._run(act)

    def overview(self) -> Overview:
        """The list in numbers."""

        def act(connection: Connection) -> Overview:
            return Overview(
                tuple(counts.depths(connection)),
                counts.brief(connection),
                tuple(" ".join(package) for package in counts.packages(connection)),
            )

        return self._run(act)


def _unclear(row: Row) -> bool:
    """Whether which orders are the row's is a question."""
    several = len(row.accessions) > 1
    return several or bool({"identity_conflict", "may_be_order"} & set(row.marks))
