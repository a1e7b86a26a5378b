"""One placer number, several orders: what is said of one of them reaches no other."""

from __future__ import annotations

import pytest

from tests.worklist.record.say import image, order, report, step
from tests.worklist.record.test_faults import P1, items
from worklist.record.facts import Fact
from worklist.record.items import Item

IMAGES = [image("u1.1 a1", P1), image("u1.2 a2", P1)]
#: A routine and a STAT order of one requisition, told apart by what stands beside its number.
TWO = {
    "accession": ("p5 a1", "p5 a2"),
    "filler and accession": ("p5 f1 a1", "p5 f2 a2"),
    "study": ("p5 a1 u1.1", "p5 a2 u1.2"),
    "all": ("p5 f1 a1 u1.1", "p5 f2 a2 u1.2"),
}


def two(names: tuple[str, str]) -> list[Fact]:
    first, second = names
    return [*IMAGES, order(first, P1, "routine", received=2), order(second, P1, "stat", received=1)]


def by_uid(said: list[Fact]) -> dict[str, Item]:
    return {item.uid: item for item in items(said)}


@pytest.mark.parametrize("names", TWO.values(), ids=TWO)
def test_a_report_on_one_order_of_a_requisition_leaves_the_other_open(
    names: tuple[str, str],
) -> None:
    rows = by_uid([*two(names), report(names[0], P1)])
    assert {uid: row.state for uid, row in rows.items()} == {"1.1": "final", "1.2": "readable"}
    assert rows["1.2"].priority == "stat"


def test_a_report_that_names_the_filler_number_alone_closes_that_order() -> None:
    rows = by_uid([*two(("p5 f1 a1", "p5 f2 a2")), report("p5 f1", P1)])
    assert {uid: row.state for uid, row in rows.items()} == {"1.1": "final", "1.2": "readable"}


@pytest.mark.parametrize("names", TWO.values(), ids=TWO)
def test_a_routine_order_of_the_requisition_takes_no_stat_away(names: tuple[str, str]) -> None:
    assert by_uid(two(names))["1.2"].priority == "stat"


@pytest.mark.parametrize("names", TWO.values(), ids=TWO)
def test_a_cancelled_order_of_the_requisition_cancels_no_other(names: tuple[str, str]) -> None:
    said = [f for f in two(names) if f not in IMAGES]
    gone = order(names[0], P1, received=9, status="cancelled")
    rows = {row.accessions: row.state for row in items([*said, gone])}
    assert rows == {("1",): "cancelled", ("2",): "expected"}


@pytest.mark.parametrize("status", ["final", "preliminary"])
def test_a_report_on_the_whole_requisition_closes_none_of_several_and_marks(status: str) -> None:
    rows = by_uid([*two(("p5 f1 a1", "p5 f2 a2")), report("p5", P1, status)])
    assert [row.state for row in rows.values()] == ["readable", "readable"]
    assert all("order_unclear" in row.marks for row in rows.values())


def test_a_cancel_of_the_whole_requisition_ends_none_of_several_and_marks() -> None:
    gone = order("p5", P1, received=9, status="cancelled")
    rows = items([*(f for f in two(("p5 f1 a1", "p5 f2 a2")) if f not in IMAGES), gone])
    assert [row.state for row in rows] == ["expected", "expected"]
    assert all("order_unclear" in row.marks for row in rows)


def test_a_report_on_a_requisition_of_one_order_closes_it() -> None:
    said = [image("u1.1 a1", P1), order("p5", P1), order("p5 f1 a1", P1, received=3)]
    assert [(i.state, i.marks) for i in items([*said, report("p5", P1)])] == [("final", ())]


def test_the_mark_ends_when_each_order_has_its_own_report() -> None:
    said = [*two(("p5 f1 a1", "p5 f2 a2")), report("p5", P1)]
    said += [report("f1", P1, received=33), report("f2", P1, received=34)]
    assert [(i.state, "order_unclear" in i.marks) for i in items(said)] == [("final", False)] * 2


def test_a_priority_of_the_whole_requisition_raises_and_lowers_none() -> None:
    said = two(("p5 f1 a1", "p5 f2 a2"))
    raised = by_uid([*said, order("p5", P1, "urgent", received=7)])
    assert [row.priority for row in raised.values()] == ["urgent", "stat"]


def test_a_report_on_an_order_that_nobody_sent_closes_no_other_of_its_requisition() -> None:
    said = [image("u1.1 a1", P1), order("p5 f1 a1", P1, "stat"), report("p5 f2 a2", P1)]
    assert {i.uid: i.state for i in items(said)}["1.1"] == "readable"
    assert {i.uid: i.state for i in items([*said[:2], report("p5 f2", P1)])}["1.1"] == "readable"


def test_a_filler_number_that_is_the_reports_own_does_not_matter_beside_the_accession() -> None:
    said = [image("u1.1 a1", P1), order("p5 f1 a1", P1), report("f77 a1", P1)]
    assert [i.state for i in items(said)] == ["final"]


def test_an_exam_of_the_requisition_joins_only_the_order_of_its_accession() -> None:
    said = [image("u1.1 a1", P1), step("s9 u1.1 a1 p5", P1, "completed")]
    said += [order("p5 a1", P1), order("p5 a2", P1, "stat")]
    rows = {i.uid: (i.accessions, i.priority) for i in items(said)}
    assert rows == {"1.1": (("1",), "unknown"), "": (("2",), "stat")}


def test_two_requisitions_with_one_accession_are_two_orders() -> None:
    said = [image("u1.1 a1", P1), order("p5 a1", P1), order("p6 a1", P1, "stat")]
    waiting = items([*said, report("p5 a1", P1)])
    assert [(i.state, i.priority, i.marks) for i in waiting] == [
        ("readable", "stat", ("orders_waiting",))
    ]


def test_an_order_number_in_the_place_of_an_accession_says_nothing_more() -> None:
    said = two(("p5 f7 a1", "p5 f8 a2"))
    by_filler = by_uid([*said, report("p5 f7 a7", P1)])
    assert {uid: row.state for uid, row in by_filler.items()} == {"1.1": "final", "1.2": "readable"}
    by_placer = by_uid([*said, report("p5 a5", P1)])
    assert [(r.state, "order_unclear" in r.marks) for r in by_placer.values()] == [
        ("readable", True),
        ("readable", True),
    ]
    first = [order("p5 a5", P1, "stat"), order("p5 f7 a1", P1, received=3), IMAGES[0]]
    assert [(i.uid, i.priority) for i in items(first)] == [("1.1", "stat")]


def test_a_report_whose_filler_number_is_the_accession_closes_its_order() -> None:
    said = [image("u1.1 a1", P1), order("p5 a1", P1), report("f1 a1", P1)]
    assert [i.state for i in items(said)] == ["final"]


ONE_ACCESSION = [image("u1.1 a1", P1), order("f1 a1", P1), order("f2 a1", P1)]


def test_a_message_that_names_the_accession_alone_speaks_of_all_its_orders() -> None:
    said = [*ONE_ACCESSION, order("a1", P1, "stat", received=3)]
    (raised,) = items(said)
    assert (raised.priority, raised.marks) == ("stat", ())
    said += [report("f1 a1", P1), report("f2 a1", P1, received=31)]
    assert [i.state for i in items(said)] == ["final"]
    no_images = said[1:4]
    gone = [order(f"{f} a1", P1, received=9, status="cancelled") for f in ("f1", "f2")]
    assert {i.state for i in items([*no_images, *gone])} == {"cancelled"}


def test_a_cancel_that_names_the_accession_of_several_orders_ends_none_and_marks() -> None:
    gone = order("a1", P1, received=9, status="cancelled")
    rows = items([*ONE_ACCESSION[1:], gone])
    assert {i.state for i in rows} == {"expected"}
    assert all("order_unclear" in i.marks for i in rows)


def test_the_placer_s_and_the_filler_s_word_of_one_accession_are_one_order() -> None:
    said = [order("p5 a1", P1, "stat", sender="ehr"), order("f1 a1", P1, "routine", received=3)]
    assert [(i.priority, i.marks) for i in items(said)] == [("stat", ("priority_conflict",))]
    said += [image("u1.1 a1", P1), report("f1 a1", P1)]
    assert [i.state for i in items(said)] == ["final"]


@pytest.mark.parametrize(
    "others",
    [[order("f2 a1", P1)], [order("p6 a1", P1)], [order("p6 f1 a1", P1)]],
    ids=["two fillers", "two placers", "a placer of its own"],
)
def test_an_accession_alone_joins_no_placer_where_several_could_be_meant(
    others: list[Fact],
) -> None:
    said = [order("p5 a1", P1, "stat", sender="ehr"), order("f1 a1", P1), *others]
    said += [image("u1.1 a1", P1), report("f1 a1", P1)]
    assert [(i.state, i.priority) for i in items(said)] == [("readable", "stat")]


def test_a_corrected_accession_keeps_its_order_and_the_old_one_as_alias() -> None:
    said = [order("p5 a1", P1, "stat"), order("p5 a2", P1, None, received=2, changes=True)]
    assert [(i.accessions, i.priority) for i in items(said)] == [(("2", "1"), "stat")]
    for accession in ("a1", "a2"):
        (read,) = items([*said, image(f"u1.1 {accession}", P1)])
        assert (read.uid, read.priority) == ("1.1", "stat")


def test_a_change_of_a_requisition_of_several_orders_is_none_of_them_by_guess() -> None:
    said = [order("p5 a1", P1, "stat"), order("p5 a2", P1)]
    said.append(order("p5 a3", P1, None, received=2, changes=True))
    assert sorted(i.accessions for i in items(said)) == [("1",), ("2",), ("3",)]


def test_an_order_number_that_a_door_took_for_an_accession_gives_way_to_the_accession() -> None:
    """The placer's order has no more than its number; the department gives the accession later."""
    said = [order("p5 a5", P1), order("p5 f1 a7", P1, received=9)]
    assert [row.accessions for row in items(said)] == [("7", "5")]
