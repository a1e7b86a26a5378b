"""What is closed costs nothing: each statement that runs periodically or on a refresh touches as
many pages with 200,000 closed rows as with 20,000.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from tests.worklist.record import say
from tests.worklist.sql.conftest import Database
from tests.worklist.sql.hospital import POLICY, Hospital, readable
from worklist import chores
from worklist.sql import audit, counts, leases, policy_store, queue, shared
from worklist.sql.asking.screening import screening
from worklist.sql.asking.search import Asked, search
from worklist.sql.models import COLUMNS
from worklist.sql.people import work as desk
from worklist.sql.writing import rerank
from worklist.sql.writing.apply import apply

FEW, MANY = 10_000, 100_000
OPEN = 100

#: All of it: what pages, feed, chores and sealer do again and again.
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def page(connection: Connection) -> str:
    """The cursor of the second page."""
    return queue.listing(connection, limit=5).next or ""


REPEATED: dict[str, Callable[[Connection], Any]] = {
    "list": lambda c: queue.listing(c, limit=50),
    "list with what is closed": lambda c: queue.listing(c, limit=50, state="all"),
    "final ones": lambda c: queue.listing(c, limit=50, state="final"),
    "by study": lambda c: queue.listing(c, study_uid="1.0", state="all"),
    "by accession": lambda c: queue.listing(c, accession="a0", state="all"),
    "second page": lambda c: queue.listing(c, limit=5, cursor=page(c), state="unread"),
    "places of it": lambda c: queue.before(c, page(c)),
    "pins": lambda c: queue.listing(c, limit=1000, only="pinned_by <> ''"),
    "held": lambda c: desk.held(c, "anna"),
    "finished today": lambda c: desk.finished(c, "anna", TODAY),
    "skipped": lambda c: desk.skipped_by(c, "anna"),
    "skipped often": desk.skipped_often,
    "what became of it": lambda c: queue.became(c, ["0" * 24]),
    "search by a number": lambda c: search(c, Asked("a9"), 50),
    "search in a state": lambda c: search(c, Asked("a9", state="readable"), 50),
    "is screening late": lambda c: screening(c, POLICY, 240),
    "changes": lambda c: queue.changes_since(c, queue.Since(0), limit=100),
    "head": queue.head_seq,
    "next": lambda c: leases.next_study(c, "anna", 60),
    "siblings": lambda c: queue.siblings(c, c.scalar(text("SELECT min(name) FROM item"))),
    "shared numbers": lambda c: shared.listed(c, POLICY, 100),
    "policy": policy_store.active,
    "packages": counts.packages,
    "flagged": counts.flagged,
    "measure": chores.measure,
    "expire": leases.expire,
    "fold": counts.fold,
    "trim": chores.trim,
    "months": lambda c: chores.partition(c, 12),
    "stuck": rerank.stuck,
    "rerank": lambda c: c.execute(
        rerank.OTHERS, {"version": "none", "n": 100, "ranked": "", "last": ""}
    ),
    "unsealed": audit.unsealed,
    "seal": lambda c: audit.seal(c, b"key"),
    "end": audit.end,
    "walk": lambda c: audit.walk(c, b"key", audit.Anchor(100), 500),
}

#: What differs between the copies of one closed row; `n` is the copy's number.
VARIED = {
    "name": "md5(n::text)",
    "closed_at": "clock_timestamp()",
    "uid": "'1.' || n",
    "accessions": "ARRAY['a' || n]",
    "person": "'p' || n",
    "words": "ARRAY['k' || n, 'ct', 'state:read']",
    "due_at": "c.due_at + make_interval(secs => n)",
}
COPIED = [name for name in COLUMNS if name not in VARIED]

GROW = f"""
    INSERT INTO closed ({", ".join([*VARIED, *COPIED])})
        SELECT {", ".join([*VARIED.values(), *(f"c.{name}" for name in COPIED)])}
        FROM closed c, generate_series({{low}}, {{high}}) n
        WHERE c.name = (SELECT min(name) FROM closed);
    INSERT INTO member SELECT md5(n::text), md5(n::text), clock_timestamp()
        FROM generate_series({{low}}, {{high}}) n;
    INSERT INTO audit (act, item, actor, reason, detail)
        SELECT 'rank', md5(n::text), '', '', '{{{{}}}}' FROM generate_series({{low}}, {{high}}) n;
    INSERT INTO audit_seal
        SELECT row_number() OVER (ORDER BY id) + (SELECT count(*) FROM audit_seal), id,
               md5(id::text) || md5(id::text) FROM audit a
        WHERE NOT EXISTS (SELECT FROM audit_seal s WHERE s.audit_id = a.id);
    INSERT INTO fact SELECT md5(n::text), 'FindingsMade', ARRAY['n' || n], clock_timestamp(),
        jsonb_build_object('package', 'head-ct-ich', 'package_version', '1')
        FROM generate_series({{low}}, {{high}}) n;
    INSERT INTO tally (state, lane, flagged, rows) VALUES ('read', 2, false, {{high}} - {{low}})"""


def grow(database: Database, low: int, high: int) -> None:
    with database.admin.begin() as connection:
        for statement in GROW.format(low=low, high=high).split(";"):
            connection.execute(text(statement))
    with database.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def statements(engine: Engine, work: Callable[[Connection], Any]) -> list[tuple[str, Any]]:
    """What `work` asks the database, undone afterwards."""
    said: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, sql: str, values: Any, _context: Any, _many: bool) -> None:
        if not sql.startswith("SET "):
            said.append((sql, values[0] if isinstance(values, list) else values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        with engine.connect() as connection:
            work(connection)
            connection.rollback()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return said


def pages(engine: Engine, sql: str, values: Any) -> int:
    """Pages that a statement touches, in memory or not; undone afterwards."""
    with engine.connect() as connection:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"
        connection.exec_driver_sql(explain, values)  # the second time, hint bits are there
        (plan,) = connection.exec_driver_sql(explain, values).scalar_one()
        connection.rollback()
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def touched(database: Database) -> dict[tuple[str, str], int]:
    found = {}
    for name, work in REPEATED.items():
        engine = database.admin
        for sql, values in statements(engine, work):
            found[name, sql] = max(found.get((name, sql), 0), pages(engine, sql, values))
    return found


@pytest.mark.slow
def test_nothing_that_runs_again_and_again_reads_in_proportion_to_what_is_closed(
    database: Database,
) -> None:
    here = Hospital(database.admin)
    here.activate()
    facts = [
        fact
        for n in range(OPEN)
        for fact in (say.order(f"a{n}", f"P{n}@HOSP"), say.image(f"u1.{n} a{n}", f"P{n}@HOSP"))
    ]
    with database.admin.begin() as connection:
        events = [here.event(fact) for fact in facts]
        apply(connection, events, policy=POLICY, opener=here.opener)
    here.tell(say.step("s1.9 u1.7 a7", "P7@HOSP", "completed"), say.report("a7", "P7@HOSP"))
    here.tell(say.step("s1.8 u1.8 a8", "P8@HOSP", "completed"))
    assert readable(database.admin)
    with database.admin.begin() as connection:
        chores.partition(connection, 12)  # as it stands but for one round a month
    grow(database, 1, FEW)
    few = touched(database)
    grow(database, FEW + 1, MANY)
    many = touched(database)
    assert few.keys() == many.keys()
    assert len(few) > 25
    # A tenth, or a few pages: trees are a level deeper.
    grown = {
        key: (few[key], many[key]) for key in few if many[key] - few[key] > max(few[key] * 0.1, 8)
    }
    assert {name: told for (name, _), told in grown.items()} == {}


@pytest.mark.slow
def test_what_does_read_in_proportion_would_be_seen(database: Database) -> None:
    here = Hospital(database.admin)
    here.activate()
    here.tell(say.order("a1"), say.image("u1.1 a1"), say.report("a1"))
    scan = "SELECT count(*) FROM closed WHERE ai = 'flagged'"
    grow(database, 1, 500)
    few = pages(database.admin, scan, ())
    grow(database, 501, 5_000)
    assert pages(database.admin, scan, ()) > few * 1.1 + 8
