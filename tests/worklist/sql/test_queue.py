"""The list as SQL reads it: sorted by the rank (promise 6), by its index."""

from __future__ import annotations

import random
from datetime import timedelta

from sqlalchemy import Engine, text

from streams.events import Event
from streams.seal import KeyRing
from tests.worklist.conftest import T0, Make
from worklist.order.policy import Policy
from worklist.order.rank import READABLE, StudyFacts, rank
from worklist.sql import leases, queue
from worklist.sql.models import OPEN
from worklist.sql.project import Identities, apply, project

CODES = ("RID4700", "RID5350", "never heard of")


def write(
    engine: Engine, policy: Policy, ring: KeyRing, events: list[Event], chunk: int = 200
) -> None:
    identities = Identities(ring)
    for i in range(0, len(events), chunk):
        with engine.begin() as connection:
            apply(connection, events[i : i + chunk], policy=policy, identities=identities)


def test_promise_6_what_sql_sorts_by_is_the_pure_function(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    rng = random.Random(5)
    events: list[Event] = []
    for n in range(60):
        uid = f"1.{n}" if n % 2 else f"1.0{n}"  # names whose order differs between collations
        at = rng.choice([10, 20, 30, 2000.0])
        order = make.order(
            f"A{n}",
            at=at - 5,
            patient=f"P{n}",
            priority=rng.choice([*policy.classes, "?"]),
            location=rng.choice(["", "icu"]),
        )
        events.append(order)
        if n % 5:
            events.append(make.series(uid, accessions=(f"A{n}",), patient=f"P{n}", at=at))
            events.append(
                make.finding(uid, flagged=rng.random() < 0.3, at=at + 1, code=rng.choice(CODES))
            )
    write(engine, policy, ring, events)
    with engine.begin() as connection:
        pinned = queue.listing(connection, limit=50, state="readable").items[-1]
        nodes = queue.act_on_rank(connection, pinned["study"], "pin", "lead", "asked for")
        project(connection, nodes, policy=policy, identities=Identities(ring))
        items = queue.listing(connection, limit=1000).items
        plan = "\n".join(
            connection.scalars(
                text(f"""EXPLAIN SELECT study FROM study WHERE {OPEN}
                         ORDER BY lane, due_at, received_at, item LIMIT 1""")
            )
        )
    assert len(items) == 60
    places = []
    for item in items:
        study = StudyFacts(
            study=item["item"],
            received_at=item["received_at"],
            clock=item["clock"],
            readable=item["state"] == "readable",
            scheduled_at=item["scheduled_at"],
            pinned=item["pinned"],
            order_class=item["order_class"],
            location=item["location"],
            flags=tuple((f["package"], f["code"]) for f in item["flags"]),
        )
        place = rank(study, policy)
        places.append(place.key)
        assert (item["lane"], item["due_at"], item["target_at"]) == (
            place.lane,
            place.due_at,
            place.target_at,
        )
        assert [(w["term"], w["target_s"], w["source"]) for w in item["why"]] == [
            tuple(t) for t in place.why
        ]
        assert item["policy_version"] == policy.version
    assert places == sorted(places)
    assert items[0]["study"] == pinned["study"]
    assert "study_queue" in plan, plan  # the index is the queue


def test_a_fresh_flagged_bleed_goes_before_a_thousand_routine_studies_three_days_overdue(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    bleed = make.series("9.9", at=0, patient="PB"), make.finding("9.9", at=1)
    overdue = -(3 + 1) * 24 * 60.0  # the target is a day
    backlog: list[Event] = []
    for n in range(1000):
        backlog += [
            make.order(f"R{n}", at=overdue - 9, patient=f"P{n}"),
            make.series(f"1.7.{n}", at=overdue, patient=f"P{n}", accessions=(f"R{n}",)),
        ]
    write(engine, policy, ring, [*backlog, *bleed])
    with engine.begin() as connection:
        claim = leases.next_study(connection, "r", 60)
        assert claim is not None
        row = queue.detail(connection, claim.study)
        second = leases.next_study(connection, "r2", 60)
        assert second is not None
        assert queue.detail(connection, second.study)["ai"] == "pending"
        assert (
            connection.scalar(
                text("SELECT count(*) FROM study WHERE target_at < :t"),
                {"t": T0 - timedelta(days=2.9)},
            )
            == 1000
        )
    assert (row["study_uid"], row["ai"], row["lane"]) == ("9.9", "flagged", READABLE)
