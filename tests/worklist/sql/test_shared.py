"""Bad numbers are told: which they are, of whom by pseudonym, and how many name them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from worklist import chores, metrics
from worklist.order.policy import MOST_COUNTED, Policy
from worklist.sql import policy_store, shared
from worklist.sql.shared import SharedNumber
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.rerank import rerank


def told(engine: Engine, policy: Policy, most: int = 100) -> list[SharedNumber]:
    with engine.connect() as connection:
        return shared.listed(connection, policy, most)


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM item")) or 0


def measured(engine: Engine) -> tuple[float, float]:
    with engine.connect() as connection:
        chores.measure(connection)
    gauge = metrics.shared_numbers
    return gauge.labels("patients")._value.get(), gauge.labels("studies")._value.get()


def test_a_number_of_thirteen_patients_is_told_and_one_of_twelve_is_not(
    engine: Engine, make: Make, feed: Feed, policy: Policy
) -> None:
    feed(*(make.order("A1", also=f"f{n}", patient=f"P{n}", at=n) for n in range(12)))
    assert (told(engine, policy), measured(engine)) == ([], (0, 0))
    feed(make.order("A1", also="f99", patient="P99", at=20))
    assert told(engine, policy) == [SharedNumber("accession", "H", "A1", "patients", 13)]
    assert measured(engine) == (1, 0)


def test_a_number_of_thirteen_studies_of_one_patient_is_told_and_names_nobody(
    engine: Engine, make: Make, feed: Feed, policy: Policy
) -> None:
    images = [make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 23)]
    feed(*images[:-1])
    assert told(engine, policy) == []
    feed(images[-1])
    (one,) = told(engine, policy)
    assert (one.kind, one.value, one.named_by, one.count) == ("accession", "A1", "studies", 13)
    assert one.patient == images[0].patient, "by pseudonym"
    assert measured(engine) == (0, 1)


def test_of_images_without_a_patient_nobody_is_told(
    engine: Engine, make: Make, feed: Feed, policy: Policy
) -> None:
    feed(*(make.series(f"1.{n}", accession="A1", patient=None, at=n) for n in range(10, 23)))
    (one,) = told(engine, policy)
    assert (one.named_by, one.patient) == ("studies", None)


def test_the_worst_come_first_and_are_counted_to_a_hundred(
    engine: Engine, make: Make, policy: Policy, opener: Opener
) -> None:
    many = [make.order("A1", also=f"f{n}", patient=f"P{n}", at=n / 10) for n in range(130)]
    few = [make.order("A2", also=f"p{n}", patient=f"P{n}", at=20) for n in range(14)]
    for event in [*many, *few]:
        with engine.begin() as connection:
            apply(connection, [event], policy=policy, opener=opener)
    found = [(one.value, one.count) for one in told(engine, policy)]
    assert found == [("A1", MOST_COUNTED + 1), ("A2", 14)]
    assert [one.value for one in told(engine, policy, most=1)] == ["A1"]


@pytest.mark.parametrize(("most", "expected"), [(4, 6 + 1), (12, 6)])
def test_how_many_studies_may_share_a_number_is_the_sites_setting(
    engine: Engine, make: Make, opener: Opener, policy: Policy, most: int, expected: int
) -> None:
    mine = policy.model_copy(update={"studies_per_number": most})
    events = [make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 16)]
    for event in [*events, make.order("A1", at=30)]:
        with engine.begin() as connection:
            apply(connection, [event], policy=mine, opener=opener)
    assert rows(engine) == expected
    assert bool(told(engine, mine)) == (most == 4)
    with engine.connect() as connection:
        marks = connection.scalars(text("SELECT marks FROM item")).all()
    assert all(("crowded_number" in mark) == (most == 4) for mark in marks)


def test_another_limit_joins_and_parts_what_is_open_when_it_is_activated(
    engine: Engine, make: Make, feed: Feed, opener: Opener, policy: Policy
) -> None:
    feed(*(make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 16)))
    feed(make.order("A1", at=30, priority="stat"))
    before = rows(engine)
    for most, expected in ((4, before + 1), (12, before)):
        mine = policy.model_copy(update={"studies_per_number": most})
        with engine.begin() as connection:
            now = connection.scalar(text("SELECT clock_timestamp()"))
            policy_store.activate(connection, mine, actor="lead", now=now)
        rerank(engine, opener)
        assert rows(engine) == expected
