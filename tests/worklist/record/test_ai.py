"""What AI may say of a row: calm only of what is here now and was wholly read (promise 3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Reason
from streams.events import Coverage
from tests.worklist.record.say import act, finding, image, step
from tests.worklist.record.test_faults import P1, row
from worklist.record.ai import Ai
from worklist.record.facts import Fact

EARLY = image("u1.1 a7", P1, received=10, names=range(22))
GROWN = image("u1.1 a7", P1, received=14, names=range(28))
OTHER = image("u1.1 a7", P1, received=15, names=range(50, 60), series="2")


def calm(of: Fact, received: float = 12) -> Fact:
    return finding(of, flagged=False, received=received, coverage=Coverage(read=22, there=22))


def unread(of: Fact, reason: Reason, **more: str) -> Fact:
    return finding(
        of,
        unread=reason,
        received=16,
        coverage=Coverage(read=22, there=28),
        **more,  # type: ignore[arg-type]
    )


def ai(*said: Fact) -> Ai:
    return row(said).ai


def test_images_that_come_after_a_calm_word_take_it_away_until_they_are_read() -> None:
    assert ai(EARLY, calm(EARLY)).word == "not_flagged"
    assert ai(EARLY, calm(EARLY), GROWN).word == "pending"
    assert ai(EARLY, calm(EARLY), GROWN, calm(GROWN, 16)).word == "not_flagged"


def test_late_damaged_images_of_a_series_that_was_calm_leave_it_not_analysed() -> None:
    said = ai(EARLY, calm(EARLY), GROWN, unread(GROWN, Reason.INCOMPLETE))
    assert (said.word, said.reason) == ("not_analysed", "incomplete")
    assert said.coverage == Coverage(read=22, there=28)


def test_what_only_an_archive_has_is_not_analysed_until_its_images_come() -> None:
    told = step("u1.1", P1, "available", received=9)
    assert (ai(told).word, ai(told).reason) == ("not_analysed", "not_received")
    report = image("u1.1 a7", P1, received=10, readable=False)
    assert ai(told, report).reason == "not_received"
    assert (ai(told, EARLY).word, ai(told, EARLY).reason) == ("pending", "")
    assert ai(told, EARLY, calm(EARLY)).word == "not_flagged"
    assert ai(told, finding(EARLY)).word == "flagged"
    assert ai(step("u1.1", P1, "completed", received=9)).word == "pending"


def test_a_flag_outlives_its_images_and_shows_what_was_read_of_them() -> None:
    seen = finding(EARLY, coverage=Coverage(read=22, there=22))
    said = ai(EARLY, seen, GROWN, unread(GROWN, Reason.INCOMPLETE))
    assert said.word == "flagged"
    assert said.coverage == Coverage(read=22, there=22)


@pytest.mark.parametrize(
    "reason",
    [Reason.NO_HOUNSFIELD, Reason.INCOMPLETE, Reason.UNSURE, Reason.LATE, Reason.DECODE_LIMIT],
)
def test_a_second_head_series_that_was_not_read_keeps_the_row_from_calm(reason: Reason) -> None:
    said = ai(EARLY, calm(EARLY), OTHER, unread(OTHER, reason))
    assert (said.word, said.reason) == ("not_analysed", reason.value)


@pytest.mark.parametrize(
    "reason", [Reason.OUTSIDE_VIEW, Reason.OUTSIDE_CONTRAST, Reason.NOT_PRIMARY]
)
def test_a_series_that_the_package_is_not_meant_for_leaves_the_calm_word(reason: Reason) -> None:
    assert ai(EARLY, calm(EARLY), OTHER, unread(OTHER, reason)).word == "not_flagged"


def test_a_series_of_which_no_header_can_be_read_keeps_the_row_from_calm() -> None:
    nobody = unread(OTHER, Reason.BAD_DICOM, package="")
    assert ai(EARLY, calm(EARLY), OTHER, nobody).word == "not_analysed"


def test_a_series_that_was_late_and_then_read_is_read() -> None:
    late = unread(EARLY, Reason.LATE)
    assert ai(EARLY, late, calm(EARLY)).word == "not_flagged"


def test_what_another_gateway_holds_of_a_series_is_read_too_before_it_is_calm() -> None:
    rest = image("u1.1 a7", P1, received=11, names=range(22, 28), gateway="gateway-2")
    assert ai(EARLY, calm(EARLY), rest).word == "pending"
    part = image("u1.1 a7", P1, received=11, names=range(5), gateway="gateway-2")
    assert ai(EARLY, calm(EARLY), part).word == "not_flagged"


def test_a_withdrawn_flag_is_no_calm_word() -> None:
    flag = finding(EARLY)
    open_row = row([EARLY, flag])
    (result,) = open_row.ai.results
    gone = dict(zip(("package", "series_uid", "input_digest"), result, strict=True))
    assert (
        row([EARLY, flag, act("clear_flag", open_row.name, cleared=(gone,))]).ai.word == "withdrawn"
    )


FOREIGN = Reason.OUT_OF_DISTRIBUTION
#: What can be said of a series that was not analysed: the reason and the rule.
UNREAD: tuple[tuple[Reason, Any], ...] = (
    *((FOREIGN, rule) for rule in ("skull", "size", "features", None)),
    (Reason.UNSURE, None),
    (Reason.NO_MODEL, None),
)


@given(st.lists(st.sampled_from(UNREAD), min_size=1, max_size=4))
def test_promise_5_a_row_names_the_same_rule_in_any_order(said: list[tuple[Reason, Any]]) -> None:
    facts = []
    for number, (reason, rule) in enumerate(said):
        facts.append(image("u1.1 a7", P1, names=[number], series=str(number)))
        facts.append(finding(facts[-1], unread=reason, unlike=rule))
    told = ai(*facts)  # in many orders, and twice
    if told.reason == FOREIGN.value:
        rules = [rule for rule in ("skull", "size", "features") if (FOREIGN, rule) in said]
        assert told.unlike == (rules[0] if rules else "")
    else:
        assert told.unlike == ""
        assert FOREIGN not in {reason for reason, _ in said}


def test_only_what_decides_the_reason_names_a_rule() -> None:
    foreign = finding(EARLY, unread=FOREIGN, unlike="skull")
    assert ai(EARLY, foreign).unlike == "skull"
    assert ai(EARLY, foreign, GROWN).unlike == "", "pending"
    network = finding(GROWN, unread=FOREIGN, unlike="features")
    assert ai(EARLY, foreign, GROWN, network).unlike == "features", "of what is here now"
    assert ai(EARLY, foreign, calm(EARLY, 17)).unlike == "", "a later word"
    assert ai(EARLY, foreign, OTHER, unread(OTHER, Reason.INCOMPLETE)).unlike == ""
    assert ai(EARLY, foreign, OTHER, finding(OTHER)).unlike == "", "flagged"
    shadow = finding(EARLY, unread=FOREIGN, unlike="skull", package="in shadow")
    assert ai(EARLY, shadow).unlike == ""
    network = finding(EARLY, unread=FOREIGN, unlike="features")
    assert ai(EARLY, shadow, network).unlike == "features"
