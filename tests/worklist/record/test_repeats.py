"""What is sent again says nothing new, and what one message says twice leaves open what it can."""

from __future__ import annotations

import itertools

import pytest

from tests.worklist.record.say import act, finding, image, one_message, order, report
from tests.worklist.record.test_faults import P1, finished, items, row
from worklist.record.facts import Fact

ORDERED = [order("a7 f1", P1), image("u1.1 a7", P1, received=5)]
LATE = image("u1.1 a7", P1, received=15, names=(2,))
F = report("a7", P1, received=10, when=10)
#: F as it comes once more: from its sender, passed on, and without the time of the report.
AGAIN = {
    "sent again": [F, report("a7", P1, received=20, when=10)],
    "passed on": [F, report("a7", P1, received=20, when=10, sender="ehr")],
    "a bare date": [
        report("a7", P1, received=10, content="text"),
        report("a7", P1, received=20, content="text"),
    ],
}


@pytest.mark.parametrize("reports", AGAIN.values(), ids=AGAIN)
def test_a_report_sent_again_covers_no_image_that_came_between(reports: list[Fact]) -> None:
    back = row([*ORDERED, LATE, *reports])
    assert (back.state, "new_since_read" in back.marks) == ("readable", True)
    assert row([*ORDERED, *reports]).state == "final"


def test_a_report_made_after_the_new_image_covers_it() -> None:
    new = report("a7", P1, received=20, when=18)
    assert row([*ORDERED, LATE, F, new]).state == "final"


@pytest.mark.parametrize("reports", AGAIN.values(), ids=AGAIN)
def test_a_report_sent_again_does_not_close_what_a_person_reopened(reports: list[Fact]) -> None:
    said = [*ORDERED, reports[0]]
    reopened = act("reopen", row(said).name, when=12)
    assert row([*said, reopened, *reports]).state == "readable"


def test_a_withdrawal_sent_again_brings_nothing_back_that_was_read_since() -> None:
    said = [*ORDERED, F, report("a7", P1, "withdrawn", received=12, when=12)]
    assert row(said).state == "readable"
    said.append(finished(said, when=14))
    assert row(said).state == "read"
    again = report("a7", P1, "withdrawn", received=20, when=12)
    assert row([*said, again]).state == "read"
    other = report("a7", P1, "withdrawn", received=20, when=19)
    assert row([*said, other]).state == "readable"


def test_a_confirmed_cancel_that_somebody_passes_on_does_not_ask_again() -> None:
    said = [*ORDERED, order("a7 f1", P1, received=8, status="cancelled")]
    said.append(act("confirm_cancel", row(said).name, when=9))
    passed_on = order("a7 f1", P1, received=12, when=8, sender="ehr", status="cancelled")
    assert row([*said, passed_on]).state == "cancelled"
    stood = order("a7 f1", P1, received=11, status="scheduled")
    anew = order("a7 f1", P1, received=13, status="cancelled")
    assert row([*said, stood, anew]).state == "readable"


@pytest.mark.parametrize("words", list(itertools.permutations(["final", "preliminary"])))
def test_a_message_with_a_final_and_a_preliminary_report_of_one_order_is_not_final(
    words: tuple[str, str],
) -> None:
    two = one_message(*(report("a7", P1, word, received=9) for word in words))
    assert row([*ORDERED, *two]).state == "preliminary"
    assert row([*ORDERED, *two, report("a7", P1, received=11)]).state == "final"


@pytest.mark.parametrize("end", ["cancelled", "replaced"])
def test_a_message_that_ends_an_order_and_lets_it_stand_leaves_it_standing(end: str) -> None:
    stat = order("a7 f1", P1, "stat")
    two = one_message(
        order("p5 a7 f1", P1, "stat", received=9, status=end),
        order("p6 a7 f1", P1, "stat", received=9, status="scheduled"),
    )
    assert [(i.state, i.priority) for i in items([stat, *two])] == [("expected", "stat")]


@pytest.mark.parametrize("words", list(itertools.permutations(["stat", "urgent"])))
def test_of_two_priorities_of_one_order_in_one_message_the_highest_stands(
    words: tuple[str, str],
) -> None:
    two = one_message(*(order("a7 f1", P1, word, received=9) for word in words))
    assert [i.priority for i in items([*ORDERED, *two])] == ["stat"]
    lowered = order("a7 f1", P1, "routine", received=12)
    assert [i.priority for i in items([*ORDERED, *two, lowered])] == ["routine"]


def test_an_image_after_a_preliminary_report_is_to_be_read_and_not_to_validate() -> None:
    said = [*ORDERED, report("a7", P1, "preliminary", received=10)]
    assert row(said).state == "preliminary"
    back = row([*said, LATE])
    assert (back.state, "new_since_read" in back.marks) == ("readable", True)
    seen = report("a7", P1, "preliminary", received=20)
    assert row([*said, LATE, seen]).state == "preliminary"
    derived = image("u1.1 a7", P1, received=15, names=(3,), primary=False)
    assert row([*said, derived]).state == "preliminary"


def test_a_flag_on_a_series_that_is_not_here_brings_what_was_read_back_at_once() -> None:
    unseen = finding(image("u1.1", P1, series="9", received=14), received=15)
    said = [*ORDERED, finished(ORDERED, when=12)]
    assert row([*said, unseen]).state == "readable"
    assert row([*said, finding(ORDERED[1], received=15)]).state == "read"
    # Who read it with the flag in sight has seen it: it cannot come back for ever.
    late = [*ORDERED, unseen]
    assert row([*late, finished(late, when=16)]).state == "read"


def test_an_image_that_came_with_other_bytes_is_one_image_and_completes_no_series() -> None:
    other = (0xABCD << 48) + 1  # the name of what came again as 1
    said = [image("u1.1", P1, names=(1, other), announced=2, other_bytes=True)]
    (found,) = items(said)
    assert found.images_here == 1
    assert {"incomplete", "other_bytes"} <= set(found.marks)
    whole = [*said, image("u1.1", P1, received=12, names=(1, 2, other), announced=2)]
    (found,) = items(whole)
    assert found.images_here == 2
    assert "incomplete" not in found.marks
