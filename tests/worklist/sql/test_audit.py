"""Every decision can be replayed (promise 9): the chain of seals, and what breaks it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, text

from streams.errors import Misconfigured
from streams.identity.seal import new_ring
from tests.worklist.record import say
from tests.worklist.sql.conftest import Database
from tests.worklist.sql.hospital import POLICY, Hospital, readable
from worklist import metrics
from worklist.sealing import Sealer, open_sealer
from worklist.settings import WorklistSettings
from worklist.sql import audit
from worklist.sql.audit import Anchor, Verdict

KEY = audit.chain_key(new_ring())


def append(database: Database, n: int = 1, **more: Any) -> None:
    for i in range(n):
        with database.app.begin() as connection:
            audit.append(
                connection, "note", f"s{i}", actor="ann", reason="asked for", detail={"n": i} | more
            )


def seal(database: Database) -> int:
    with database.sealer.begin() as connection:
        return audit.seal(connection, KEY)


def verify(database: Database, *anchors: Anchor) -> Verdict:
    with database.sealer.connect() as connection:
        return audit.verify(connection, KEY, anchors, step=3)


def end(database: Database) -> Anchor:
    with database.sealer.connect() as connection:
        return audit.end(connection)


def tamper(database: Database, *statements: str) -> None:
    """As somebody who has the owner's password, or the server's disk."""
    with database.owner.begin() as connection:
        for sql in statements:
            connection.execute(text(sql))


def test_promise_9_the_chain_holds_and_grows_in_batches(database: Database) -> None:
    append(database, 5)
    seal(database)
    assert verify(database) == Verdict(5, 0, None, 0, ())
    append(database, 3)
    assert verify(database) == Verdict(5, 3, None, 0, ())
    with database.sealer.connect() as connection:
        assert audit.unsealed(connection) == 3
    seal(database)
    assert verify(database) == Verdict(8, 0, None, 0, ())


def test_promise_9_sealing_in_small_steps_gives_the_same_chain(database: Database) -> None:
    append(database, 7)
    while True:
        with database.sealer.begin() as connection:
            if not audit.seal(connection, KEY, limit=2):
                break
    small = end(database)
    tamper(database, "TRUNCATE audit_seal")
    seal(database)
    assert (end(database), small.place) == (small, 7)


@pytest.mark.parametrize(
    "change_to",
    [
        "act = 'other'",
        "item = 'other'",
        "actor = 'bob'",
        "reason = ''",
        "detail = '{\"n\": 9}'",
        "at = at + interval '1 s'",
        "xid = xid + 1",
        "id = DEFAULT",
    ],
)
def test_promise_9_a_changed_row_is_noticed(database: Database, change_to: str) -> None:
    append(database, 6)
    seal(database)
    tamper(database, f"UPDATE audit SET {change_to} WHERE id = 3")
    assert (verify(database).broken, verify(database).sealed) == (3, 2)


@pytest.mark.parametrize("gone", [1, 3, 6])
def test_promise_9_a_removed_row_is_noticed(database: Database, gone: int) -> None:
    append(database, 6)
    seal(database)
    tamper(database, f"DELETE FROM audit WHERE id = {gone}")
    assert verify(database).broken == gone


@pytest.mark.parametrize("gone", [1, 3])
def test_promise_9_a_row_removed_with_its_seal_is_noticed(database: Database, gone: int) -> None:
    append(database, 6)
    seal(database)
    tamper(
        database,
        f"DELETE FROM audit WHERE id = {gone}",
        f"DELETE FROM audit_seal WHERE audit_id = {gone}",
    )
    assert verify(database).broken == gone


def test_promise_9_rows_rewritten_deleted_and_numbered_anew_are_noticed(database: Database) -> None:
    """What was done to the first release, and passed: all but the key can be had."""
    append(database, 90)
    seal(database)
    tamper(
        database,
        "UPDATE audit SET actor = 'eve' WHERE id <= 60",
        "DELETE FROM audit WHERE id > 60",
        "TRUNCATE audit_seal",
    )
    with database.owner.begin() as connection:
        audit.seal(connection, audit.chain_key(new_ring()))
    assert verify(database).broken == 1


def test_promise_9_a_cut_off_end_is_noticed_by_an_anchor_and_by_nothing_else(
    database: Database,
) -> None:
    append(database, 6)
    seal(database)
    anchor = end(database)
    assert verify(database, anchor, Anchor()).intact
    tamper(database, "DELETE FROM audit WHERE id > 4", "DELETE FROM audit_seal WHERE place > 4")
    assert verify(database).intact
    assert verify(database, anchor).lost == (str(anchor),)
    append(database, 4)
    seal(database)  # the chain is as long as before, and another
    assert verify(database).intact
    assert not verify(database, Anchor.parse(str(anchor))).intact


def test_promise_9_a_row_slipped_into_the_past_is_noticed(database: Database) -> None:
    append(database, 6)
    seal(database)
    tamper(
        database,
        """INSERT INTO audit (xid, at, act, item, actor, reason, detail)
           SELECT xid, at, 'finish', item, 'eve', '', '{}' FROM audit WHERE id = 2""",
    )
    seal(database)
    assert (verify(database).slipped_in, verify(database).intact) == (1, False)


def test_promise_9_the_chain_never_passes_over_a_row_that_commits_late(database: Database) -> None:
    slow = database.app.connect()
    with slow.begin():
        audit.append(slow, "slow", "s")
        append(database, 3)
        assert seal(database) == 0
    slow.close()
    assert seal(database) == 4
    assert verify(database).intact
    with database.sealer.connect() as connection:
        chained = text("SELECT act FROM audit JOIN audit_seal ON audit_id = id ORDER BY place")
        assert connection.scalars(chained).all() == ["slow", "note", "note", "note"]


def test_promise_9_a_transaction_that_came_to_nothing_leaves_no_gap(database: Database) -> None:
    append(database, 2)
    with database.app.connect() as connection:
        audit.append(connection, "note", "s")
        connection.rollback()
    append(database, 2)
    assert seal(database) == 4
    assert verify(database) == Verdict(4, 0, None, 0, ())


def test_promise_9_two_sealers_make_one_chain(database: Database) -> None:
    append(database, 40)
    failures: list[BaseException] = []

    def sealer() -> None:
        try:
            for _ in range(10):
                with database.sealer.begin() as connection:
                    audit.seal(connection, KEY, limit=3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sealer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seal(database)
    assert failures == []
    assert verify(database) == Verdict(40, 0, None, 0, ())


def test_promise_9_a_dump_restored_elsewhere_goes_on_with_its_chain(database: Database) -> None:
    """There, transactions are numbered anew, from below those that the rows have."""
    append(database, 6)
    with database.sealer.begin() as connection:
        audit.seal(connection, KEY, limit=4)
    tamper(database, "UPDATE audit SET xid = xid + 1000000", "TRUNCATE audit_seal")
    with database.sealer.begin() as connection:  # as it was sealed there
        audit.seal(connection, KEY, limit=4)
    assert end(database) == Anchor()
    with database.owner.begin() as connection:
        _chain_foreign(connection, 4)
    append(database, 3)
    assert seal(database) == 5
    append(database, 2)
    assert seal(database) == 2
    assert verify(database) == Verdict(11, 0, None, 0, ())


def _chain_foreign(connection: Connection, n: int) -> None:
    """Seals the first rows as the server did that they come from."""
    at = Anchor()
    for row in connection.execute(text(f"SELECT {audit._ROW} FROM audit a ORDER BY id LIMIT {n}")):
        at = Anchor(at.place + 1, audit._link(KEY, at, row))
        values = {"place": at.place, "audit_id": row.id, "seal": at.seal}
        connection.execute(audit._CHAIN, values)


def sealer_of(database: Database) -> Sealer:
    return Sealer(database.sealer, KEY)


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_sealer_tells_an_anchor_each_hour_and_no_name(database: Database) -> None:
    append(database, 3)
    sealer = sealer_of(database)
    with structlog.testing.capture_logs() as lines:
        for minutes in (0, 5, 59, 61):
            sealer.round(NOON + timedelta(minutes=minutes))
            append(database, 1)
    told = [Anchor.parse(line["anchor"]) for line in lines if line["event"] == "audit_anchor"]
    assert [anchor.place for anchor in told] == [3, 6]
    assert verify(database, *told).intact
    (shown,) = [sample.labels for sample in metrics.anchor.collect()[0].samples]
    assert f"{shown['place']}:{shown['seal']}" == str(told[-1])


def test_the_sealer_notices_a_change_within_a_day_and_goes_on_sealing(database: Database) -> None:
    append(database, 5)
    sealer = sealer_of(database)
    metrics.intact.set(1)
    for minutes in range(4):
        sealer.round(NOON + timedelta(minutes=minutes))
    assert metrics.intact._value.get() == 1
    assert metrics.verified._value.get() >= NOON.timestamp()
    tamper(database, "UPDATE audit SET actor = 'eve' WHERE id = 2")
    sealer.round(NOON + timedelta(hours=23))
    assert metrics.intact._value.get() == 1
    append(database, 1)
    sealer.round(NOON + timedelta(hours=25))
    assert metrics.intact._value.get() == 0
    assert end(database).place == 6


def test_the_sealer_notices_at_once_that_the_end_was_cut_off(database: Database) -> None:
    append(database, 5)
    sealer = sealer_of(database)
    metrics.intact.set(1)
    sealer.round(NOON)
    tamper(database, "DELETE FROM audit WHERE id > 2", "DELETE FROM audit_seal WHERE place > 2")
    sealer.round(NOON + timedelta(seconds=5))
    assert metrics.intact._value.get() == 0


def test_the_key_of_the_seals_is_never_that_of_the_identities(tmp_path: Any) -> None:
    same = WorklistSettings(keys=tmp_path / "k", audit_keys=tmp_path / "k")
    with pytest.raises(Misconfigured, match="VIGIE_AUDIT_KEYS"):
        open_sealer(same)
    ring = new_ring()
    assert audit.chain_key(ring) not in (ring.pseudonym, *ring.keys.values())


def test_promise_9_the_policy_is_sealed_whole(database: Database) -> None:
    Hospital(database.app).activate()
    with database.app.connect() as connection:
        kept = connection.scalar(text("SELECT detail FROM audit WHERE act = 'policy'"))
    assert kept is not None
    assert kept["version"] == POLICY.version
    assert type(POLICY).model_validate(kept["body"]) == POLICY


def test_promise_8_no_name_is_in_the_audit_or_in_what_goes_out(database: Database) -> None:
    here = Hospital(database.app)
    here.activate()
    who = "P1@HOSP/19600101/DUPONT"
    here.tell(say.order("a1", who), image := say.image("u1.1 a1", who), say.finding(image))
    here.tell(say.step("s1.9 u1.1 a1", who, "completed"), say.merge("P1@HOSP", "P9@HOSP"))
    here.finish(readable(database.app)[0])
    with database.app.connect() as connection:
        kept = connection.scalars(
            text("SELECT audit::text FROM audit UNION ALL SELECT outbox::text FROM outbox")
        ).all()
    assert len(kept) > 5
    assert not [row for row in kept if "DUPONT" in row or "19600101" in row or '"P1"' in row]
