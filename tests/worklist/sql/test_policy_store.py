"""The policy that ranks: kept once, replaced by a person's act, and all rows ranked anew by it."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from sqlalchemy import Engine, text

from streams.identity.studykey import digest
from tests.worklist.conftest import T0, Feed, Make
from worklist.order.policy import Policy
from worklist.sql import policy_store, queue
from worklist.sql.invariants import violations
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.rerank import rerank


def test_the_policy_from_the_database_has_the_version_that_was_activated(
    engine: Engine, policy: Policy
) -> None:
    with engine.connect() as connection:
        assert policy_store.active(connection).version == policy.version
        assert policy_store.stored(connection, policy.version) == policy
        assert policy_store.stored(connection, "never heard of") is None


def test_activating_the_same_policy_again_is_nothing_and_an_old_one_comes_back(
    engine: Engine, policy: Policy
) -> None:
    other = policy.model_copy(update={"name": "other"})
    with engine.begin() as connection:
        assert not policy_store.activate(connection, policy, actor="lead", now=T0)
        assert policy_store.activate(connection, other, actor="lead", now=T0 + timedelta(hours=1))
        assert policy_store.active(connection) == other
        assert policy_store.activate(connection, policy, actor="lead", now=T0 + timedelta(hours=2))
        assert policy_store.active(connection) == policy


def test_a_new_policy_ranks_every_row_anew_in_chunks_and_ends(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    feed(
        *(make.series(f"1.2.{n}", patient=f"P{n}") for n in range(7)),
        make.finding("1.2.3"),
        make.order("B", patient="PB"),
    )
    off = policy.without_ai()
    with engine.begin() as connection:
        policy_store.activate(connection, off, actor="lead", now=T0 + timedelta(hours=1))
    assert rerank(engine, opener, chunk=3) == 8
    assert rerank(engine, opener, chunk=3) == 0
    with engine.connect() as connection:
        items = queue.listing(connection).items
    assert {i["policy_version"] for i in items} == {off.version}
    flagged = next(i for i in items if i["study_uid"] == "1.2.3")
    assert flagged["ai"] == "flagged"
    assert not any(w["term"].startswith("flag") for w in flagged["why"])


def test_going_live_raises_what_was_recorded_and_going_back_is_a_persons_act(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    images = make.series(patient=None)
    feed(
        images,
        make.finding(of=images, package="next"),
        make.finding(package="next", constancy=False, at=12, input_digest=digest(b"other images")),
    )
    states = []
    for hours, live in ((1, (*policy.live, "next")), (2, policy.live)):
        with engine.begin() as connection:
            policy_store.activate(
                connection,
                policy.model_copy(update={"live": live}),
                actor="lead",
                now=T0 + timedelta(hours=hours),
            )
        rerank(engine, opener)
        with engine.connect() as connection:
            assert violations(connection) == {}
            states.append(queue.listing(connection).items[0]["ai"])
            assert connection.scalar(
                text("SELECT count(*) FROM audit WHERE act = 'policy' AND actor = 'lead'")
            ) == len(states)
    assert states == ["flagged", "not_analysed"]


def test_a_policy_of_an_earlier_release_in_the_database_is_told_and_replaced(
    engine: Engine, policy: Policy
) -> None:
    old = policy.model_dump(mode="json", exclude={"live"}) | {"shadow": ["head-ct-ich"]}
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO policy_version (version, body, activated_at, actor)
                    VALUES ('old', CAST(:b AS jsonb), :t, 'lead')"""),
            {"b": orjson.dumps(old).decode(), "t": T0 + timedelta(hours=1)},
        )
        with pytest.raises(LookupError, match="vigie policy activate"):
            policy_store.active(connection)
        assert policy_store.stored(connection, "old") is None
        assert policy_store.activate(connection, policy, actor="lead", now=T0 + timedelta(hours=2))
        assert policy_store.active(connection) == policy
