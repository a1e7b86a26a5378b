"""What the writer remembers is what the rows hold: it spares reading, and never changes a row."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, text

from streams.identity.seal import KeyRing
from tests.worklist.conftest import Make
from worklist.order.policy import Policy
from worklist.record.facts import Fact
from worklist.sql.writing import closure
from worklist.sql.writing.apply import apply
from worklist.sql.writing.closure import as_array, reached
from worklist.sql.writing.opening import Opener


def stored(
    engine: Engine, policy: Policy, opener: Opener, event_nodes: tuple[str, ...]
) -> list[Fact]:
    with engine.connect() as connection:
        return list(reached(connection, opener, policy, event_nodes).facts.values())


def test_what_a_transaction_wrote_that_was_undone_is_not_what_the_row_holds(
    engine: Engine, policy: Policy, make: Make, ring: KeyRing, acts_ring: KeyRing
) -> None:
    first, other = Opener(ring, acts_ring), Opener(ring, acts_ring)
    late = make.order("A1", at=10)
    early = late.model_copy(update={"received_at": late.received_at - timedelta(minutes=9)})
    with engine.connect() as connection:
        apply(connection, [late], policy=policy, opener=first)
        connection.rollback()
    with engine.begin() as connection:
        apply(connection, [early], policy=policy, opener=other)
    found = stored(engine, policy, first, Fact(late).nodes)
    assert [fact.received for fact in found] == [early.received_at]


def test_a_message_that_came_earlier_elsewhere_takes_the_place_of_what_is_remembered(
    engine: Engine, policy: Policy, make: Make, ring: KeyRing, acts_ring: KeyRing
) -> None:
    first, other = Opener(ring, acts_ring), Opener(ring, acts_ring)
    late = make.order("A1", at=10)
    early = late.model_copy(update={"received_at": late.received_at - timedelta(minutes=9)})
    for opener, event in ((first, late), (other, early), (first, late)):
        with engine.begin() as connection:
            apply(connection, [event], policy=policy, opener=opener)
    with engine.connect() as connection:
        received = connection.scalar(text("SELECT received_at FROM item"))
    assert received == early.received_at
    assert [fact.received for fact in stored(engine, policy, first, Fact(late).nodes)] == [received]


def test_a_fact_that_is_remembered_is_not_read_again(
    engine: Engine, policy: Policy, make: Make, ring: KeyRing, acts_ring: KeyRing
) -> None:
    opener = Opener(ring, acts_ring)
    order = make.order("A1")
    with engine.begin() as connection:
        apply(connection, [order], policy=policy, opener=opener)
    (first,) = stored(engine, policy, opener, Fact(order).nodes)
    (second,) = stored(engine, policy, opener, Fact(order).nodes)
    assert first is second
    assert stored(engine, policy, Opener(ring, acts_ring), Fact(order).nodes) == [first]


def test_what_is_remembered_stays_within_bounds(
    make: Make, ring: KeyRing, acts_ring: KeyRing
) -> None:
    opener = Opener(ring, acts_ring)
    fact = opener.fact(make.order("A1"))
    opener.remember("large", "1", fact, 1 << 20)
    assert opener.recall("large", "1") is None
    for number in range(2000):
        opener.remember(f"{number}", "1", fact, 60_000)
    assert opener.recall("0", "1") is None
    assert opener.recall("1999", "1") is fact
    assert opener.recall("1999", "2") is None, "another version of the row"


def test_facts_are_found_by_the_index_even_before_there_are_statistics(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(
            text("""INSERT INTO fact SELECT md5(n::text), 'OrderChanged', ARRAY['a' || n, 'b' || n],
                    clock_timestamp(), '{}' FROM generate_series(1, 3000) n""")
        )
        asked = {"nodes": as_array(f"a{number}" for number in range(1, 400))}
        for sql in (closure.BY_NODES, closure.ABOUT):
            plan = connection.execute(text(f"EXPLAIN {sql}"), asked).scalars().all()
            assert any("fact_nodes" in line for line in plan)
            assert not any("Seq Scan" in line for line in plan)
        connection.rollback()
