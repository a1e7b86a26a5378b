"""The rank, the pure function: promises 3, 4 and 6. `sql/test_queue.py` tests what SQL sorts by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worklist.conftest import ROOT, T0
from worklist.order.policy import Policy, load
from worklist.order.rank import (
    EMERGENT,
    PINNED,
    READABLE,
    UNREADABLE,
    StudyFacts,
    overtaken_until,
    rank,
    variants,
)

SITE = load(ROOT / "infra" / "site")
POLICIES = [
    *variants(SITE).values(),
    SITE.model_copy(update={"mode": "strict_classes"}),
    SITE.model_copy(update={"findings": {}}),
]
PACKAGES = ("head-ct-ich", "chest-opacity", "new-one")
CODES = ("RID4700", "RID5350", "never heard of")

times = st.integers(0, 150 * 86400).map(
    lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)
flags = st.lists(st.tuples(st.sampled_from(PACKAGES), st.sampled_from(CODES)), max_size=4).map(
    tuple
)
studies = st.builds(
    StudyFacts,
    study=st.text("0123456789.", min_size=1, max_size=8),
    received_at=times,
    clock=times,
    readable=st.booleans(),
    scheduled_at=st.none() | times,
    pinned=st.booleans(),
    order_class=st.sampled_from([*SITE.classes, "made up", ""]),
    location=st.sampled_from(["", "mars", *SITE.locations]),
    flags=flags,
    abstained=st.lists(st.sampled_from(PACKAGES), max_size=2).map(tuple),
)
policies = st.sampled_from(POLICIES)


@given(
    study=studies,
    policy=policies,
    more=flags,
    unsure=st.lists(st.sampled_from(PACKAGES), max_size=2),
)
def test_promise_3_ai_only_raises(
    study: StudyFacts, policy: Policy, more: tuple[tuple[str, str], ...], unsure: list[str]
) -> None:
    before = rank(study, policy)
    after = rank(
        replace(study, flags=(*study.flags, *more), abstained=(*study.abstained, *unsure)), policy
    )
    assert after.key <= before.key
    assert after.target_at <= before.target_at
    assert after.lane == before.lane


@given(study=studies, policy=policies)
def test_promise_3_with_ai_off_nothing_that_ai_says_changes_the_place(
    study: StudyFacts, policy: Policy
) -> None:
    silent = replace(study, flags=(), abstained=())
    assert rank(study, policy.without_ai()) == rank(silent, policy.without_ai())
    assert rank(silent, policy).key == rank(silent, policy.without_ai()).key


@given(
    study=studies.map(lambda s: replace(s, readable=True, pinned=False)),
    package=st.sampled_from(PACKAGES),
)
def test_promise_3_a_flag_that_the_policy_does_not_know_counts_as_the_most_urgent_it_knows(
    study: StudyFacts, package: str
) -> None:
    known, unknown = (
        rank(replace(study, flags=((package, code),)), SITE)
        for code in ("RID4700", "from tomorrow")
    )
    assert unknown.key == known.key


@settings(max_examples=3 * settings.default.max_examples // 5)
@given(waiting=studies, newcomers=st.lists(studies, max_size=12), policy=policies)
def test_promise_4_nobody_who_starts_after_the_bound_goes_before(
    waiting: StudyFacts, newcomers: list[StudyFacts], policy: Policy
) -> None:
    place = rank(replace(waiting, readable=True), policy)
    bound = overtaken_until(place.due_at, policy)
    for newcomer in newcomers:
        late = replace(
            newcomer, readable=True, clock=max(newcomer.clock, bound + timedelta(microseconds=1))
        )
        for raised in (
            late,
            replace(late, flags=(("head-ct-ich", "RID4700"),), abstained=PACKAGES),
        ):
            other = rank(raised, policy)
            assert other.lane != place.lane or other.key > place.key


@given(study=studies.map(lambda s: replace(s, readable=True)))
def test_promise_4_the_bound_is_not_looser_than_it_must_be(study: StudyFacts) -> None:
    place = rank(study, SITE)
    bound = overtaken_until(place.due_at, SITE)
    last = replace(
        study,
        clock=bound - timedelta(seconds=1),
        order_class="stat" if place.lane == EMERGENT else "routine",
        flags=(("head-ct-ich", "RID4700"),),
    )
    assert rank(last, SITE).key < place.key


@given(study=studies, policy=policies)
def test_promise_6_the_rank_is_total_and_its_reasons_give_due_and_target(
    study: StudyFacts, policy: Policy
) -> None:
    place = rank(study, policy)
    assert place == rank(study, policy)  # nothing but its arguments: no clock, no chance
    said = [t for t in place.why if t.term not in ("pinned", "not_readable_yet")]
    assert place.target_at == study.clock + timedelta(seconds=min(t.target_s for t in said))
    if study.readable and policy.mode == "vigie":
        assert place.due_at == study.clock + min(horizon(t.term, policy) for t in said)
    assert place.lane == (
        UNREADABLE if not study.readable else PINNED if study.pinned else place.lane
    )


def horizon(term: str, policy: Policy) -> timedelta:
    """What a reason stands for: the look-up that anybody can make with the row's policy version."""
    kind, _, name = term.partition(":")
    if kind == "flag":
        return (
            policy.findings.get(name) or min(policy.findings.values(), key=lambda t: t.horizon)
        ).wait
    if kind == "abstained":
        assert policy.abstention is not None
        return policy.abstention.wait
    return {"class": policy.classes, "location": policy.locations}[kind][name].wait


@given(study=studies, policy=policies, shift=st.timedeltas(timedelta(0), timedelta(days=900)))
def test_promise_6_the_order_of_two_studies_does_not_change_as_time_passes(
    study: StudyFacts, policy: Policy, shift: timedelta
) -> None:
    # The key holds no "now": the same facts, all shifted, stand in the same order.
    other = replace(
        study, study="other", clock=study.clock + timedelta(hours=1), order_class="urgent"
    )
    first = rank(study, policy).key < rank(other, policy).key

    def later(s: StudyFacts) -> StudyFacts:
        at = s.scheduled_at + shift if s.scheduled_at else None
        return replace(s, clock=s.clock + shift, received_at=s.received_at + shift, scheduled_at=at)

    assert (rank(later(study), policy).key < rank(later(other), policy).key) == first


@pytest.mark.parametrize("given_class", ["", "made up"])
def test_a_missing_priority_is_unknown_and_never_routine(given_class: str) -> None:
    study = StudyFacts("1", T0, T0, True, order_class=given_class)
    assert rank(study, SITE).why[0].term == "class:unknown"
    assert rank(study, SITE).due_at < rank(replace(study, order_class="routine"), SITE).due_at


def test_ai_never_changes_a_lane_and_a_stat_order_goes_before_a_flag() -> None:
    flagged = StudyFacts("1", T0, T0 - timedelta(days=2), True, flags=(("head-ct-ich", "RID4700"),))
    stat = StudyFacts("2", T0, T0, True, order_class="stat")
    assert (rank(flagged, SITE).lane, rank(stat, SITE).lane) == (READABLE, EMERGENT)
    assert rank(stat, SITE).key < rank(flagged, SITE).key


def test_among_equals_the_earlier_receipt_then_the_name_decide() -> None:
    a, b = StudyFacts("a", T0, T0, True), StudyFacts("b", T0, T0, True)
    assert rank(a, SITE).key < rank(b, SITE).key
    assert rank(replace(b, received_at=T0 - timedelta(seconds=1)), SITE).key < rank(a, SITE).key
