"""Orders that are no imaging stay off the list, and come up when something names their number."""

from __future__ import annotations

import pytest

from tests.worklist.record.say import act, image, order, report, step
from tests.worklist.record.test_faults import P1, items
from tests.worklist.record.test_model import policy, world
from worklist.record.facts import Fact
from worklist.record.items import listed_and_off

BLOOD = order("a7 f1", P1, "stat", imaging=False)


def test_a_blood_count_is_on_no_list() -> None:
    assert items([BLOOD]) == []


@pytest.mark.parametrize(
    "names",
    [
        image("u1.1 a7", P1),
        step("s9 u1.1 a7", P1, "in_progress"),
        report("a7", P1, "preliminary"),
    ],
    ids=["image", "step", "report"],
)
def test_what_names_its_number_brings_it_up_with_its_priority(names: Fact) -> None:
    (found,) = items([BLOOD, names])
    assert found.priority == "stat"


def test_an_image_of_nobody_borrows_its_urgency() -> None:
    found = items([BLOOD, image("u1.1 a7", "")])
    assert [item.priority for item in found if item.uid] == ["stat"]


def test_a_sender_that_corrects_itself_brings_it_up() -> None:
    assert len(items([BLOOD, order("a7 f1", P1, None, received=5, imaging=True)])) == 1


def test_a_status_message_that_does_not_say_what_it_is_leaves_it_where_it_is() -> None:
    said = [BLOOD, order("a7 f1", P1, None, received=5, status="in_progress")]
    assert items(said) == []


def test_a_second_sender_without_a_rule_is_believed() -> None:
    other = order("a7 f1", P1, "stat", received=5, sender="EHR", imaging=True)
    assert len(items([BLOOD, other])) == 1


def test_a_person_brings_it_up_and_takes_that_back() -> None:
    _, (off,) = listed_and_off([BLOOD], world([BLOOD]), policy())
    promoted = act("promote", off.name, said="a7 f1")
    (found,) = items([BLOOD, promoted])
    assert (found.state, found.priority) == ("expected", "stat")
    assert items([BLOOD, promoted, act("undo", off.name, said="a7 f1", undoes=promoted.key)]) == []


def test_an_order_without_a_rule_is_imaging() -> None:
    assert len(items([order("a7 f1", P1, "stat")])) == 1
