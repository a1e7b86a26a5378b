"""Faults that were found, each with its right outcome, in many orders of arrival."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.worklist.record.say import (
    act,
    adt,
    at,
    finding,
    image,
    merge,
    order,
    report,
    step,
)
from tests.worklist.record.test_model import policy, world
from worklist.record.facts import Fact, number_node
from worklist.record.items import Item, derive
from worklist.record.world import MOST_PATIENTS, World

P1, P2 = "P1@HOSP", "P2@HOSP"


def items(facts: Sequence[Fact], known: World | None = None) -> list[Item]:
    """The rows, the same in every order and however often a fact is said."""
    known = known or world(facts)
    found = derive(facts, known, policy())
    for seed in range(8):
        way = random.Random(seed).sample(list(facts), len(facts))
        assert derive([*way, *way[:2]], known, policy()) == found
    return found


def row(facts: Sequence[Fact], uid: str = "1.1", patient: str = "P1") -> Item:
    """The row of a study and a patient."""
    fit = [i for i in items(facts) if i.uid == uid and i.identity.patient_id == patient]
    assert len(fit) == 1
    return fit[0]


def finished(facts: Sequence[Fact], uid: str = "1.1", when: float = 40, **more: object) -> Fact:
    """A finish of a row as it is shown with `facts`."""
    item = next(i for i in derive(facts, world(facts), policy()) if i.uid == uid)
    kinds = {"fragments": "SeriesReceived", "reports": "OrderChanged ReportReceived"}
    seen = {
        name: tuple(f.key for f in item.facts if f.event.type in types.split())
        for name, types in kinds.items()
    }
    return act("finish", item.name, when=when, **(seen | more))


def test_report_for_another_patient_closes_nothing() -> None:
    said = [order("a7 f1", P1), image("u1.1 a7", P1), image("u1.2 a7", P2), report("a7", P2)]
    assert row(said).open
    assert row(said, "1.2", "P2").state == "final"


def test_an_open_step_never_hides_images() -> None:
    assert row([order("a7 f1", P1, "stat"), step("s9 u1.1"), image("u1.1")]).state == "readable"


def test_a_status_message_takes_no_priority_away() -> None:
    said = [
        order("a7 f1", P1, "stat"),
        image("u1.1 a7", P1),
        order("f1", P1, None, received=5, status="in_progress"),
    ]
    assert [i.priority for i in items(said)] == ["stat"]


def test_an_emptied_priority_is_unknown_not_routine() -> None:
    said = [order("f1", P1, "stat"), order("f1", P1, None, received=5, emptied=("priority",))]
    assert [i.priority for i in items(said)] == ["unknown"]


@pytest.mark.parametrize("first", ["cancelled", "replaced"])
def test_cancel_then_reinstate_with_one_event_time(first: str) -> None:
    said = [
        order("f1", P1, when=0, status=first),
        order("f1", P1, when=0, received=7, status="scheduled"),
    ]
    assert [i.state for i in items(said)] == ["expected"]


def test_a_step_with_a_hundred_studies_is_a_hundred_studies_of_one_row() -> None:
    said = [step("s9 " + " ".join(f"u1.{n}" for n in range(100)))]
    assert len(derive(said, World(), policy())) == 1


def test_a_dead_clock_of_a_modality_is_listed_and_an_archives_is_historic() -> None:
    old = at(-60 * 24 * 365 * 4)
    dead = row([image("u1.1", P1, acquired_at=old, kind="modality")])
    assert dead.open
    assert dead.clock == at(10)
    assert "doubtful_clock" in dead.marks
    said = [image("u1.1", P1, acquired_at=old, kind="archive")]
    prior = row(said)
    assert prior.state == "historic"
    assert row([*said, act("promote", prior.name)]).open
    assert row([*said, finding(said[0])]).open


def test_final_on_one_of_two_accessions_leaves_the_other() -> None:
    said = [order("a1 u1.1", P1), order("a2 u1.1", P1), image("u1.1", P1), report("a1", P1)]
    waiting = row(said)
    assert waiting.open
    assert "orders_waiting" in waiting.marks
    assert row([*said, report("a2", P1, received=31)]).state == "final"


def test_one_number_of_two_authorities_is_two_patients() -> None:
    said = [
        image("u1.1", "P1@A/19500101", received=5),
        image("u1.2", "P1@B/19800101", received=6),
        adt("A08", "P1@B/19800102", received=7),
        merge("P1@A", "P2@A", received=8),
    ]
    born = {i.uid: i.identity.birth_date for i in items(said)}
    assert born == {"1.1": "19500101", "1.2": "19800102"}


def test_another_visit_does_not_move_an_emergency_study() -> None:
    said = [
        order("a7 f1 v1", P1, location="emergency"),
        adt("A05", P1, visit="2", location="outpatient"),
        adt("A04", P1, visit="3", location="outpatient", received=21),
        image("u1.1 a7", P1),
    ]
    assert row(said).shown.location == "emergency"


def test_preliminary_images_final_is_final() -> None:
    said = [report("a7", P1, "preliminary", received=2), image("u1.1 a7", P1, received=5)]
    assert row([*said, report("a7", P1, received=9)]).state == "final"


def test_placer_first_accession_later_leaves_no_phantom() -> None:
    said = [order("p5", P1, "stat"), order("p5 f9 a7", P1, received=3), image("u1.1 a7", P1)]
    assert len(items(said)) == 1
    gone = order("f9", P1, received=6, status="cancelled")
    kept = items([*said, gone])
    assert [i.open for i in kept] == [True]
    assert "cancelled_images_exist" in kept[0].marks
    sure = act("confirm_cancel", kept[0].name)
    assert [i.state for i in items([*said, gone, sure])] == ["cancelled"]
    late = image("u1.1 a7", P1, received=50, names=(9,))
    assert [i.open for i in items([*said, gone, sure, late])] == [True]


def test_two_patients_in_one_series_are_two_marked_rows() -> None:
    both = items([image("u1.1", P1), image("u1.1", P2, names=(2,))])
    assert len(both) == 2
    assert all("identity_conflict" in i.marks for i in both)


def test_only_a_localizer_is_readable_and_marked_incomplete() -> None:
    scout = row([image("u1.1", P1, localizer=True)])
    assert scout.state == "readable"
    assert "incomplete" in scout.marks
    whole = row([image("u1.1", P1, localizer=True), image("u1.1", P1, series="2")])
    assert "incomplete" not in whole.marks


def test_images_order_and_report_with_other_study_uids_are_one_row() -> None:
    said = [
        image("u1.1 a7", P1),
        order("a7 u9.9", P1, "stat", received=30),
        step("s9 u9.9", P1, "completed", received=31),
    ]
    assert [(i.uid, i.priority) for i in items(said)] == [("1.1", "stat")]
    assert [i.state for i in items([*said, report("u9.9", P1, received=40)])] == ["final"]


def test_a_report_that_knows_only_the_images_uid_closes_their_order() -> None:
    said = [image("u1.1 a7", P1), order("a7 f1", P1), report("u1.1", P1)]
    assert [i.state for i in items(said)] == ["final"]


def test_a_step_joins_an_order_and_images_that_know_nothing_of_each_other() -> None:
    said = [image("u1.1", P1), order("a7 f1", P1, "stat"), step("s9 u1.1 a7", P1)]
    assert [(i.uid, i.priority) for i in items(said)] == [("1.1", "stat")]


def test_images_under_the_old_number_after_a_merge_show_the_survivor() -> None:
    said = [
        order("a7 f1", P1, "stat"),
        merge(P1, P2),
        image("u1.1 a7", P1, received=30),
        step("s9 u1.1", P1, received=31),
    ]
    assert [(i.identity.patient_id, i.priority) for i in items(said)] == [("P2", "stat")]
    assert [i.state for i in items([*said, report("a7", P2, received=40)])] == ["final"]


def test_a_merge_that_names_one_number_twice_does_nothing() -> None:
    said = [image("u1.1", f"{P1}/19500101"), merge(P1, P1), image("u1.1", P2, names=(2,))]
    assert len(items(said)) == 2


def test_merges_in_a_circle_end_alike_in_every_order() -> None:
    said = [
        merge("B@H", "A@H", received=1),
        merge("A@H", "B@H", received=2),
        merge("B@H", "A@H", received=3),
        image("u1.1 a7", "A@H"),
        order("a7 f1", "B@H", "stat"),
    ]
    assert [i.priority for i in items(said)] == ["stat"]


def test_a_chain_of_merges_in_reverse_is_one_patient() -> None:
    said = [merge("C@H", "B@H", received=9), merge("B@H", "A@H", received=1)]
    said += [image("u1.1 a7", "C@H"), order("a7", "A@H", "stat"), order("a7 f2", "B@H")]
    assert len(items(said)) == 1


def test_a_link_makes_two_hospitals_patients_one_until_it_is_undone() -> None:
    said = [
        order("a7 f1", "P1@A", "stat"),
        image("u1.1 a7", "P9@B"),
        merge("P1@A", "P9@B", act="link"),
    ]
    assert [i.priority for i in items(said)] == ["stat"]
    gone = merge("P1@A", "P9@B", act="unlink", received=50)
    assert len(items([*said, gone])) == 2


def test_a_link_within_one_authority_only_marks_until_it_is_undone() -> None:
    said = [order("a7 f1", "P1@A", "stat"), image("u1.1 a7", "P9@A"), image("u1.2", "P5@A")]
    link = merge("P1@A", "P9@A", act="link")
    marked = {i.identity.patient_id: set(i.marks) for i in items([*said, link])}
    assert "number_linked" in marked["P1"] & marked["P9"]
    assert marked["P5"] == set()
    rows = {i.identity.patient_id: i for i in items([*said, link])}
    assert rows["P1"].uid == "", "still two patients"
    gone = merge("P1@A", "P9@A", act="unlink", received=50)
    assert not any("number_linked" in i.marks for i in items([*said, link, gone]))


def test_a_moved_account_takes_its_orders_along() -> None:
    said = [order("a7 f1 v1", P1), order("a8 f2 v2", P1), merge(P1, P2, act="move", moved="v1")]
    assert {i.accessions: i.person.split("|")[1] for i in items(said)}.keys() == {("7",), ("8",)}
    assert len({i.person for i in items(said)}) == 2


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("final", "final"),
        ("preliminary", "preliminary"),
        ("corrected", "readable"),
        ("addendum", "readable"),
        ("withdrawn", "readable"),
    ],
)
def test_only_a_final_report_closes(status: str, state: str) -> None:
    said = [order("a7 f1", P1), image("u1.1 a7", P1), report("f1", P1, status)]
    assert row(said).state == state


@pytest.mark.parametrize("later", ["corrected", "addendum"])
def test_corrections_after_a_final_change_nothing(later: str) -> None:
    said = [order("a7 f1", P1), image("u1.1 a7", P1), report("f1", P1)]
    assert row([*said, report("f1", P1, later, received=50)]).state == "final"


def test_a_late_preliminary_after_a_final_changes_nothing() -> None:
    said = [
        image("u1.1 a7", P1),
        report("a7", P1),
        report("a7", P1, "preliminary", received=50, when=20),
    ]
    assert row(said).state == "final"


def test_an_addendum_to_what_nobody_sent_is_no_row_on_the_list() -> None:
    assert [i.open for i in items([report("a7", P1, "addendum")])] == [False]


def test_absent_demographics_blank_nothing_and_empty_ones_clear() -> None:
    said = [order("a7 f1", f"{P1}/19500101/DOE^JANE"), adt("A08", P1, received=21)]
    shown = items(said)[0].identity
    assert (shown.name, shown.birth_date) == ("DOE^JANE", "19500101")
    said.append(image("u1.1 a7", "", received=25))
    assert row(said).identity.name == "DOE^JANE"


def test_one_order_number_with_two_accessions_is_two_orders() -> None:
    first, second = order("p5 a1", P1, "stat"), order("p5 a2", P1)
    version = first.event.version  # type: ignore[union-attr]
    same = second.event.model_copy(update={"version": version})
    said = [first, Fact(same, second.identity), image("u1.1 a1", P1), image("u1.2 a2", P1)]
    assert [(i.uid, i.accessions) for i in items(said)] == [("1.1", ("1",)), ("1.2", ("2",))]


def test_steps_that_end_late_or_never_leave_the_row_readable() -> None:
    said = [
        image("u1.1 a7", P1),
        step("s9 u1.1 a7", P1, "in_progress"),
        step("s9", "", "completed", received=20),
        step("s9", "", "in_progress", received=21),
        step("s8 u1.1", P1, "in_progress", received=22),
    ]
    assert [i.state for i in items(said)] == ["readable"]


def test_an_end_without_patient_is_of_its_steps_patient() -> None:
    said = [
        image("u1.1 a7", P1),
        image("u1.2 a7", P2),
        step("s9 u1.1 a7", P1),
        step("s9", "", "completed", received=20),
    ]
    assert len(items(said)) == 2


def test_another_patients_order_takes_neither_urgency_nor_name() -> None:
    said = [order("a7 f1", f"{P1}/19500101/DOE", "stat"), image("u1.1 a7", P1)]
    other = order("a7 f2", f"{P2}/19800101/ROE", "routine", received=20)
    mine = row([*said, other])
    assert (mine.priority, mine.identity.name) == ("stat", "DOE")
    assert [("identity_conflict" in i.marks) for i in items([*said, other])] == [True, True]
    alone = items([said[0], other])
    assert {i.identity.patient_id: i.priority for i in alone} == {"P1": "stat", "P2": "routine"}


def test_a_number_of_too_many_patients_joins_only_the_very_same_patient_number() -> None:
    many = [image(f"u1.{n} a999", f"P{n}@H") for n in range(MOST_PATIENTS + 1)]
    own = order("a999 f1", "P1@H", "stat")
    shared = World(shared=frozenset({number_node(many[0].event.numbers[0])}))  # type: ignore[union-attr]
    rows = derive([*many, own, order("a999 f2", "", "stat")], shared, policy())
    assert len(rows) == MOST_PATIENTS + 2
    assert {i.uid for i in rows if i.priority == "stat"} == {"1.1", ""}
    assert all("shared_number" in i.marks for i in rows)
    assert not any("identity_conflict" in i.marks for i in rows)


def test_an_overdue_row_of_a_dead_console_keeps_its_stat() -> None:
    said = [order("a7 f1", P1, "stat"), step("s9 u1.1 a7", P1, "in_progress"), image("u1.1 a7", P1)]
    assert (row(said).state, row(said).priority) == ("readable", "stat")
