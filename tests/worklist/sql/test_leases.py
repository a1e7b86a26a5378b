"""One reader per study (promise 7): leases on the database's clock, fencing tokens, readers that
race.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from streams.errors import Retry
from streams.seal import KeyRing
from tests.worklist.conftest import Feed, Make, empty
from worklist import chores
from worklist.order.policy import Policy
from worklist.sql import audit, leases, queue
from worklist.sql.database import translated
from worklist.sql.invariants import violations
from worklist.sql.leases import Claim
from worklist.sql.project import Identities, apply
from worklist.sql.queue import QueueError


def readable(make: Make, n: int) -> list[Any]:
    return [make.series(f"1.2.{i}", at=10 + i, patient=f"P{i}") for i in range(n)]


def studies(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [item["study"] for item in queue.listing(connection, limit=1000).items]


def take(engine: Engine, reader: str, lease_s: float = 60) -> Claim | None:
    while True:
        try:
            with translated(), engine.begin() as connection:
                return leases.next_study(connection, reader, lease_s)
        except Retry:
            time.sleep(0.002)


def refused(engine: Engine, act: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(QueueError) as error, engine.begin() as connection:
        act(connection, *arguments)
    return error.value.code


def race(n: int, act: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            act(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_promise_7_readers_that_race_never_get_the_same_study_and_leave_none(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 60))
    order = studies(engine)
    got: list[list[str]] = [[] for _ in range(8)]

    def read(i: int) -> None:
        while (claim := take(engine, f"r{i}")) is not None:
            got[i].append(claim.study)

    race(8, read)
    flat = [study for own in got for study in own]
    assert sorted(flat) == sorted(order)
    assert len(set(flat)) == 60
    assert all(
        own == sorted(own, key=order.index) for own in got
    )  # each was served in reading order


def test_promise_7_of_many_who_click_the_same_study_one_wins(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 1))
    (study,) = studies(engine)
    outcomes: list[str] = []

    def click(i: int) -> None:
        try:
            with engine.begin() as connection:
                leases.claim(connection, study, f"r{i}", 60)
            outcomes.append("won")
        except QueueError as error:
            outcomes.append(error.code)

    race(8, click)
    assert sorted(outcomes) == ["claimed"] * 7 + ["won"]


def test_promise_7_studies_of_one_accession_go_to_one_reader_even_when_readers_race(
    engine: Engine, make: Make, feed: Feed
) -> None:
    for n in range(15):
        feed(*(make.series(f"1.{n}.{k}", accessions=(f"A{n}",), patient=f"P{n}") for k in (1, 2)))

    def read(i: int) -> None:
        while take(engine, f"r{i}") is not None:
            pass

    race(6, read)
    with engine.connect() as connection:
        readers = connection.execute(
            text("""SELECT accession, count(DISTINCT claimed_by), count(claimed_by)
                    FROM study GROUP BY 1""")
        ).all()
    assert [tuple(r[1:]) for r in readers] == [(1, 2)] * 15


def test_promise_7_a_study_that_joins_one_being_read_waits_for_its_reader(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series("1.2.1", accessions=("A1",)))
    claim = take(engine, "first")
    assert claim is not None
    feed(make.series("1.2.2", accessions=("A1",)))
    assert take(engine, "second") is None
    later = next(s for s in studies(engine) if s != claim.study)
    assert refused(engine, leases.claim, later, "second", 60) == "claimed"
    own = take(engine, "first")
    assert own is not None
    assert own.study == later


def test_promise_7_a_lost_browser_gives_it_back_and_the_next_reader_is_told(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 1))
    lost = take(engine, "first", lease_s=0.05)
    assert lost is not None
    assert lost.opened_by is None
    assert take(engine, "second") is None
    time.sleep(0.08)
    found = take(engine, "second")
    assert found is not None
    assert (found.study, found.opened_by) == (lost.study, "first")
    # The fence: what the first reader still holds opens nothing.
    assert refused(engine, leases.finish, lost.study, lost.token, "first") == "wrong_token"
    assert refused(engine, leases.renew, lost.study, lost.token, 60) == "wrong_token"
    assert refused(engine, leases.release, lost.study, lost.token, "first") == "wrong_token"
    assert refused(engine, leases.finish, lost.study, "", "first") == "wrong_token"


def test_promise_7_the_chore_gives_back_what_ran_out_and_says_who_had_it(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 2))
    lost, kept = take(engine, "first", lease_s=0.02), take(engine, "second")
    assert lost is not None
    assert kept is not None
    time.sleep(0.04)
    with engine.begin() as connection:
        assert chores.expire(connection) == 1
        assert chores.expire(connection) == 0
        rows = {i["study"]: i for i in queue.listing(connection).items}
        act = connection.execute(text("SELECT study, actor FROM audit WHERE act = 'expire'")).one()
    assert (rows[lost.study]["claimed_by"], rows[lost.study]["opened_by"]) == (None, "first")
    assert rows[kept.study]["claimed_by"] == "second"
    assert tuple(act) == (lost.study, "first")


def test_a_lease_is_renewed_by_its_token_alone_and_then_outlives_its_first_end(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 1))
    claim = take(engine, "first", lease_s=0.1)
    assert claim is not None
    with engine.begin() as connection:
        assert leases.renew(connection, claim.study, claim.token, 60) > claim.expires_at
    time.sleep(0.12)
    assert take(engine, "second") is None


def test_a_lease_that_ran_out_finishes_while_nobody_else_has_it(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 1))
    claim = take(engine, "first", lease_s=0.02)
    assert claim is not None
    time.sleep(0.04)
    with engine.begin() as connection:
        leases.finish(connection, claim.study, claim.token, "first")
    assert studies(engine) == []
    assert refused(engine, leases.claim, claim.study, "second", 60) == "finished"
    assert refused(engine, leases.finish, claim.study, claim.token, "first") == "finished"


@pytest.mark.parametrize(
    "state", ["expected", "arriving", "preliminary", "final", "cancelled", "historic"]
)
def test_promise_7_next_gives_only_what_can_be_read_first(
    engine: Engine, make: Make, feed: Feed, state: str
) -> None:
    made: dict[str, list[Any]] = {
        "expected": [make.order()],
        "arriving": [
            make.order(),
            make.exam(status="in_progress"),
            make.series(accessions=("A1",)),
        ],
        "preliminary": [make.series(accessions=("A1",)), make.report(status="preliminary")],
        "final": [make.series(accessions=("A1",)), make.report()],
        "cancelled": [make.order(status="cancelled")],
        "historic": [make.series(acquired_at=make.series().acquired_at.replace(year=2004))],
    }
    feed(*made[state])
    with engine.connect() as connection:
        (row,) = queue.listing(connection, state="all").items
    assert row["state"] == state
    assert take(engine, "r") is None
    if state == "preliminary":
        return  # it may be opened to validate it
    assert refused(engine, leases.claim, row["study"], "r", 60) == "not_readable"
    if row["lane"] == 3:
        assert (
            refused(engine, queue.act_on_rank, row["study"], "pin", "lead", "asked for")
            == "not_readable"
        )


def test_a_flagged_series_makes_its_study_readable_at_once_and_marks_it(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.exam(status="in_progress"), make.series())
    assert take(engine, "r") is None
    feed(make.finding())
    assert take(engine, "r") is not None
    with engine.connect() as connection:
        assert queue.listing(connection).items[0]["marks"] == ["incomplete"]


@pytest.mark.parametrize("act", ["pin", "clear_flag", "promote", "unpin"])
def test_what_a_person_does_to_a_rank_needs_a_reason(
    engine: Engine, make: Make, feed: Feed, act: str
) -> None:
    feed(*readable(make, 1))
    assert (
        refused(engine, queue.act_on_rank, studies(engine)[0], act, "lead", " ")
        == "reason_required"
    )
    assert refused(engine, queue.act_on_rank, "nobody", act, "lead", "why") == "not_found"


READERS = ("ann", "bob", "eve")
ACTS = st.tuples(
    st.sampled_from(["next", "claim", "finish", "release", "renew", "steal", "image"]),
    st.integers(0, 2),
    st.integers(0, 3),
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=st.lists(ACTS, max_size=14))
def test_promise_7_whatever_readers_do_a_study_has_one_holder(
    session_engine: Engine,
    make: Make,
    policy: Policy,
    ring: KeyRing,
    acts: list[tuple[str, int, int]],
) -> None:
    empty(session_engine, policy)
    with session_engine.begin() as connection:
        apply(connection, readable(make, 4), policy=policy, identities=Identities(ring))
    every = studies(session_engine)
    held: dict[str, tuple[str, str]] = {}  # study → (reader, token): the model
    finished: set[str] = set()
    for act, who, which in acts:
        reader, study = READERS[who], every[which]
        mine = held.get(study, ("", ""))[0] == reader
        try:
            with session_engine.begin() as connection:
                if act == "next":
                    claim = leases.next_study(connection, reader, 60)
                    assert (claim.study if claim else None) == next(
                        (s for s in every if s not in held and s not in finished), None
                    )
                    if claim:
                        held[claim.study] = (reader, claim.token)
                elif act == "claim":
                    held[study] = (reader, leases.claim(connection, study, reader, 60).token)
                    assert study not in finished
                elif act == "steal":
                    leases.finish(connection, study, "guessed", reader)
                    raise AssertionError("a guess finished it")
                elif act == "image":
                    apply(
                        connection,
                        [make.series(f"1.2.{which}", n=2, at=40, patient=f"P{which}")],
                        policy=policy,
                        identities=Identities(ring),
                    )
                elif mine:
                    token = held[study][1]
                    if act == "renew":
                        leases.renew(connection, study, token, 60)
                    else:
                        (leases.finish if act == "finish" else leases.release)(
                            connection, study, token, reader
                        )
                        del held[study]
                        finished |= {study} if act == "finish" else set()
        except QueueError as error:
            other = "claimed" if act == "claim" else "wrong_token"
            if error.code != ("finished" if study in finished else other):
                raise
    with session_engine.connect() as connection:
        shown = {i["study"]: i["claimed_by"] for i in queue.listing(connection).items}
        assert violations(connection) == {}
        assert audit.verify(connection).broken is None
    assert shown == {s: held[s][0] if s in held else None for s in every if s not in finished}
