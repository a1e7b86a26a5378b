"""The simulator ranks as the list does, and what it compares with behaves as theory says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worklist.order.policy import Allowance, Policy
from worklist.order.rank import Mode, StudyFacts, rank, variants
from worklist.simulate.disciplines import NAMES, discipline, places
from worklist.simulate.engine import Staff, serve
from worklist.simulate.studies import Exponential, Flag, Kind, Studies, steady

START = datetime(2026, 3, 2, tzinfo=UTC)
POLICY = Policy(
    name="test",
    classes={
        "unknown": Allowance(target=480, horizon=30240),
        "stat": Allowance(target=60, horizon=60),
        "urgent": Allowance(target=240, horizon=20160),
        "routine": Allowance(target=1440, horizon=43200),
    },
    locations={"emergency": Allowance(target=120, horizon=21600)},
    findings={
        "bleed": Allowance(target=15, horizon=15),
        "opacity": Allowance(target=60, horizon=120),
    },
)
READ = Exponential(mean=5)

kinds = st.builds(
    Kind,
    share=st.just(1.0),
    read=st.just(READ),
    order_class=st.sampled_from(["stat", "urgent", "routine", "unknown", "unheard of"]),
    location=st.sampled_from(["", "emergency"]),
    flags=st.sets(
        st.builds(
            Flag,
            ai=st.just("ai"),
            code=st.sampled_from(["bleed", "opacity", "new"]),
            after=st.sampled_from([0.0, 2.0, 7.5]),
        ),
        max_size=2,
    ).map(tuple),
)
recorded_days = st.lists(st.tuples(st.integers(0, 600), kinds), min_size=1, max_size=25)


def as_studies(day: list[tuple[int, Kind]]) -> Studies:
    day = sorted(day, key=lambda one: one[0])
    minutes = np.array([minute for minute, _ in day], float)
    return Studies(minutes, np.zeros(len(day)), np.arange(len(day)), [kind for _, kind in day])


def as_the_list(studies: Studies, reads: list[float], policy: Policy) -> list[float]:
    """When each study is opened: at each read the live list's own rank says who is first."""
    opened: dict[int, float] = {}
    for now in reads:
        waiting = []
        for number, arrived in enumerate(studies.arrived):
            if arrived > now or number in opened:
                continue
            kind, at = studies.kinds[number], START + timedelta(minutes=float(arrived))
            flags = tuple((f.ai, f.code) for f in kind.flags if arrived + f.after <= now)
            facts = StudyFacts(
                study=f"{number:03}",
                received_at=at,
                clock=at,
                readable=True,
                order_class=kind.order_class,
                location=kind.location,
                flags=flags,
            )
            waiting.append((rank(facts, policy).key, number))
        if waiting:
            opened[min(waiting)[1]] = now
    return [opened[number] for number in range(len(studies))]


@pytest.mark.slow
@settings(max_examples=3 * settings.default.max_examples // 2, deadline=None)
@given(recorded_days, st.sampled_from(["rank", "ai_off", "fifo"]))
def test_a_recorded_day_is_read_in_the_order_of_the_list(
    day: list[tuple[int, Kind]], variant: Mode
) -> None:
    studies = as_studies(day)
    reads = [float(studies.arrived[0] + 7 * n) for n in range(len(studies) + 90)]
    name = {"rank": "vigie", "ai_off": "ai-off", "fifo": "fifo"}[variant]
    found = serve(
        places(studies, discipline(name, POLICY, 0)),
        studies.read,
        studies.pool,
        Staff.reads(np.array(reads)),
        preemptive=False,
    )
    policy = variants(POLICY)[variant]
    assert found.opened.tolist() == as_the_list(studies, reads, policy)


def test_an_unknown_policy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(LookupError, match=r"'fastest'.*vigie.*max-wait-guard"):
        discipline("fastest", POLICY, 0)


def drawn(flagged_if_sick: float, flagged_if_well: float) -> Studies:
    """A busy reader (load 0.85), a fifth of the patients diseased."""
    flag = (Flag("ai", "bleed"),)
    mix = [
        Kind(0.2 * flagged_if_sick, READ, disease="bleed", flags=flag),
        Kind(0.2 * (1 - flagged_if_sick), READ, disease="bleed"),
        Kind(0.8 * flagged_if_well, READ, flags=flag),
        Kind(0.8 * (1 - flagged_if_well), READ),
    ]
    return steady(mix, 0.85 / 5, 150_000, np.random.default_rng(20261126))


def waits(studies: Studies, name: str, guard: float = 60) -> np.ndarray:  # type: ignore[type-arg]
    found = serve(
        places(studies, discipline(name, POLICY, guard)),
        studies.read,
        studies.pool,
        Staff.always(1),
        preemptive=False,
    )
    return found.opened - studies.arrived


@pytest.mark.parametrize("name", ["vigie", "strict-priority", "hierarchical", "max-wait-guard"])
def test_with_an_ai_that_is_never_wrong_no_diseased_waits_longer_than_first_come(name: str) -> None:
    studies = drawn(1, 0)
    sick = studies.kind == 0
    assert waits(studies, name)[sick].mean() <= waits(studies, "fifo")[sick].mean()


@pytest.mark.parametrize("name", ["vigie", "strict-priority", "hierarchical"])
def test_an_ai_that_guesses_leaves_the_diseased_where_first_come_has_them(name: str) -> None:
    studies = drawn(0.4, 0.4)
    sick = studies.kind < 2
    first_come = waits(studies, "fifo")[sick].mean()
    assert waits(studies, name)[sick].mean() == pytest.approx(first_come, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_work_waits_under_every_policy(name: str) -> None:
    """Σ ρᵢWᵢ: reads are alike, so the mean over all is that of first come, first read."""
    studies = drawn(0.9, 0.1)
    work = (studies.read * waits(studies, name)).mean()
    assert work == pytest.approx((studies.read * waits(studies, "fifo")).mean(), rel=0.03)
    assert waits(studies, name).mean() == pytest.approx(waits(studies, "fifo").mean(), rel=0.03)


def test_the_guard_bounds_the_longest_wait_and_still_helps_the_flagged() -> None:
    studies = drawn(0.85, 0.08)
    first_come, strict, guarded = (
        waits(studies, name) for name in ("fifo", "strict-priority", "max-wait-guard")
    )
    flagged = np.array([bool(k.flags) for k in studies.kinds])[studies.kind]
    assert guarded.max() <= first_come.max() + 1e-6 < strict.max()
    assert strict[flagged].mean() < guarded[flagged].mean() < first_come[flagged].mean()
