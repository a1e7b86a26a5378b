"""A row goes from reader to reader: kept a while for who had it open, asked for, taken, given."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.sql.acting import LEASE_S, only, refused, run_out, take
from worklist.order.policy import Policy
from worklist.sql import leases, queue
from worklist.sql.acts import Wish, do
from worklist.sql.leases import Claim
from worklist.sql.people import handing
from worklist.sql.writing.opening import Opener


def test_what_a_reader_had_open_until_a_moment_ago_waits_for_them_and_is_taken_only_knowingly(
    engine: Engine, make: Make, feed: Feed
) -> None:
    """A reader sits in the archive's viewer before a browser that froze."""
    feed(*(make.series(f"1.{n}", at=n, patient=f"P{n}") for n in range(3)))

    def get(reader: str, *, siblings: bool = False) -> str | None:
        with engine.begin() as connection:
            claim = leases.next_study(connection, reader, LEASE_S, siblings=siblings)
            return claim and queue.detail(connection, claim.study)["study_uid"]

    assert (get("anna"), get("anna")) == ("1.0", "1.1")
    for ago, expected in ((1, "1.2"), (LEASE_S * leases.GRACE - 5, None)):
        run_out(engine, ago)
        with engine.begin() as connection:
            leases.expire(connection)
        assert get("bert") == expected
        if expected:
            with engine.begin() as connection:
                connection.execute(text("UPDATE item SET state = 'preliminary' WHERE uid = '1.2'"))
    with engine.begin() as connection:
        rows = {row["study_uid"]: row["study"] for row in queue.listing(connection).items}
    assert refused(lambda: take(engine, rows["1.0"], "bert")) == ("just_opened", "anna")
    assert take(engine, rows["1.0"], "bert", sure=True).opened_by == "anna"
    assert get("anna") == "1.1", "it is hers still"
    run_out(engine, LEASE_S * leases.GRACE + 1)
    assert get("bert") == "1.0", "his own"
    with engine.begin() as connection:
        later = leases.next_study(connection, "carla", LEASE_S)
    assert later is not None
    assert later.opened_by == "anna"


def test_what_ran_out_a_moment_ago_is_taken_over_at_once_by_any_reader_with_a_reason(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series())
    study = only(engine)["study"]
    take(engine, study)
    with engine.begin() as connection:
        asked = handing.take_over(connection, study, "bert", LEASE_S, "mine", at_once=False)
    assert asked is None, "while she has it she is asked"
    run_out(engine, 1)
    with engine.begin() as connection:
        taken = handing.take_over(connection, study, "bert", LEASE_S, "she left", at_once=False)
        told = connection.execute(
            text("SELECT actor, reason, detail FROM audit WHERE act = 'take_over'")
        ).one()
    assert taken is not None
    assert tuple(told) == ("bert", "she left", {"from": "anna"})


def test_a_row_is_handed_over_and_taken_over_with_a_reason(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    feed(make.series())
    study = only(engine)["study"]
    token = take(engine, study).token

    def finish(token: str, actor: str) -> bool:
        with engine.begin() as connection:
            wish = Wish("finish", study, actor, "reader", token=token)
            return do(connection, wish, policy=policy, opener=opener).open

    def take_over(reason: str) -> Claim:
        with engine.begin() as connection:
            taken = handing.take_over(connection, study, "bert", LEASE_S, reason)
            assert taken is not None
            return taken

    def hand_over(token: str, reason: str) -> None:
        with engine.begin() as connection:
            handing.hand_over(connection, study, token, "bert", "carla", LEASE_S, reason)

    assert refused(lambda: take_over(" ")) == ("reason_required", "")
    taken = take_over("she was called away")
    assert refused(lambda: finish(token, "anna")) == ("wrong_token", "bert")
    assert refused(lambda: hand_over(taken.token, "")) == ("reason_required", "")
    hand_over(taken.token, "end of shift")
    assert only(engine)["claimed_by"] == "carla"
    with engine.begin() as connection:
        mine = leases.own_token(connection, study, "carla")
    assert mine is not None
    assert not finish(mine, "carla")
