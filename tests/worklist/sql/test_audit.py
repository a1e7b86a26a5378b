"""Every decision can be replayed (promise 9): the chain of seals, what breaks it, and the list of a
past moment.
"""

from __future__ import annotations

import random
import threading
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from streams.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from worklist.order.policy import Policy
from worklist.sql import audit, leases, queue
from worklist.sql.project import Identities, apply, project


def seal_all(engine: Engine) -> audit.Verdict:
    with engine.begin() as connection:
        audit.seal(connection)
    with engine.connect() as connection:
        return audit.verify(connection)


def act(engine: Engine, n: int = 1, **more: Any) -> None:
    for i in range(n):
        with engine.begin() as connection:
            audit.append(
                connection, "note", f"s{i}", actor="ann", reason="asked for", detail={"n": i} | more
            )


def change(engine: Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql))


def test_promise_9_the_chain_holds_and_grows_in_batches(engine: Engine) -> None:
    act(engine, 5)
    before = seal_all(engine)
    act(engine, 3)
    with engine.connect() as connection:
        between = audit.verify(connection)
    after = seal_all(engine)
    assert (before.unsealed, before.broken) == (0, None)
    assert (between.sealed, between.unsealed, between.broken) == (before.sealed, 3, None)
    assert (after.sealed, after.unsealed) == (before.sealed + 3, 0)


def test_promise_9_sealing_in_small_steps_gives_the_same_chain(engine: Engine) -> None:
    act(engine, 7)
    while True:
        with engine.begin() as connection:
            if not audit.seal(connection, limit=2):
                break
    with engine.connect() as connection:
        verdict = audit.verify(connection)
    assert (verdict.unsealed, verdict.broken) == (0, None)
    assert verdict.sealed >= 7


@pytest.mark.parametrize(
    "change_to",
    [
        "act = 'other'",
        "study = 'other'",
        "actor = 'bob'",
        "reason = ''",
        "detail = '{\"n\": 9}'",
        "at = at + interval '1 s'",
        "seal = 'ab'",
        "place = 99",
        "xid = xid + 1",
    ],
)
def test_promise_9_a_changed_row_is_noticed(engine: Engine, change_to: str) -> None:
    act(engine, 6)
    assert seal_all(engine).broken is None
    change(
        engine,
        f"""UPDATE audit SET {change_to} WHERE id = (
            SELECT id FROM audit WHERE act = 'note' ORDER BY place OFFSET 2 LIMIT 1)""",
    )
    with engine.connect() as connection:
        place = connection.scalar(text("SELECT min(place) FROM audit WHERE act = 'note'"))
        verdict = audit.verify(connection)
    assert verdict.broken is not None
    assert (
        verdict.broken == (place or 0) + 2 or "act = 'other'" in change_to
    )  # the first note is another row then


@pytest.mark.parametrize("which", ["place = 2", "place = 1"])
def test_promise_9_a_removed_row_is_noticed(engine: Engine, which: str) -> None:
    act(engine, 6)
    seal_all(engine)
    change(engine, f"DELETE FROM audit WHERE {which}")
    with engine.connect() as connection:
        assert audit.verify(connection).broken is not None


def test_promise_9_rows_that_change_places_are_noticed(engine: Engine) -> None:
    act(engine, 4)
    seal_all(engine)
    change(engine, "UPDATE audit SET place = 100 WHERE place = 2")
    change(engine, "UPDATE audit SET place = 2 WHERE place = 3")
    change(engine, "UPDATE audit SET place = 3 WHERE place = 100")
    with engine.connect() as connection:
        assert audit.verify(connection).broken == 2


def test_promise_9_the_chain_never_passes_over_a_row_that_commits_late(engine: Engine) -> None:
    slow = engine.connect()
    with slow.begin():
        audit.append(slow, "slow", "s")
        act(engine, 3)
        held_back = seal_all(engine)
        assert held_back.unsealed == 3
    slow.close()
    after = seal_all(engine)
    assert (after.unsealed, after.broken) == (0, None)
    with engine.connect() as connection:
        acts = connection.scalars(
            text("SELECT act FROM audit WHERE act <> 'policy' ORDER BY place")
        ).all()
    assert acts == ["slow", "note", "note", "note"]


def test_promise_9_two_sealers_make_one_chain(engine: Engine) -> None:
    act(engine, 40)
    failures: list[BaseException] = []

    def sealer() -> None:
        try:
            for _ in range(10):
                with engine.begin() as connection:
                    audit.seal(connection, limit=3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sealer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seal_all(engine).broken is None


def test_an_act_that_failed_leaves_no_row(engine: Engine, make: Make, feed: Feed) -> None:
    feed(make.series())
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT count(*) FROM audit"))
        (row,) = queue.listing(connection).items
    with engine.connect() as connection:
        leases.claim(connection, row["study"], "ann", 60)
        connection.rollback()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM audit")) == before
        assert queue.listing(connection).items[0]["claimed_by"] is None


def test_promise_8_no_name_is_in_the_audit_or_in_what_goes_out(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(
        make.order(),
        make.series(accessions=("A1",)),
        make.finding(),
        make.merge("P1", "P9"),
        make.patient("P1"),
    )
    with engine.begin() as connection:
        leases.next_study(connection, "ann", 60)
        kept = connection.scalars(
            text("SELECT audit::text FROM audit UNION ALL SELECT outbox::text FROM outbox")
        ).all()
    assert len(kept) > 3
    assert not [row for row in kept if "NAME" in row or "19600101" in row or '"P1"' in row]


def test_promise_9_the_list_of_any_past_moment_is_rebuilt_from_the_audit(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    rng = random.Random(2)
    identities = Identities(ring)
    events: list[Any] = []
    for n in range(8):
        uid, name = f"1.3.{n}", f"A{n}"
        events += [
            make.order(name, patient=f"P{n}", priority=rng.choice(["stat", "routine"])),
            make.series(uid, patient=f"P{n}", at=10 + n, accessions=() if n == 3 else (name,)),
            make.finding(uid, flagged=n % 2 == 0),
        ]
    events += [
        make.report("A5", at=50),
        make.order("A6", patient="P6", at=51, status="cancelled"),
        make.series("1.3.3", n=2, at=52, patient="P3", accessions=("A3",)),
    ]
    rng.shuffle(events)
    moments: list[tuple[datetime, list[tuple[Any, ...]]]] = []

    def remember() -> None:
        with engine.connect() as connection:
            shown = queue.listing(connection, limit=1000)
        places = [
            (
                i["study"],
                i["lane"],
                i["due_at"],
                i["state"],
                i["ai"],
                i["policy_version"],
                len(i["why"]),
            )
            for i in shown.items
        ]
        moments.append((shown.as_of, places))

    for step, event in enumerate(events):
        with engine.begin() as connection:
            apply(connection, [event], policy=policy, identities=identities)
            if step % 6 == 5 and (claim := leases.next_study(connection, "ann", 60)):
                leases.finish(connection, claim.study, claim.token, "ann")
            if step % 7 == 6:
                readable = queue.listing(connection, state="readable").items
                if readable:
                    nodes = queue.act_on_rank(
                        connection, readable[-1]["study"], "pin", "lead", "asked for"
                    )
                    project(connection, nodes, policy=policy, identities=identities)
        remember()
    assert any(places for _, places in moments)
    with engine.connect() as connection:
        for moment, places in moments:
            rebuilt = [
                (p.study, p.lane, p.due_at, p.state, p.ai, p.policy, len(p.why))
                for p in audit.list_at(connection, moment)
            ]
            assert rebuilt == places
