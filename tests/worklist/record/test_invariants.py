"""What no fact and no act may do to a row, whatever was said: generated, beside the plain model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.events import PatientChanged, PatientMerged, SeriesReceived
from tests.worklist.record import say
from tests.worklist.record.model import URGENCY
from tests.worklist.record.model_numbers import meet
from tests.worklist.record.model_people import partition_facts
from tests.worklist.record.test_model import (
    CASES,
    CHECKS,
    Plan,
    done,
    facts_made,
    order_of,
    policy,
    shape,
    told,
    world,
)
from worklist.record.facts import Fact
from worklist.record.items import Item, derive

ACTS = ("finish", "reopen", "promote", "clear_flag", "set_priority", "confirm_cancel", "pin")


def items_of(facts: list[Fact]) -> list[Item]:
    return derive(facts, world(facts), policy())


@CHECKS
@given(CASES, st.sampled_from(ACTS), st.integers(0, 9), st.booleans())
def test_promise_7_an_act_on_one_row_changes_no_other(
    facts: list[Fact], name: str, choice: int, whole: bool
) -> None:
    before = items_of(facts)
    if not before:
        return
    item = before[choice % len(before)]
    act = say.act(name, item.name, when=200, **told(name, item, before, whole))
    after = {other.name: other for other in items_of([*facts, act])}
    assert all(after[other.name] == other for other in before if other is not item)


@CHECKS
@given(CASES)
def test_promise_2_a_flagged_row_leaves_the_list_only_by_a_person_or_a_report(
    facts: list[Fact],
) -> None:
    for item in items_of(facts):
        if item.ai.flags and not item.open:
            assert item.finish or item.state in ("final", "cancelled")
            assert item.state != "historic"


@CHECKS
@given(facts_made())
def test_no_row_holds_what_is_certainly_two_patients(facts: list[Fact]) -> None:
    told = [f for f in facts if not isinstance(f.event, PatientChanged | PatientMerged)]
    for item in items_of(told):
        numbers: dict[str, set[str]] = {}
        for fact in item.facts:
            if fact.patient and fact.patient.authority:
                numbers.setdefault(fact.patient.authority, set()).add(fact.patient.value)
        assert all(len(values) == 1 for values in numbers.values())
        births = {f.identity.birth_date for f in item.facts if f.identity}
        assert len(births - {None, ""}) <= 1


FOREIGN = [
    say.order("a7 f1", "P9@A/20001231", "routine", received=95),
    say.order("a8 p5 u1.1", "P9@A/20001231", "routine", received=95),
    say.report("a7", "P9@A/20001231", received=96),
    say.image("u1.1 a7", "P9@A/20001231", received=97),
    say.step("s9 u1.1 a8", "P9@A/20001231", "discontinued", received=98),
]


@CHECKS
@given(facts_made(), st.sampled_from(FOREIGN))
def test_another_patients_message_lowers_no_row_with_images(
    facts: list[Fact], foreign: Fact
) -> None:
    said = [f for f in facts if not isinstance(f.event, PatientChanged | PatientMerged)]
    met = [component for component in partition_facts(said) if meet(component, [foreign])]
    if len(met) > 1:
        return  # it says that two components are one: who is who is asked anew
    before, after = rows_by_image(items_of(facts)), rows_by_image(items_of([*facts, foreign]))
    for key, item in before.items():
        now = after[key]
        if any(f.key == foreign.key for f in now.facts):
            continue  # nobody had said whose it is, and it is the only patient's who is known
        # The class of a cancelled order ends with the order, once it is not known to be its own.
        if "cancelled_images_exist" not in item.marks:
            assert URGENCY.index(now.priority) <= URGENCY.index(item.priority)
        assert now.open or not item.open
        assert item.state not in ("readable", "preliminary") or now.state in (
            "readable",
            item.state,
        )


def rows_by_image(items: list[Item]) -> dict[str, Item]:
    return {
        fact.key: item
        for item in items
        for fact in item.facts
        if isinstance(fact.event, SeriesReceived) and fact.event.readable
    }


@CHECKS
@given(facts_made(), st.integers(0, 9))
def test_what_was_undone_was_never_done(facts: list[Fact], choice: int) -> None:
    plan: list[Plan] = [("finish", choice, 95, True)]
    finished = done(facts, plan)
    acts = [f.act for f in finished if f.act]
    if acts:
        undo = say.act("undo", acts[0].item, when=96, undoes=acts[0].act_id)
        undone = sorted(map(shape, items_of([*finished, undo])), key=order_of)
        assert undone == sorted(map(shape, items_of(facts)), key=order_of)
