"""A number that joins nothing loses nothing: what names only it stands for itself on the list."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make


def rows(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT uid, patient_id FROM item ORDER BY 1, 2")).all()
    return [(row.uid, row.patient_id) for row in found]


def test_promise_2_an_order_under_a_number_of_too_many_studies_is_on_the_list(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*(make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 25)))
    feed(make.order("A1", also="a77", at=30), make.order("A1", at=31))
    assert len(rows(engine)) == 15 + 2
    assert rows(engine).count(("", "P1")) == 2


def test_orders_of_one_patient_under_a_bad_number_do_not_take_each_others_place(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*(make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 25)))
    orders = [make.order("A1", also=f"f{n}", at=30 + n) for n in range(20)]
    feed(*orders)
    feed(*orders)
    assert rows(engine).count(("", "P1")) == 20


def test_an_order_without_patient_under_a_shared_number_is_on_the_list(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*(make.order("A1", also=f"f{n}", patient=f"P{n}", at=n) for n in range(14)))
    feed(make.order("A1", also="v1", patient=None, at=20))
    feed(make.order("A1", also="v1", patient=None, at=21, priority="stat"))
    assert rows(engine).count(("", "")) == 2


def lanes(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT lane FROM item WHERE uid <> '' ORDER BY uid")))


def test_a_device_that_makes_a_study_of_each_image_keeps_the_urgency_of_the_order(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order("A1", also="f1", at=1, priority="stat"))
    feed(*(make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 22)))
    assert lanes(engine) == [1] * 12
    feed(make.series("1.23", accession="A1", at=23))
    assert lanes(engine) == [1] * 13
    feed(make.order("A1", also="f1", at=30, priority="routine"))
    assert lanes(engine) == [2] * 13
    feed(make.order("A1", also="f1", at=31, priority="stat"))
    assert lanes(engine) == [1] * 13
    feed(make.report("A1", at=40))
    assert len(lanes(engine)) == 13, "a number of many studies closes none of them"


def test_an_order_after_the_images_of_a_crowded_number_lends_its_urgency(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*(make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 25)))
    feed(make.order("A1", also="f1", patient="P2", at=30, priority="stat"))
    assert lanes(engine) == [2] * 15, "another patient's"
    feed(make.order("A1", also="f2", at=31, priority="stat"))
    assert lanes(engine) == [1] * 15
