"""Claims: one reader per row, its own token for each, and nothing else ends with it (promise 7)."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from streams.errors import Retry
from tests.worklist.conftest import Feed, Make
from tests.worklist.sql.acting import LEASE_S, only, refused, run_out, take
from worklist.order.policy import Policy
from worklist.sql import leases, queue
from worklist.sql.acts import Wish, do
from worklist.sql.database import translated
from worklist.sql.invariants import violations
from worklist.sql.queue import QueueError
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener

READERS = [f"reader{n}" for n in range(16)]


def patients(make: Make, count: int, **more: Any) -> list[Any]:
    """Images of so many patients, one study each."""
    return [make.series(f"1.{n}", at=n, patient=f"P{n}", **more) for n in range(count)]


@pytest.fixture
def finish(engine: Engine, policy: Policy, opener: Opener) -> Callable[..., Any]:
    def act(study: str, token: str | None, actor: str = "anna", **more: Any) -> Any:
        wish = Wish("finish", study, actor, "reader", token=token, **more)
        with engine.begin() as connection:
            return do(connection, wish, policy=policy, opener=opener)

    return act


def test_promise_7_sixteen_readers_that_race_never_get_the_same_row_and_leave_none(
    engine: Engine, make: Make, policy: Policy, opener: Opener
) -> None:
    with engine.begin() as connection:
        apply(connection, patients(make, 64), policy=policy, opener=opener)

    def read(name: str) -> list[str]:
        mine = []
        while True:
            with engine.begin() as connection:
                claim = leases.next_study(connection, name, LEASE_S)
            if claim is None:
                return mine
            mine.append(claim.study)

    with ThreadPoolExecutor(16) as pool:
        got = [study for mine in pool.map(read, READERS) for study in mine]
    assert len(got) == len(set(got)) == 64


def test_promise_7_of_sixteen_who_click_the_same_row_one_wins_and_the_rest_hear_who(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series())
    study = only(engine)["study"]

    def click(name: str) -> tuple[str, str]:
        try:
            return "won", name if take(engine, study, name) else ""
        except QueueError as error:
            return error.code, error.who

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(click, READERS))
    ((_, winner),) = [each for each in told if each[0] == "won"]
    assert set(told) == {("won", winner), ("claimed", winner)}


def test_next_gives_the_first_row_that_can_be_read(engine: Engine, make: Make, feed: Feed) -> None:
    feed(
        make.order("A1", patient="P1", priority="stat"),  # nothing to read yet
        make.order("A2", patient="P2", priority="stat"),
        make.series("1.2", patient="P2", accession="A2", at=30),
        make.series("1.3", patient="P3", at=5),
        make.series("1.4", patient="P4", accession="A4", at=1),
        make.report("A4", "preliminary", patient="P4"),  # stands under "to validate"
        make.series("1.5", patient="P5", accession="A5", at=2),
        make.order("A5", patient="P5", bare=True, reading=True, received_at=datetime.now(UTC)),
    )
    with engine.begin() as connection:
        (elsewhere,) = queue.listing(connection, study_uid="1.5").items
        given = []
        while (claim := leases.next_study(connection, "anna", LEASE_S)) is not None:
            given.append(queue.detail(connection, claim.study)["study_uid"])
    assert given == ["1.2", "1.3"]
    with engine.begin() as connection:
        (waiting,) = queue.listing(connection, accession="A1").items
        (early,) = queue.listing(connection, state="preliminary").items
    assert refused(lambda: take(engine, waiting["study"])) == ("not_readable", "")
    assert refused(lambda: take(engine, elsewhere["study"])) == ("in_reading", "ris")
    assert take(engine, elsewhere["study"], sure=True).study == elsewhere["study"]
    assert take(engine, early["study"]).study == early["study"]
    assert refused(lambda: take(engine, "0" * 24)) == ("not_found", "")


def test_what_a_reader_skipped_is_passed_over(engine: Engine, make: Make, feed: Feed) -> None:
    feed(*patients(make, 3))
    with engine.begin() as connection:
        first, second, _ = (row["study"] for row in queue.listing(connection).items)
        claim = leases.next_study(connection, "anna", LEASE_S, [first])
    assert claim is not None
    assert claim.study == second


def test_two_patients_under_one_number_have_a_lease_each(
    engine: Engine, make: Make, feed: Feed, finish: Callable[..., Any]
) -> None:
    """R1: six patients with accession 0, and two hospitals that both use 12345."""
    feed(
        *(make.series(f"1.{n}", patient=f"P{n}", accession="0") for n in range(6)),
        make.series("2.1", patient="P1@A", accession="12345"),
        make.series("2.2", patient="P1@B", accession="12345"),
    )
    with engine.begin() as connection:
        rows = {row["study_uid"]: row["study"] for row in queue.listing(connection).items}
    assert len(rows) == 8
    for uid in ("1.0", "2.1"):
        finish(rows[uid], take(engine, rows[uid]).token)
    with engine.begin() as connection:
        left = queue.listing(connection).items
    assert {row["study_uid"] for row in left} == rows.keys() - {"1.0", "2.1"}
    assert {row["claimed_by"] for row in left} == {None}


def test_siblings_are_offered_and_claimed_only_when_asked(
    engine: Engine, make: Make, feed: Feed
) -> None:
    """PET and CT of one order, an unread film of the same person; never another's."""
    feed(
        make.order("A1"),
        make.series("1.1", accession="A1"),
        make.series("1.2", accession="A1"),
        make.series("1.3"),
        make.series("1.4", patient="P2", accession="A1"),
        make.order("A9"),
    )
    with engine.begin() as connection:
        rows = {row["study_uid"]: row["study"] for row in queue.listing(connection).items}
    told = take(engine, rows["1.1"])
    assert {s.study: s.token for s in told.siblings} == {
        rows["1.2"]: None,
        rows["1.3"]: None,
        rows[""]: None,
    }
    take(engine, rows["1.2"], "bert")
    told = take(engine, rows["1.1"], siblings=True)
    found = {sibling.study: sibling for sibling in told.siblings}
    assert (found[rows["1.2"]].claimed_by, found[rows["1.2"]].token) == ("bert", None)
    assert (found[rows["1.3"]].claimed_by, bool(found[rows["1.3"]].token)) == ("anna", True)
    assert found[rows["1.3"]].token != told.token
    assert found[rows[""]].token is None, "nothing of it can be read yet"
    with engine.begin() as connection:
        leases.release(connection, rows["1.1"], "anna", told.token)
        assert leases.holder(connection, rows["1.3"]) == "anna", "each row has its own lease"
        assert leases.holder(connection, rows["1.4"]) is None


def test_an_open_patient_number_makes_nobody_a_sibling(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series("1.1", patient="P1@"), make.series("1.2", patient="P1@", at=20))
    with engine.begin() as connection:
        study = queue.listing(connection).items[0]["study"]
    assert take(engine, study).siblings == ()


def test_a_lost_browser_gives_the_row_back_and_the_next_reader_is_told(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series())
    first = take(engine, only(engine)["study"])
    assert only(engine)["claimed_by"] == "anna"
    run_out(engine)
    assert (only(engine)["claimed_by"], only(engine)["opened_by"]) == (None, "anna")
    with engine.begin() as connection:
        second = leases.next_study(connection, "bert", LEASE_S)
    assert second is not None
    assert second.opened_by == "anna"
    assert second.token != first.token
    with engine.begin() as connection:
        leases.release(connection, second.study, "bert", second.token)
    assert take(engine, second.study, "carla").opened_by is None, "bert gave it back himself"


def test_the_chore_notes_once_what_ran_out_and_forgets_what_is_off_the_list(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series("1.1"), make.series("1.2", patient="P2", accession="A2"))
    for _ in range(2):
        with engine.begin() as connection:
            leases.next_study(connection, "anna", LEASE_S)
    run_out(engine)
    for expected in (2, 0):
        with engine.begin() as connection:
            assert leases.expire(connection) == expected
    feed(make.report("A2", patient="P2"))
    with engine.begin() as connection:
        leases.expire(connection)
        names = connection.execute(text("SELECT name FROM lease")).scalars().all()
        noted = connection.scalar(text("SELECT count(*) FROM audit WHERE act = 'expire'"))
    assert names == [only(engine)["study"]]
    assert noted == 2


def test_the_same_reader_keeps_one_token_in_all_tabs(
    engine: Engine, make: Make, feed: Feed, finish: Callable[..., Any]
) -> None:
    feed(make.series())
    study = only(engine)["study"]
    first, second = take(engine, study), take(engine, study)
    assert first.token == second.token
    with engine.begin() as connection:
        assert leases.own_token(connection, study, "anna") == first.token
        assert leases.own_token(connection, study, "bert") is None
        assert leases.renew(connection, study, first.token, 2 * LEASE_S) > second.expires_at
    assert not finish(study, first.token).open
    told = refused(lambda: finish(study, second.token))
    assert told == ("finished", "anna"), "the second tab hears that it is done, and by whom"


def test_a_wrong_token_does_nothing_and_names_the_holder(
    engine: Engine, make: Make, feed: Feed, finish: Callable[..., Any]
) -> None:
    feed(make.series())
    study = only(engine)["study"]
    assert refused(lambda: finish(study, "x")) == ("wrong_token", "")
    token = take(engine, study).token

    def renew(token: str) -> None:
        with engine.begin() as connection:
            leases.renew(connection, study, token, LEASE_S)

    def release(actor: str, token: str | None, reason: str = "") -> None:
        with engine.begin() as connection:
            leases.release(connection, study, actor, token, reason)

    assert refused(lambda: renew("x")) == ("wrong_token", "anna")
    assert refused(lambda: release("bert", "x")) == ("wrong_token", "anna")
    assert refused(lambda: finish(study, token, "bert")) == ("wrong_token", "anna")
    assert refused(lambda: finish(study, "x")) == ("wrong_token", "anna")
    assert refused(lambda: release("lead", None)) == ("reason_required", "")
    assert only(engine)["claimed_by"] == "anna"
    release("lead", None, "went home")
    assert refused(lambda: renew(token)) == ("wrong_token", "")
    assert refused(lambda: finish(study, token)) == ("wrong_token", "")


def test_a_lease_that_ran_out_finishes_late_until_somebody_takes_the_row(
    engine: Engine, make: Make, feed: Feed, finish: Callable[..., Any]
) -> None:
    feed(*patients(make, 2))
    with engine.begin() as connection:
        rows = [row["study"] for row in queue.listing(connection).items]
    tokens = [take(engine, study).token for study in rows]
    run_out(engine)
    with engine.begin() as connection:
        leases.expire(connection)
    done = finish(rows[0], tokens[0])
    assert (done.late, done.open) == (True, False)
    with engine.begin() as connection:
        detail = connection.scalar(text("SELECT detail FROM audit WHERE act = 'finish'"))
    assert detail["late"] is True
    take(engine, rows[1], "bert")
    assert refused(lambda: finish(rows[1], tokens[1])) == ("wrong_token", "bert")
    assert only(engine)["claimed_by"] == "bert"


def test_of_two_rows_that_become_one_the_earlier_lease_stands_and_the_other_is_told(
    engine: Engine, make: Make, feed: Feed, finish: Callable[..., Any]
) -> None:
    """Images sent under two numbers of one patient, whose merge comes later."""
    feed(make.series("1.1", patient="P1"), make.series("1.1", patient="P2", at=20, series="2"))
    with engine.begin() as connection:
        rows = queue.listing(connection).items
    assert len(rows) == 2
    late, early = rows[0]["study"], rows[1]["study"]
    earlier = take(engine, early, "anna")
    later = take(engine, late, "bert")
    feed(make.merge("P1", "P2", at=30))
    row = only(engine)
    assert (row["study"], row["claimed_by"]) == (late, "anna")
    assert refused(lambda: finish(late, later.token, "bert")) == ("wrong_token", "anna")
    with engine.begin() as connection:
        told = connection.scalar(text("SELECT actor FROM audit WHERE act = 'claim_superseded'"))
    assert told == "bert"
    finish(early, earlier.token)
    row = only(engine)
    assert row["marks"] == ["new_since_read"], "what bert had is not what anna has read"


def test_promise_7_whatever_readers_and_messages_do_at_once_a_row_is_finished_once(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    """Readers claim, finish and give back while messages for the same rows arrive."""
    feed(*patients(make, 12))
    finished: list[str] = []

    def tried(act: Callable[..., Any], *said: Any, **more: Any) -> Any:
        while True:
            try:
                with translated(), engine.begin() as connection:
                    return act(connection, *said, **more)
            except Retry:
                continue

    def read(name: str) -> None:
        chance = random.Random(name)
        while (claim := tried(leases.next_study, name, LEASE_S)) is not None:
            if chance.random() < 0.3:
                tried(leases.release, claim.study, name, claim.token)
                continue
            wish = Wish("finish", claim.study, name, "reader", token=claim.token)
            tried(do, wish, policy=policy, opener=opener)
            finished.append(claim.study)

    def say() -> None:
        for n in range(12):
            order = make.order(f"A{n}", patient=f"P{n}", also=f"f{n} u1.{n}", priority="stat")
            tried(apply, [order], policy=policy, opener=opener)

    with ThreadPoolExecutor(7) as pool:
        work = [pool.submit(read, f"r{n}") for n in range(6)] + [pool.submit(say)]
    for each in work:
        each.result()
    # The order came first or after: what nobody knew of when it was read comes back, marked.
    with engine.begin() as connection:
        for row in queue.listing(connection).items:
            assert "new_since_read" in row["marks"]
        acts = connection.scalar(text("SELECT count(*) FROM audit WHERE act = 'finish'"))
        assert acts == len(finished)
        assert violations(connection) == {}
