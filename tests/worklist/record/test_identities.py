"""Who is who where times tie, numbers are given out again, and messages disagree."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.worklist.record.say import adt, image, merge, order, report, step
from tests.worklist.record.test_faults import items
from worklist.record.facts import Fact

ADULT, BABY = "/19500101/ADULT^ANN", "/20261120/BABY^BO"


def who(said: Sequence[Fact]) -> list[tuple[str, str | None, str | None]]:
    return [(i.identity.patient_id, i.identity.name, i.identity.birth_date) for i in items(said)]


@pytest.mark.parametrize("ordered", [0.0, 5.0])
def test_a_number_merged_away_and_given_out_again_within_one_second(ordered: float) -> None:
    said = [
        order("a7 f1", "P1@H" + ADULT, "stat", received=ordered, when=0),
        image("u1.1 a7", "P1@H" + ADULT, received=ordered + 0.001),
        merge("P1@H", "P2@H" + ADULT, received=ordered + 0.002, when=5),
        adt("A28", "P1@H" + BABY, received=ordered + 0.003, when=5),
    ]
    assert who(said) == [("P2", "ADULT^ANN", "19500101")]
    assert [(i.priority, i.readable) for i in items(said)] == [("stat", True)]


def test_order_merge_and_newborn_of_one_second_follow_their_receipt() -> None:
    second = {"when": 5}
    said = [
        order("a7 f1", "P1@H" + ADULT, "stat", received=5.001, **second),
        merge("P1@H", "P2@H" + ADULT, received=5.002, **second),
        adt("A28", "P1@H" + BABY, received=5.003, **second),
        order("a8 f2", "P1@H" + BABY, received=5.004, **second),
    ]
    assert sorted(who(said)) == [
        ("P1", "BABY^BO", "20261120"),
        ("P2", "ADULT^ANN", "19500101"),
    ]


@pytest.mark.parametrize("when", [5.0, 1.0], ids=["the same second", "entered before the order"])
def test_a_corrected_birth_date_stands_though_its_event_time_is_not_later(when: float) -> None:
    said = [
        order("a7 f1", "P1@H/19610204/DOE^JO", "stat", received=5, when=5),
        adt("A08", "P1@H/19610402/DOE^JO", received=5.01, when=when),
        image("u1.1 a7", "P1@H/19610402/DOE^JO", received=6),
    ]
    assert who(said) == [("P1", "DOE^JO", "19610402")]


def test_a_date_stated_after_the_correction_was_sent_is_another() -> None:
    said = [
        adt("A08", "P1@H/19610402/DOE^JO", received=5, when=1),
        image("u1.1", "P1@H/19610204/DOE^JO", received=9),
    ]
    assert who(said) == [("P1", "DOE^JO", "19610204")]


def test_an_order_moved_to_another_number_shows_that_patients_name_and_date() -> None:
    said = [
        order("a7 f1 v1", "P1@H/19700101/DOE^JO", "stat"),
        merge("P1@H", "P2@H/19810101/GG^G", act="move", moved="v1"),
    ]
    assert who(said) == [("P2", "GG^G", "19810101")]


def test_a_name_is_shown_with_the_birth_date_that_was_stated_beside_it() -> None:
    said = [
        order("a7 f1", "P1@H/19700101/DOE^JO", received=9, when=9),
        adt("A08", "P1@H/19810101/GG^G", received=8, when=20),
    ]
    assert who(said) == [("P1", "GG^G", "19810101")]


def test_a_merged_away_number_that_an_a04_gives_to_somebody_else_is_marked() -> None:
    said = [
        order("a7 f1", "P1@H" + ADULT, "stat"),
        image("u1.1 a7", "P1@H" + ADULT, received=5),
        merge("P1@H", "P2@H" + ADULT, received=20),
    ]
    assert [i.marks for i in items(said)] == [()]
    changed = items([*said, adt("A04", "P1@H" + BABY, received=30)])
    assert [(i.open, i.priority, "identity_changed" in i.marks) for i in changed] == [
        (True, "stat", True)
    ]


@pytest.mark.parametrize(
    "later", ["/19610402/REAL^NAME", "/19500101/ROE^ANN", "/19500110/ADULT^ANN"]
)
def test_a_new_name_or_a_new_date_alone_is_no_other_person(later: str) -> None:
    first = "P1@H" + ("/" if "REAL" in later else ADULT)
    said = [image("u1.1 a7", first, received=5), adt("A08", "P1@H" + later)]
    assert not any("identity_changed" in i.marks for i in items(said))


def test_an_exam_called_off_without_images_is_no_row_to_read() -> None:
    off = [step("s9 u1.1 a7", "P9@H"), step("s9", "", "discontinued", received=9)]
    assert [i.state for i in items(off)] == ["cancelled"]
    assert [i.state for i in items([*off, image("u1.1", "P9@H")])] == ["readable"]
    assert [i.state for i in items([*off, order("a7 f1", "P9@H", "stat")])] == ["expected"]
    again = step("s8 u1.1 a7", "P9@H", received=20)
    assert [i.state for i in items([*off, again])] == ["arriving"]


def test_a_link_makes_studies_that_share_no_number_the_same_persons_until_it_is_undone() -> None:
    said = [image("u1.1 a7", "P1@A/19610402"), image("u1.2 a8", "P9@B/19610402", received=11)]
    assert len({i.person for i in items(said)}) == 2
    link = merge("P1@A", "P9@B/19610402", act="link")
    assert len({i.person for i in items([*said, link])}) == 1
    gone = merge("P1@A", "P9@B/19610402", act="unlink", received=50)
    assert len({i.person for i in items([*said, link, gone])}) == 2


@pytest.mark.parametrize("image_of", ["P1@H", "P1"], ids=["stated", "open"])
@pytest.mark.parametrize("when", [20.0, 1.0], ids=["after", "entered before"])
def test_a_corrected_birth_date_is_that_of_open_images_too(image_of: str, when: float) -> None:
    said = [
        order("a7 f1", "P1@H/19610402/DOE^JO", "stat"),
        image("u1.1 a7", image_of + "/19610402/DOE^JO"),
        adt("A08", "P1@H/19610204/DOE^JO", received=20, when=when),
    ]
    assert who(said) == [("P1", "DOE^JO", "19610204")]
    assert [i.priority for i in items(said)] == ["stat"]
    closed = [*said, report("a7 f1", "P1@H/19610204")]
    assert [i.state for i in items(closed)] == ["final"]


def test_a_correction_after_the_report_brings_no_open_image_back() -> None:
    old = "/19610204/DOE^JO"
    said = [order("a7 f1", "P1@H" + old), image("u1.1 a7", "P1" + old), report("a7", "P1@H" + old)]
    said.append(adt("A08", "P1@H/19610402/DOE^JO", received=50))
    assert [i.state for i in items(said)] == ["final"]


def test_a_merge_into_a_number_with_another_date_takes_open_images_along() -> None:
    said = [order("a7 f1", "P1@H" + ADULT, "stat"), image("u1.1 a7", "P1" + ADULT)]
    said.append(merge("P1@H", "P2@H/19500202/ADULT^ANN"))
    assert who(said) == [("P2", "ADULT^ANN", "19500202")]


def test_identity_messages_reach_open_images_of_which_no_order_is_known() -> None:
    said = [image("u1.1 a7", "P1/19500101/OLD^NAME")]
    renamed = adt("A08", "P1@H/19500101/NEW^NAME", received=20)
    assert who([*said, renamed]) == [("P1", "NEW^NAME", "19500101")]
    merged = merge("P1@H", "P2@H/19500101/NEW^NAME", received=30)
    assert who([*said, merged]) == [("P2", "NEW^NAME", "19500101")]
    # Another hospital has such a number too: whose it is, nobody says.
    other = image("u1.9", "P1@B/19800101/X^Y")
    assert ("P1", "OLD^NAME", "19500101") in who([*said, renamed, other])


def test_identity_messages_of_another_birth_date_leave_open_images_alone() -> None:
    said = [adt("A08", "P1@H/19800101/X^Y", received=5), image("u1.1", "P1/19500101/OLD^NAME")]
    assert who(said) == [("P1", "OLD^NAME", "19500101")]


def test_an_identity_message_without_authority_is_the_only_one_s() -> None:
    said = [order("a7 f1", "P1@H/19500101/OLD^NAME"), adt("A08", "P1/19500101/NEW^NAME")]
    assert who(said) == [("P1", "NEW^NAME", "19500101")]


def test_a_link_reaches_images_whose_number_is_open() -> None:
    said = [
        order("a7 f1", "P1@A/19700101/N^N", "stat"),
        image("u1.1 a7", "P9/19700101/M^M"),
        merge("P9@B/19700101", "P1@A/19700101", act="link"),
    ]
    assert [(i.uid, i.priority) for i in items(said)] == [("1.1", "stat")]


def emptied(who: str, sender: str = "ris") -> Fact:
    told = adt("A08", who, sender=sender)
    assert told.identity
    return Fact(told.event, told.identity.model_copy(update={"birth_date": ""}))


def test_a_birth_date_that_its_sender_empties_is_gone_and_another_s_stays() -> None:
    said = [order("a7 f1", "P1@H/19700101/DOE^JO"), emptied("P1@H")]
    assert who(said) == [("P1", "DOE^JO", "")]
    said.append(image("u1.1 a7", "P1@H/19700101/DOE^JO"))
    assert who(said) == [("P1", "DOE^JO", "19700101")]
    again = order("a7 f1", "P1@H/19700102/DOE^JO", received=30)
    assert who([said[0], said[1], again]) == [("P1", "DOE^JO", "19700102")]
