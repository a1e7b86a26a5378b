"""The demo's readers against the simulator: the same where the order of the list was kept, and seen
where it was not.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.demo.waits import Act, Arrival, against_simulator, mean_waits
from worklist.order.policy import Allowance, Policy

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
POLICY = Policy(
    name="test",
    classes={
        "unknown": Allowance(target=480, horizon=30240),
        "stat": Allowance(target=60, horizon=60),
    },
    findings={"RID4700": Allowance(target=15, horizon=15)},
)

HORIZON = {
    "class:unknown": timedelta(minutes=30240),
    "class:stat": timedelta(minutes=60),
    "flag:RID4700": timedelta(minutes=15),
}


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def ranked(
    study: str, second: float, *terms: str, state: str = "readable", since: float = 0
) -> Act:
    detail: dict[str, Any] = {
        "item": f"item {study}",
        "received_at": at(since or second).isoformat(),
        "state": state,
        "due_at": (at(since or second) + HORIZON[terms[-1]]).isoformat(),
        "why": [[term, 900, "head-ct-ich"] for term in terms],
    }
    return Act(study, at(second), "rank", detail)


def taken(study: str, second: float) -> Act:
    return Act(study, at(second), "next", {})


ARRIVALS = [
    ranked("A", 1, "class:unknown"),
    ranked("B", 2, "class:unknown"),
    ranked("C", 3, "class:unknown"),
    ranked("C", 4, "class:unknown", "flag:RID4700", since=3),
]


def test_readers_who_kept_to_the_list_wait_as_the_simulator_says() -> None:
    acts = [*ARRIVALS, taken("C", 5), taken("A", 6), taken("B", 8)]
    assert against_simulator(acts, POLICY, POLICY, 60) == {
        "reads": 3,
        "same": 3,
        "mean_wait_s": {"readers": 60 * 13 / 3, "simulator": 60 * 13 / 3},
        "largest_difference_s": 0.0,
    }


def test_a_reader_who_took_another_study_is_seen() -> None:
    found = against_simulator(
        [*ARRIVALS, taken("A", 5), taken("C", 6), taken("B", 8)], POLICY, POLICY, 60
    )
    assert found["same"] == 1
    assert found["largest_difference_s"] == pytest.approx(60)


def test_another_policy_gives_other_waits() -> None:
    acts = [*ARRIVALS, taken("C", 5), taken("A", 6), taken("B", 8)]
    assert against_simulator(acts, POLICY, POLICY.without_ai(), 60)["same"] == 0


def test_what_left_the_list_unread_and_what_cannot_be_read_yet_do_not_count() -> None:
    acts = [
        ranked("A", 1, "class:unknown", state="arriving"),
        ranked("D", 1, "class:stat"),
        ranked("D", 2, "class:stat", state="cancelled"),
        ranked("B", 3, "class:unknown"),
        ranked("A", 4, "class:unknown", since=1),
        taken("A", 5),
        taken("B", 6),
    ]
    found = against_simulator(acts, POLICY, POLICY, 1)
    assert (found["reads"], found["same"]) == (2, 2)
    assert found["mean_wait_s"]["readers"] == 2.0


def test_a_day_without_reads_has_nothing_to_compare() -> None:
    assert against_simulator(ARRIVALS, POLICY, POLICY, 60)["reads"] == 0


def test_each_read_goes_to_the_study_that_the_policy_ranks_first() -> None:
    arrivals = [
        Arrival("A", 0, False),
        Arrival("B", 60, True, flagged_at=90, flags=(("ai", "RID4700"),)),
        Arrival("C", 70, False, order_class="stat"),
    ]
    assert mean_waits(arrivals, [100, 200, 300], POLICY) == {
        "rank": {"positive": 140.0, "other": 165.0},
        "ai_off": {"positive": 240.0, "other": 115.0},
        "fifo": {"positive": 140.0, "other": 165.0},
    }


def test_what_is_left_after_the_last_read_is_read_at_the_same_pace() -> None:
    arrivals = [Arrival(name, 0, False) for name in "ABCD"]
    assert mean_waits(arrivals, [10, 20], POLICY)["fifo"]["other"] == 25
    assert mean_waits(arrivals, [], POLICY)["fifo"]["other"] is None
