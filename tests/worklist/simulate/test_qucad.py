"""FDA's scenarios: the reference values stand in qucad.json (facts of QuCAD's and of an independent
simulation); other scenarios of the same form are held against laws.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worklist.simulate.qucad import model as qucad
from worklist.simulate.qucad.file import BadScenario, read_scenarios
from worklist.simulate.qucad.model import Scenario, exact
from worklist.simulate.theory import Service

FILE = Path(__file__).with_name("qucad.json")
REFERENCE = {one["id"]: one for one in json.loads(FILE.read_text())["scenarios"]}
SERVICES: tuple[Service, ...] = get_args(Service)
LISTS = ("without_cadt", "with_cadt")
#: Chosen once, before any run.
SEED = 20261126

each_scenario = pytest.mark.parametrize("scenario", read_scenarios(FILE), ids=lambda one: one.name)


@pytest.mark.parametrize("service", SERVICES)
@each_scenario
def test_theory_gives_the_reference_within_a_twentieth_of_a_minute(
    scenario: Scenario, service: Service
) -> None:
    found, expected = exact(scenario, service), REFERENCE[scenario.name]["exact"][service]
    if expected is None:
        # No closed form there. Where we have a chain, the independent simulation agrees with it.
        independent = REFERENCE[scenario.name]["simulation"][service]
        for name in LISTS if found else ():
            for group, figure in independent[name].items():
                if figure:
                    mean, half = figure
                    assert found[name][group] == pytest.approx(mean, abs=2 * half), group
        return
    assert found is not None
    for name in LISTS:
        for group, value in expected[name].items():
            assert found[name][group] == (
                value if value is None else pytest.approx(value, abs=0.05)
            )


def check(sums: qucad.Sums, expected: dict[str, Any]) -> list[tuple[bool, float]]:
    """Of each class mean: whether its interval holds the expected one, and how many standard errors
    lie between.
    """
    result = []
    for name in LISTS:
        for group in qucad.CLASSES:
            value, half = sums.figure(name, group)
            target = expected[name].get(group)
            kinds = [qucad.KINDS.index(kind) for kind in qucad.CLASSES[group]]
            few = sums.counts[:, kinds].sum() < 1000
            if math.isnan(value) or target is None or value == 0 or few:
                continue
            target, theirs = target if isinstance(target, list) else (target, 0.0)
            error = math.hypot(half, theirs) / 2.13
            off = abs(value - target)
            result.append((off <= math.hypot(half, theirs), off / error))
    return result


def replications(scenario: Scenario, service: Service, number: int) -> qucad.Sums:
    count, dropped = qucad.lengths(scenario.traffic)
    orders = qucad.lists()
    done = [
        qucad.replicate(scenario, orders, service, count, dropped, (SEED, n)) for n in range(number)
    ]
    return qucad.Sums(
        np.array([counts for counts, _ in done]),
        {name: np.array([waits[name] for _, waits in done]) for name in orders},
    )


@pytest.mark.slow
def test_nine_of_ten_simulated_means_hold_the_true_one_in_their_interval() -> None:
    found = []
    for scenario in read_scenarios(FILE):
        for service in SERVICES:
            expected = exact(scenario, service)
            if expected is None:
                expected = REFERENCE[scenario.name]["simulation"][service]
            found += check(replications(scenario, service, 16), expected)
    assert len(found) > 500
    assert sum(inside for inside, _ in found) / len(found) >= 0.9
    assert max(errors for _, errors in found) <= 4


@pytest.mark.slow
def test_a_simulation_goes_on_until_its_intervals_are_narrow() -> None:
    scenario = next(one for one in read_scenarios(FILE) if one.name == "P30")
    found = qucad.answer(scenario, "non-preemptive", SEED)
    simulated = found["simulated"]
    for name in LISTS:
        for group, mean in simulated[name].items():
            if mean is not None:
                half = simulated["ci95_halfwidth"][name][group]
                assert half < 0.02 * mean
                assert abs(mean - found["exact"][name][group]) < 2 * half
    assert found["source"] == "exact"
    assert found["with_cadt"] == found["exact"]["with_cadt"]


scenarios = st.builds(
    Scenario,
    name=st.just("drawn"),
    traffic=st.floats(0.3, 0.85),
    interrupting=st.sampled_from([0.0, 0.1, 0.3]),
    readers=st.integers(1, 4),
    prevalence=st.floats(0.05, 0.5),
    sensitivity=st.floats(0.5, 1),
    specificity=st.floats(0.5, 1),
    read_diseased=st.floats(3, 25),
    read_other=st.floats(3, 25),
    read_interrupting=st.floats(3, 25),
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(scenarios, st.sampled_from(SERVICES))
def test_any_other_scenario_comes_out_as_theory_says(scenario: Scenario, service: Service) -> None:
    expected = exact(scenario, service)
    if expected is not None:
        errors = [errors for _, errors in check(replications(scenario, service, 10), expected)]
        assert max(errors) < 6


@settings(max_examples=50)
@given(scenarios)
def test_in_theory_work_is_conserved_whatever_ai_says(scenario: Scenario) -> None:
    found = exact(scenario, "non-preemptive")
    if found is None:
        return
    work = {kind: share * scenario.reads[kind] for kind, share in scenario.shares.items()}
    totals = [
        sum(work[kind] * (found[name][kind] or 0.0) for kind in qucad.KINDS) for name in LISTS
    ]
    assert totals[0] == pytest.approx(totals[1])


@settings(max_examples=50)
@given(scenarios, st.sampled_from(SERVICES))
def test_an_ai_that_guesses_saves_nobody_anything(scenario: Scenario, service: Service) -> None:
    guessing = qucad.replace(
        scenario, specificity=1 - scenario.sensitivity, read_other=scenario.read_diseased
    )
    found = exact(guessing, service)
    if found is not None:
        assert found["time_saving_diseased"] == pytest.approx(0, abs=1e-6)


def one(**inputs: Any) -> dict[str, Any]:
    good = dict(REFERENCE["T80"]["inputs"])
    return {"scenarios": [{"id": "mine", "inputs": good | inputs}]}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("traffic", [0.99, 0.99999, math.nextafter(1, 0)])
def test_near_a_load_of_one_theory_answers_and_nothing_is_drawn(
    traffic: float, service: Service
) -> None:
    scenario = qucad.replace(read_scenarios(FILE)[0], traffic=traffic, readers=1, interrupting=0.99)
    found = qucad.answer(scenario, service, SEED)
    assert found["simulated"] is None
    assert found["source"] == "exact"
    assert "studies are needed" in found["warnings"][0]


def test_a_chain_too_large_for_theory_is_not_begun() -> None:
    scenario = qucad.replace(
        read_scenarios(FILE)[0],
        traffic=0.99999,
        readers=4,
        interrupting=0.99999,
        read_interrupting=3,
        read_diseased=10,
        read_other=10,
    )
    found = qucad.answer(scenario, "preemptive-resume", SEED)
    assert found["source"] is None
    assert found["with_cadt"] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("nonsense", "is no JSON"),
        ({}, "no list `scenarios`"),
        ({"scenarios": []}, "no list `scenarios`"),
        ({"scenarios": [{"id": "mine"}]}, "has no `inputs`"),
        (one(traffic=1.0), "scenario mine: traffic: the load is 1.000.*add a reader"),
        (one(traffic=0), "nothing arrives"),
        (one(traffic=10**400), "scenario mine: traffic is 1000"),
        ({"scenarios": [one(FPFThresh=None)["scenarios"][0] | {"derived": [1]}]}, "no object"),
        (one(traffic="much"), "traffic is 'much': a number is needed"),
        (one(prevalence=1.5), "prevalence is 1.5: it lies between 0 and 1"),
        (one(fractionED=-0.1), "fractionED is -0.1: it lies between 0 and 1"),
        (one(nRadiologists=1.5), "a whole number is needed"),
        (one(nRadiologists=0), "nRadiologists is 0"),
        (one(meanServiceTimeDiseasedMin=0), "meanServiceTimeDiseasedMin is 0"),
        (one(FPFThresh=None), "Se is None: a number is needed"),
    ],
)
def test_a_bad_scenario_says_which_field_and_what(body: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(BadScenario, match=message):
        read_scenarios(file)
