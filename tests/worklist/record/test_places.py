"""Where a patient is: of a visit that is current, never of one that ended or was cancelled."""

from __future__ import annotations

import pytest

from tests.worklist.record.say import adt, order
from tests.worklist.record.test_faults import P1, items
from worklist.record.facts import Fact

ORDER = order("a7 f1", P1)
ICU = adt("A01", P1, received=20, visit="1", location="icu")


def place(*said: Fact) -> str:
    (found,) = items(said)
    return found.shown.location


@pytest.mark.parametrize("end", ["A03", "A11"])
@pytest.mark.parametrize("visit", ["1", None], ids=["a numbered visit", "one without number"])
def test_a_visit_that_ended_or_was_cancelled_is_nobodys_place(end: str, visit: str | None) -> None:
    there = adt("A01", P1, received=20, visit=visit, location="icu")
    gone = adt(end, P1, received=30, visit=visit, location="icu", ended=True)
    assert place(ORDER, there) == "icu"
    assert place(ORDER, there, gone) == ""
    assert place(ORDER, there, gone, adt("A08", P1, received=31, visit=visit, location="icu")) == ""
    back = adt("A13", P1, received=40, visit=visit, location="icu")
    assert place(ORDER, there, gone, back) == "icu"


def test_a_shorter_visit_that_ended_leaves_the_one_that_goes_on() -> None:
    short = adt("A04", P1, received=30, visit="2", location="outpatient")
    assert place(ORDER, ICU, short) == "outpatient"
    over = adt("A03", P1, received=40, visit="2", location="outpatient", ended=True)
    assert place(ORDER, ICU, short, over) == "icu"


def test_the_place_of_an_order_whose_visit_ended_is_that_of_the_next_visit() -> None:
    ordered = order("a7 f1 v1", P1, location="emergency")
    over = adt("A03", P1, received=30, visit="1", location="emergency", ended=True)
    assert place(ordered) == "emergency"
    assert place(ordered, over) == ""
    ward = adt("A01", P1, received=40, visit="2", location="inpatient")
    assert place(ordered, over, ward) == "inpatient"
