"""Scenarios: multi-QuCAD's printed values, what may be written, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worklist.order.policy import Allowance, Policy
from worklist.simulate import twin
from worklist.simulate.closed_forms import NoSteadyState
from worklist.simulate.scenario import Readers, Scenario
from worklist.simulate.scenario_file import BadScenario, read_policy, read_scenario
from worklist.simulate.studies import DAY, HOUR, WEEK, weekly

LONG = Allowance(target=1440, horizon=43200)
POLICY = Policy(
    name="test",
    classes={"unknown": LONG, "stat": Allowance(target=60, horizon=60)},
    findings={code: Allowance(target=15, horizon=15) for code in ("A", "B", "C", "D")},
)


def exponential(mean: float) -> dict[str, Any]:
    return {"family": "exponential", "mean": mean}


def ai(finds: str, exam: str, point: tuple[float, float], level: int) -> dict[str, Any]:
    return {
        "name": f"ai {finds}",
        "code": "A",
        "finds": finds,
        "examinations": [exam],
        "sensitivity": point[0],
        "specificity": point[1],
        "level": level,
    }


def multi_qucad(**changes: Any) -> dict[str, Any]:
    """The example of multi-QuCAD's manual: nobody's AI looks for SAH."""
    read = exponential(30)
    return {
        "name": "multi-QuCAD",
        "seed": 20261126,
        "days": 60,
        "replications": 10,
        "service": "preemptive-resume",
        "baseline": "fifo",
        "policies": ["strict-priority", "hierarchical"],
        "arrivals": {"load": 0.8},
        "readers": [{"count": 1}],
        "examinations": [
            {
                "name": "NCCT",
                "share": 0.7,
                "read": read,
                "diseases": [
                    {"name": "SAH", "prevalence": 0.053, "urgent": True},
                    {"name": "ICH", "prevalence": 0.211, "urgent": True},
                ],
            },
            {
                "name": "CTA",
                "share": 0.3,
                "read": read,
                "diseases": [{"name": "LVO", "prevalence": 0.125, "urgent": True}],
            },
        ],
        "ais": [ai("ICH", "NCCT", (0.9361, 0.9344), 3), ai("LVO", "CTA", (0.9236, 0.9143), 1)],
    } | changes


def waits(result: dict[str, Any], policy: str) -> dict[str, dict[str, Any]]:
    return {
        group["name"]: group
        for group in result["policies"][policy]["groups"]
        if group["by"] in ("disease", "all")
    }


def test_multi_qucad_comes_out_as_its_manual_prints_it() -> None:
    result = twin.simulate(Scenario.model_validate(multi_qucad()), POLICY)
    printed = {
        "fifo": {"LVO": 120.0, "ICH": 120.0, "SAH": 120.0},
        "strict-priority": {"LVO": 18.08, "ICH": 16.24, "SAH": 144.45},
        "hierarchical": {"LVO": 13.10, "ICH": 17.89, "SAH": 144.57},
    }
    for policy, expected in printed.items():
        for name, minutes in expected.items():
            group = waits(result, policy)[name]
            assert group["exact_mean_wait"] == pytest.approx(minutes, abs=0.05)
            mean = group["wait"]["mean"]
            assert abs(mean["value"] - minutes) < 2 * mean["half_width"]
    assert result["untargeted"] == ["SAH"]
    lost = waits(result, "strict-priority")["SAH"]["saved"]
    assert lost["value"] + lost["half_width"] < 0


def test_multi_qucad_without_interruptions_comes_out_as_cobham_says() -> None:
    def exam(name: str, share: float, other: float, sick: dict[str, tuple[float, float]]) -> Any:
        diseases = [
            {"name": disease, "prevalence": share, "read": exponential(mean)}
            for disease, (share, mean) in sick.items()
        ]
        return {"name": name, "share": share, "read": exponential(other), "diseases": diseases}

    result = twin.simulate(
        Scenario.model_validate(
            multi_qucad(
                service="non-preemptive",
                replications=2,
                days=1,
                examinations=[
                    exam("CTA", 0.4, 2, {"A": (0.2, 5), "B": (0.1, 3)}),
                    exam("XR", 0.5, 3, {"C": (0.1, 10)}),
                    exam("CX", 0.1, 5, {"D": (0.1, 5)}),
                ],
                ais=[
                    ai("A", "CTA", (0.9, 0.9), 1),
                    ai("B", "CTA", (0.8, 0.8), 2),
                    ai("C", "XR", (0.9, 0.9), 2),
                ],
            )
        ),
        POLICY,
    )
    printed = {
        "fifo": [17.53] * 4,
        "strict-priority": [6.44, 8.40, 6.83, 24.40],
        "hierarchical": [5.57, 8.69, 7.32, 24.40],
    }
    for policy, expected in printed.items():
        found = [waits(result, policy)[name]["exact_mean_wait"] for name in "ABCD"]
        assert found == pytest.approx(expected, abs=0.01)


def test_the_live_rank_itself_gives_cobham_s_waits() -> None:
    """The production rank puts what is flagged first as long as nobody waits for weeks."""
    body = multi_qucad(policies=["vigie", "strict-priority"], service="non-preemptive")
    result = twin.simulate(Scenario.model_validate(body), POLICY)
    for name, group in waits(result, "vigie").items():
        same = waits(result, "strict-priority")[name]
        assert group["wait"] == same["wait"]


def test_the_same_seed_gives_the_same_result_and_another_another() -> None:
    scenario = Scenario.model_validate(multi_qucad(days=5, replications=3))
    first = twin.simulate(scenario, POLICY)
    assert twin.simulate(scenario, POLICY) == first
    assert twin.simulate(scenario.model_copy(update={"seed": 1}), POLICY) != first


def test_arrivals_follow_the_hours_of_the_week() -> None:
    rates = np.zeros(168)
    rates[[9, 24 * 6 + 23]] = 2.0  # Monday from 9 to 10, Sunday from 23 to 24, two a minute
    at = weekly(rates, 20 * WEEK, np.random.default_rng(3))
    assert set(np.floor(at / HOUR).astype(int) % 168) == {9, 24 * 6 + 23}
    assert len(at) == pytest.approx(20 * 2 * 120, rel=0.05)


def test_bursts_bring_their_examination_close_together() -> None:
    body = multi_qucad(
        arrivals={
            "per_hour": 0.001,
            "bursts": [{"per_day": 1, "studies": 5, "over_minutes": 10, "examination": "CTA"}],
        }
    )
    studies = twin.draw(Scenario.model_validate(body), np.random.default_rng(5))
    assert {studies.kinds[n].group for n in studies.kind[:50]} <= {"CTA", "NCCT"}
    share = np.mean([studies.kinds[n].group == "CTA" for n in studies.kind])
    assert share > 0.95
    assert np.median(np.diff(studies.arrived)) < 10


def test_a_threshold_moves_sensitivity_against_specificity() -> None:
    scores = {
        "diseased": {"mean": 2.0, "deviation": 1.0},
        "other": {"mean": 0.0, "deviation": 1.0},
    }

    def point(threshold: float) -> tuple[float, float]:
        one = {k: v for k, v in ai("LVO", "CTA", (0, 0), 1).items() if not k.endswith("ity")}
        body = multi_qucad(ais=[{**one, "scores": scores, "threshold": threshold}])
        (found,) = Scenario.model_validate(body).ais
        return found.flags("LVO"), 1 - found.flags("")

    assert point(1.0) == pytest.approx((0.8413, 0.8413), abs=1e-4)
    assert point(2.0) == pytest.approx((0.5, 0.9772), abs=1e-4)


def test_a_night_shift_reaches_over_midnight_and_over_the_end_of_the_week() -> None:
    body = multi_qucad(
        arrivals={"per_hour": 0.1},
        readers=[{"shifts": [{"days": "sunday", "start": "20:00", "end": "08:00"}]}, {"count": 1}],
    )
    staff = Scenario.model_validate(body).staff(14)
    mine = [(s, e) for s, e, r in zip(staff.start, staff.end, staff.reader, strict=True) if r == 0]
    evening = 6 * DAY + 20 * HOUR
    assert mine == [
        (0.0, 8 * HOUR),
        (evening, evening + 12 * HOUR),
        (evening + WEEK, evening + WEEK + 12 * HOUR),
    ]


def test_hours_that_two_shifts_of_a_reader_share_are_counted_once() -> None:
    def hours(*shifts: tuple[str, str, str]) -> float:
        said = [{"days": d, "start": s, "end": e} for d, s, e in shifts]
        return Readers.model_validate({"shifts": said}).minutes() / HOUR

    assert hours(("monday", "08:00", "16:00"), ("monday", "12:00", "18:00")) == 10
    assert hours(("all", "08:00", "20:00"), ("all", "19:00", "09:00")) == 168
    assert hours(("sunday", "20:00", "08:00"), ("monday", "06:00", "10:00")) == 14
    assert hours(("sunday", "20:00", "08:00"), ("monday", "06:00", "07:00")) == 12
    shift = {"start": "08:00", "end": "20:00"}
    with pytest.raises(ValueError, match=r"the load is 1\.333"):
        Scenario.model_validate(
            multi_qucad(arrivals={"per_hour": 4 / 3}, readers=[{"shifts": [shift, shift]}])
        )


GOOD = """\
name = "mine"
seed = 1
days = 1
warm_up_days = 0
replications = 2

[arrivals]
per_hour = 2

[[readers]]
count = 1

[[examinations]]
name = "CT"
read = { family = "exponential", mean = 10 }
diseases = [{ name = "bleed", prevalence = 0.1 }]

[[ais]]
name = "ai"
code = "A"
finds = "bleed"
examinations = ["CT"]
sensitivity = 0.9
specificity = 0.9
"""


def test_the_good_one_is_good(tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    assert read_scenario(file).load() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("per_hour = 2", "per_hour = 6", r"arrivals: the load is 1\.000.*add a reader"),
        ("per_hour = 2", "per_hour = -2", r"line 8: arrivals\.per_hour: .*greater than 0.*-2"),
        ("per_hour = 2", "per_hour = inf", r"line 8: arrivals\.per_hour: .*finite"),
        ("per_hour = 2", "per_hour = 2\nload = 0.5", r"line 7: arrivals: .*in one way"),
        ("per_hour = 2", "weekday = [1, 2]", r"line 8: arrivals\.weekday: .*24"),
        ("per_hour = 2", "weekend = []", r"line 8: arrivals\.weekend"),
        ("mean = 10", "mean = 0", r"line 15: examinations\.0\.read\.mean: .*greater than or"),
        ('"exponential"', '"weibull"', r"line 15: examinations\.0\.read: .*exponential"),
        ("prevalence = 0.1", "prevalence = 1.1", r"line 16: examinations\.0\.diseases\.0\.prev"),
        ("sensitivity = 0.9\n", "", r"line 18: ais\.0: .*sensitivity and specificity"),
        ("sensitivity = 0.9", "sensitivity = 90", r"line 23: ais\.0\.sensitivity: .*90"),
        ('finds = "bleed"', 'finds = "gold"', r"finds 'gold', which no examination"),
        ('examinations = ["CT"]', 'examinations = ["MR"]', r"\['MR'\], which are no examinations"),
        ("seed = 1", 'seed = 1\npolicies = ["fastest"]', r"'fastest': there are vigie, ai-off"),
        ("seed = 1\n", "", r"line 1: seed: Field required"),
        (
            "count = 1",
            'subspecialties = ["neuro"]\nshifts = [{ start = "8", end = "18:00" }]',
            r"line 12: readers\.0\.shifts\.0\.start",
        ),
        (
            "count = 1",
            'shifts = [{ days = "mondays", start = "08:00", end = "18:00" }]',
            r"days is 'mondays': one of all, weekdays",
        ),
        ('name = "CT"', 'name = "CT"\nshare = 0.5', r"add up to 0\.5: make it 1"),
        ('name = "CT"', 'name = "CT"\norders = { stat = 0.5 }', r"orders add up to 0\.5"),
        ('name = "CT"', 'name = "CT"\nsubspeciality = "neuro"', r"line 15: .*subspeciality: Extra"),
        ("[[ais]]", "[[ais]", r"is no TOML: .*line 18"),
    ],
)
def test_a_mistake_says_where_it_stands_and_what_to_do(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.toml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadScenario, match=message):
        read_scenario(file)


def test_a_subspecialty_that_nobody_reads_is_an_error_and_not_a_wait_for_ever() -> None:
    body = multi_qucad(arrivals={"per_hour": 1}, readers=[{"subspecialties": ["chest"]}])
    body["examinations"][0]["subspecialty"] = "neuro"
    body["examinations"][1]["subspecialty"] = "chest"
    with pytest.raises(ValueError, match=r"arrivals of neuro: the load is inf"):
        Scenario.model_validate(body)


def test_readers_who_never_come_again_end_the_run_with_an_error() -> None:
    body = multi_qucad(arrivals={"per_hour": 0.5}, days=1, replications=2)
    scenario = Scenario.model_validate(body)
    studies = twin.draw(scenario, np.random.default_rng(1))
    staff = scenario.staff(1)
    gone = type(staff)(staff.pools, staff.start, np.array([60.0]), staff.reader)
    with pytest.raises(twin.NeverRead, match=r"never read.*give the readers more shifts"):
        twin.play(
            studies, gone, twin.orders_of(["fifo"], POLICY, 60), studies.kind, preemptive=False
        )


def test_a_policy_file_is_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(multi_qucad(policy="mine.toml"))
    with pytest.raises(BadScenario, match=r"s\.toml: policy 'mine\.toml'"):
        read_policy(scenario, tmp_path / "s.toml", lambda: POLICY)
    (tmp_path / "mine.toml").write_text(
        'name = "x"\nemergent.classes = []\n[classes.unknown]\ntarget = 1\nhorizon = 30000'
    )
    assert read_policy(scenario, tmp_path / "s.toml", lambda: POLICY).name == "x"


def test_no_steady_state_is_a_value_error() -> None:
    assert issubclass(NoSteadyState, ValueError)
