"""What persons do, and what brings back what was read, each in many orders of arrival."""

from __future__ import annotations

from tests.worklist.record.say import act, at, finding, image, merge, order, report, step
from tests.worklist.record.test_faults import P1, finished, items, row
from worklist.record.acts import Cleared


def test_a_withdrawn_report_brings_a_finished_row_back() -> None:
    said = [order("a7 f1", P1), image("u1.1 a7", P1), report("f1", P1)]
    later = [*said, finished(said), report("f1", P1, "withdrawn", received=50)]
    back = row(later)
    assert back.open
    assert {"new_since_read", "report_withdrawn"} <= set(back.marks)
    assert back.clock == at(50)
    assert not row([*later, report("f1", P1, received=60)]).open


def test_a_withdrawn_report_brings_a_final_row_back() -> None:
    said = [order("a7 f1", P1), image("u1.1 a7", P1), report("f1", P1)]
    back = row([*said, report("f1", P1, "withdrawn", received=50)])
    assert back.open
    assert back.clock == at(50)


def test_new_images_bring_a_finished_row_back_and_copies_do_not() -> None:
    said = [image("u1.1 a7", P1)]
    read = [*said, finished(said)]
    again = image("u1.1 a7", P1, received=50, gateway="gateway-2")
    derived = image("u1.1 a7", P1, received=50, names=(5,), primary=False)
    dose = image("u1.1 a7", P1, received=50, names=(6,), readable=False, modality="SR")
    assert not row([*read, again, derived, dose]).open
    back = row([*read, image("u1.1 a7", P1, received=50, names=(1, 2))])
    assert back.open
    assert back.clock == at(50)


def test_a_flag_on_what_was_read_only_marks_and_on_new_images_brings_back() -> None:
    said = [image("u1.1 a7", P1)]
    read = [*said, finished(said)]
    marked = row([*read, finding(said[0], received=50)])
    assert not marked.open
    assert "flagged_after_read" in marked.marks
    new = image("u1.1 a7", P1, received=50, names=(2,), series="2")
    assert row([*read, new, finding(new, received=55)]).open


def test_an_order_that_nobody_knew_brings_a_finished_row_back() -> None:
    said = [image("u1.1 a7", P1)]
    read = [*said, finished(said)]
    assert row([*read, order("a7 f1", P1, received=50)]).open
    assert not row([*read, order("a7 f1", P1, received=50), report("f1", P1, received=60)]).open
    assert not row([*read, report("a7", P1, "preliminary", received=50)]).open


def test_a_cleared_flag_clears_one_result_of_one_input() -> None:
    first = image("u1.1 a7", P1)
    second = image("u1.1 a7", P1, series="2", received=11)
    said = [first, second, finding(first), finding(second)]
    flagged = row(said)
    cleared = [
        Cleared(package=package, series_uid=series, input_digest=digest)
        for package, series, digest in flagged.ai.results
    ]
    one = act("clear_flag", flagged.name, cleared=(cleared[0],))
    assert row([*said, one]).ai.word == "flagged"
    both = row([*said, act("clear_flag", flagged.name, cleared=tuple(cleared))])
    assert both.ai.word == "withdrawn"
    assert both.ai.cleared
    assert both.ai.cleared.reason == "because"


def test_a_pin_ends_with_unpin() -> None:
    said = [image("u1.1", P1)]
    name = row(said).name
    assert row([*said, act("pin", name)]).pin
    assert not row([*said, act("pin", name), act("unpin", name, when=41)]).pin


def test_a_finish_can_be_undone_and_reopened() -> None:
    said = [image("u1.1", P1)]
    done = finished(said)
    assert done.act
    shown = row([*said, done])
    assert not shown.open
    assert shown.finish
    assert shown.finish.actor == "anna"
    undo = act("undo", shown.name, when=40.1, undoes=done.act.act_id)
    assert row([*said, done, undo]).open
    again = row([*said, done, act("reopen", shown.name, when=60)])
    assert again.open
    assert again.clock == at(60)


def test_a_persons_word_on_priority_stands_until_a_source_raises_it() -> None:
    said = [order("a7 f1", P1, "stat"), image("u1.1 a7", P1)]
    lowered = [*said, act("set_priority", row(said).name, code="routine")]
    assert row(lowered).priority == "routine"
    again = order("f1", P1, "stat", received=50)
    assert row([*lowered, again]).priority == "routine"
    down, up = order("f1", P1, "routine", received=50), order("f1", P1, "stat", received=60)
    assert row([*lowered, down, up]).priority == "stat"


def test_a_person_links_an_order_that_a_typing_error_kept_apart() -> None:
    said = [order("a7 f1", f"{P1}//A", "stat"), image("u1.1 a7", "P9@HOSP//B")]
    study, sent = row(said, "1.1", "P9"), next(i for i in items(said) if not i.uid)
    linked = items([*said, act("link", study.name, order=sent.name)])
    assert [(i.uid, i.priority, i.marks) for i in linked] == [("1.1", "stat", ())]
    assert linked[0].identity == study.identity, "never one's number with the other's name"
    apart = items([*said, act("unlink", study.name, order=sent.name)])
    assert {i.uid: i.priority for i in apart} == {"": "stat", "1.1": "unknown"}


def test_a_row_that_only_a_join_closed_comes_back_when_it_is_undone() -> None:
    link = merge("P1@A", "P9@B", act="link", received=12)
    said = [image("u1.1", "P1@A", received=5), image("u1.1", "P9@B", names=(2,)), link]
    read = finished(said)
    assert [i.open for i in items([*said, read])] == [False]
    gone = merge("P1@A", "P9@B", act="unlink", received=50)
    apart = items([*said, read, gone])
    assert {i.identity.patient_id: i.open for i in apart} == {"P1": False, "P9": True}


def test_two_hospitals_with_one_accession_finish_apart() -> None:
    said = [image("u1.1 a12345", "P1@A"), image("u1.2 a12345", "P7@B")]
    after = items([*said, finished(said)])
    assert {i.uid: i.open for i in after} == {"1.1": False, "1.2": True}


def test_what_was_said_of_an_exam_stays_when_its_images_come() -> None:
    said = [step("a8", P1, "available")]
    raised = act("set_priority", items(said)[0].name, code="stat")
    assert [i.priority for i in items([*said, raised, image("u1.1 a8", P1)])] == ["stat"]


def test_a_cancel_that_came_after_a_confirmed_one_is_asked_again() -> None:
    said = [order("a7 f1", P1, received=0), image("u1.1 a7", P1, received=5)]
    said.append(order("a7 f1", P1, received=10, status="cancelled"))
    said.append(act("confirm_cancel", row(said).name, when=12, said="a7 f1 u1.1"))
    assert row(said).state == "cancelled"
    said.append(order("a7 f1", P1, received=20))
    said.append(order("a7 f1", P1, received=30, status="cancelled"))
    again = row(said)
    assert (again.open, "cancelled_images_exist" in again.marks) == (True, True)


def test_a_flag_after_a_confirmed_cancel_brings_the_images_back() -> None:
    pictures = image("u1.1 a7", P1, received=5)
    said = [order("a7 f1", P1, received=10, status="cancelled"), pictures]
    said.append(act("confirm_cancel", row(said).name, when=12, said="a7 f1 u1.1"))
    assert not row(said).open
    assert row([*said, finding(pictures, received=15)]).open


def test_only_a_flag_that_came_after_the_report_is_marked() -> None:
    pictures = image("u1.1 a7", P1, received=5)
    said = [order("a7 f1", P1), pictures, report("a7 f1", P1, received=30)]
    early, late = (
        row([*said, finding(pictures, received=8)]),
        row([*said, finding(pictures, received=40)]),
    )
    assert (early.state, late.state) == ("final", "final")
    assert "flagged_after_read" not in early.marks
    assert "flagged_after_read" in late.marks


def test_a_series_that_grows_has_no_doubtful_clock() -> None:
    said = [
        image("u1.1 a7", P1, received=5, acquired_at=at(4)),
        image("u1.1 a7", P1, received=9, names=(1, 2), acquired_at=at(8)),
    ]
    grown = row(said)
    assert ("doubtful_clock" in grown.marks, grown.clock) == (False, at(4))
