"""Scenarios that are too large, settle too slowly or name what is not there: told, never run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.worklist.simulate.test_scenario import POLICY, ai, multi_qucad
from worklist.simulate import twin
from worklist.simulate.scenario import Scenario


def many(**changes: Any) -> dict[str, Any]:
    ais = [ai("LVO", "CTA", (0.9, 0.9), 1) | {"name": f"ai {n}"} for n in range(2000)]
    return multi_qucad(ais=ais) | changes


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (many(), r"examinations and ais: .* kinds of study, 20,000 are the most"),
        (
            multi_qucad(arrivals={"per_hour": 9000}, readers=[{"count": 500}] * 10, days=3660),
            r"arrivals: .* studies in a replication, 5,000,000 are the most",
        ),
        (multi_qucad(readers=[{"count": 500}] * 11), r"readers: 5,500 readers, 5,000 are the most"),
        (
            multi_qucad(replications=10_000, days=3600),
            r"replications: .* studies to play under all policies",
        ),
        (multi_qucad(arrivals={"load": 0.98}), r"warm_up_days: at a load of 0\.980 .*give it"),
        (
            multi_qucad(readers=[{"count": 1}, {"subspecialties": ["nuero"]}]),
            r"readers: subspecialties \['nuero'\] are of no examination",
        ),
    ],
)
def test_what_would_not_end_or_matches_nothing_is_told_before_anything_is_drawn(
    body: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Scenario.model_validate(body)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ais": [ai("LVO", "CTA", (0.9, 0.9), 1) | {"code": "Z"}]}, r"codes \['Z'\] are no find"),
        (
            {
                "examinations": [
                    multi_qucad()["examinations"][0] | {"share": 1, "orders": {"sat": 1}}
                ],
                "ais": [],
            },
            r"orders: \['sat'\] are no classes of the policy 'test': it has stat, unknown",
        ),
    ],
)
def test_a_name_that_the_policy_does_not_have_is_an_error(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        twin.simulate(Scenario.model_validate(multi_qucad(**changes)), POLICY)


def test_a_warm_up_that_is_too_short_is_told_by_the_exact_mean() -> None:
    short = multi_qucad(arrivals={"load": 0.98}, days=1, warm_up_days=0, policies=[])
    (warning,) = twin.simulate(Scenario.model_validate(short), POLICY)["warnings"]
    assert warning.startswith("fifo: ")
    assert "exactly 1470.00" in warning
    long = multi_qucad(arrivals={"load": 0.5}, policies=[])
    assert twin.simulate(Scenario.model_validate(long), POLICY)["warnings"] == []


def test_a_high_load_with_a_warm_up_that_was_given_is_played() -> None:
    body = multi_qucad(arrivals={"load": 0.98}, warm_up_days=60)
    assert Scenario.model_validate(body).load() == pytest.approx(0.98)
