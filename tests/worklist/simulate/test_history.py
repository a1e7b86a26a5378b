"""A site's history: what a bad file is told, that replaying gives what was, and the what-ifs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from worklist.order.policy import Allowance, Policy
from worklist.simulate import fit, history, twin
from worklist.simulate.history import BadHistory, Row, read_history
from worklist.simulate.scenario import Scenario
from worklist.simulate.scenario_file import read_scenario

PARIS = ZoneInfo("Europe/Paris")
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
POLICY = Policy(
    name="test",
    classes={
        "unknown": Allowance(target=480, horizon=30240),
        "stat": Allowance(target=60, horizon=60),
        "urgent": Allowance(target=240, horizon=20160),
    },
    findings={"bleed": Allowance(target=15, horizon=15)},
)
SITE = Scenario.model_validate(
    {
        "name": "site",
        "seed": 7,
        "days": 14,
        "warm_up_days": 0,
        "arrivals": {"weekday": [6.0] * 24, "weekend": [4.0] * 24},
        "readers": [{"count": 1}],
        "examinations": [
            {
                "name": "CT",
                "read": {"family": "lognormal", "mean": 8, "deviation": 5},
                "orders": {"stat": 0.1, "urgent": 0.4, "unknown": 0.5},
                "diseases": [{"name": "bleed", "prevalence": 0.1, "urgent": True}],
            }
        ],
        "ais": [
            {
                "name": "ai",
                "code": "bleed",
                "finds": "bleed",
                "examinations": ["CT"],
                "sensitivity": 0.9,
                "specificity": 0.9,
            }
        ],
    }
)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def recorded(policy: str = "vigie") -> list[dict[str, Any]]:
    """Two weeks of a site whose reader followed `policy`, as its RIS would export them."""
    studies = twin.draw(SITE, np.random.default_rng(7))
    seconds = np.ceil(studies.arrived * 60) / 60, np.ceil(studies.read * 60) / 60
    studies = type(studies)(*seconds, studies.kind, studies.kinds)
    (order,) = twin.orders_of([policy], POLICY, 240)
    day = twin.play(studies, SITE.staff(400), [order], studies.kind, preemptive=False)
    served = day.served[policy]

    def time(minutes: float) -> str:
        return (START + timedelta(seconds=round(minutes * 60))).isoformat()

    return [
        {
            "study": f"S{number:05}",
            "arrived": time(studies.arrived[number]),
            "started": time(served.opened[number]),
            "finished": time(served.finished[number]),
            "reader": "R1",
            "examination": kind.group,
            "order_class": kind.order_class,
            "finding": kind.disease,
            "score": "0.9" if kind.flags else "0.2",
            "flags": " ".join(flag.code for flag in kind.flags),
        }
        for number in range(len(studies))
        for kind in (studies.kinds[studies.kind[number]],)
    ]


def rows_of(tmp_path: Path, rows: Sequence[dict[str, Any]]) -> list[Row]:
    return read_history(write(tmp_path / "arrivals.csv", rows), None)


def replay(rows: Sequence[Row], names: Sequence[str], **changes: Any) -> dict[str, Any]:
    found = history.replayable(rows, np.random.default_rng(1), **changes)
    return history.simulate(
        found, POLICY, names, guard=240, worthwhile=15, about={"name": "site", "seed": 1}
    )


def mean_wait(result: dict[str, Any], policy: str, name: str = "") -> float:
    groups = result["policies"][policy]["groups"]
    wanted = "disease" if name else "all"
    return float(
        next(g for g in groups if (g["by"], g["name"]) == (wanted, name))["wait"]["mean"]["value"]
    )


@pytest.mark.parametrize("policy", ["vigie", "ai-off", "fifo"])
def test_replaying_a_site_under_its_own_policy_gives_what_was(policy: str, tmp_path: Path) -> None:
    rows = rows_of(tmp_path, recorded(policy))
    found = history.replayable(rows, np.random.default_rng(1))
    (order,) = twin.orders_of([policy], POLICY, 240)
    day = twin.play(found.studies, found.staff, [order], found.day, preemptive=False)
    started = [(row.started - found.origin) / timedelta(minutes=1) for row in rows if row.started]
    # Equal to the second, but where the reader was idle: then the record has no window.
    off = np.abs(day.served[policy].opened - np.array(started)) * 60
    assert np.quantile(off, 0.9) < 1.5


def test_the_recorded_waits_stand_beside_the_replayed_ones(tmp_path: Path) -> None:
    result = replay(rows_of(tmp_path, recorded()), ["ai-off", "vigie"])
    assert list(result["policies"]) == ["ai-off", "vigie", "recorded"]
    assert mean_wait(result, "recorded") == pytest.approx(mean_wait(result, "vigie"), rel=0.05)
    assert mean_wait(result, "vigie", "bleed") < mean_wait(result, "ai-off", "bleed")
    assert result["replications"] == 14


def test_one_more_reader_shortens_the_wait(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, recorded())
    alone, helped = (
        mean_wait(replay(rows, ["ai-off", "vigie"], add_readers=n), "vigie") for n in (0, 1)
    )
    assert helped < 0.5 * alone


def test_another_threshold_flags_others(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, recorded())
    nobody, everybody = (
        history.with_threshold(rows, "bleed", threshold) for threshold in (0.95, 0.1)
    )
    assert not any(row.texts["flags"] for row in nobody)
    assert all(row.texts["flags"] == "bleed" for row in everybody)
    result = replay(nobody, ["ai-off", "vigie"])
    assert mean_wait(result, "vigie") == mean_wait(result, "ai-off")


def test_a_better_model_finds_more_of_the_same_studies(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, recorded())
    perfect = history.with_model(rows, "bleed", (1.0, 1.0), np.random.default_rng(1))
    assert all((row.texts["finding"] == "bleed") == bool(row.texts["flags"]) for row in perfect)
    was, better = (
        mean_wait(replay(r, ["ai-off", "vigie"]), "vigie", "bleed") for r in (rows, perfect)
    )
    assert better < was


def test_a_fitted_scenario_is_the_site_again(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, recorded())
    file = tmp_path / "fitted.toml"
    file.write_text(fit.as_toml(fit.fit(rows, 'a "site"', 1)))
    fitted = read_scenario(file)
    assert fitted.name == 'a "site"'
    assert fitted.load() == pytest.approx(SITE.load(), rel=0.1)
    assert fitted.arrivals.weekday is not None
    assert np.mean(fitted.arrivals.weekday) == pytest.approx(6, rel=0.1)
    (found,) = fitted.ais
    assert found.sensitivity == pytest.approx(0.9, abs=0.08)
    assert found.specificity == pytest.approx(0.9, abs=0.03)
    (exam,) = fitted.examinations
    assert exam.read.mean == pytest.approx(8, rel=0.1)
    assert exam.diseases[0].prevalence == pytest.approx(0.1, abs=0.03)


LINE = {"study": "S1", "arrived": "2026-03-02T08:00:00+01:00"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"study": "S1"}], r"line 1: no column `arrived`: the columns are study, arrived"),
        ([LINE | {"name": "DUPONT"}], r"line 1: no column is called 'name'"),
        ([LINE, LINE], r"line 3: the study of line 2 again: keep one"),
        ([LINE | {"arrived": ""}], r"line 2: arrived is empty"),
        ([LINE | {"arrived": "yesterday"}], r"line 2: arrived 'yesterday' is no time"),
        ([LINE | {"arrived": "2026-03-02T08:00:00"}], r"line 2: .*no offset.*--timezone"),
        ([LINE | {"started": "2026-03-02T09:00:00+01:00"}], r"line 2: started and finished belong"),
        (
            [LINE | {"started": "2026-03-02T07:00:00+01:00", "finished": LINE["arrived"]}],
            r"line 2: it was read before it arrived",
        ),
        (
            [LINE | {"started": LINE["arrived"], "finished": "2026-03-03T08:00:00+01:00"}],
            r"line 2: the read takes 1440 minutes: 0 to 720",
        ),
        (
            [LINE | {"started": LINE["arrived"], "finished": "2026-03-02T08:05:00+01:00"}],
            r"line 2: reader is empty",
        ),
        ([LINE | {"score": "high"}], r"line 2: score 'high' is no number"),
    ],
)
def test_a_bad_line_is_named(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadHistory, match=message):
        rows_of(tmp_path, rows)


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "arrivals.csv"
    for text in ("arrived\n", ""):
        file.write_text(text)
        with pytest.raises(BadHistory, match=r"no studies below its header|no column `arrived`"):
            read_history(file, None)


def test_a_line_with_too_few_columns_is_named(tmp_path: Path) -> None:
    file = tmp_path / "arrivals.csv"
    file.write_text("study,arrived\nS1\n")
    with pytest.raises(BadHistory, match="line 2: another number of columns"):
        read_history(file, None)


@pytest.mark.parametrize(
    ("arrived", "what"),
    [("2026-10-25T02:30:00", "happens twice"), ("2026-03-29T02:30:00", "does not exist")],
)
def test_an_hour_in_which_clocks_change_needs_its_offset(
    arrived: str, what: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "arrivals.csv", [{"study": "S1", "arrived": arrived}])
    with pytest.raises(BadHistory, match=rf"line 2: .*{what} in Europe/Paris.*with its offset"):
        read_history(file, PARIS)


def test_a_wait_over_a_change_of_clocks_is_counted_in_real_time(tmp_path: Path) -> None:
    rows = [
        {
            "study": "S1",
            "arrived": "2026-03-29T01:30:00",
            "started": "2026-03-29T03:30:00",
            "finished": "2026-03-29T03:40:00",
            "reader": "R1",
        }
    ]
    (row,) = read_history(write(tmp_path / "arrivals.csv", rows), PARIS)
    assert row.started is not None
    assert row.started - row.arrived == timedelta(hours=1)


def test_a_gap_in_which_nothing_can_have_arrived_is_named(tmp_path: Path) -> None:
    rows = recorded()
    after = next(n for n, row in enumerate(rows) if row["arrived"] >= "2026-03-05")
    upto = next(n for n, row in enumerate(rows) if row["arrived"] >= "2026-03-07")
    gap = rows_of(tmp_path, rows[:after] + rows[upto:])
    with pytest.raises(BadHistory, match=rf"line {after + 2}: nothing arrived for 4[78] hours"):
        fit.check_gaps(gap, "arrivals.csv")
    fit.check_gaps(rows_of(tmp_path, rows), "arrivals.csv")


def test_without_reads_nothing_can_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(BadHistory, match="no line has started"):
        replay(rows_of(tmp_path, [LINE]), ["ai-off", "vigie"])


def line(**texts: str) -> dict[str, Any]:
    good = {
        "arrived": "2026-03-02T08:00:00Z",
        "started": "2026-03-02T09:00:00Z",
        "finished": "2026-03-02T09:10:00Z",
        "reader": "R1",
        "examination": "CT",
        "finding": "",
        "score": "",
        "flags": "",
    }
    return good | texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"arrived\n\xff\n", r"a\.csv, after line \d: it is no CSV in UTF-8"),
        (b"arrived\n" + b"x" * 200_000, r"a\.csv, after line \d: it is no CSV in UTF-8"),
        (b"arrived,arrived\n", r"a\.csv, line 1: a column stands twice"),
        (b"arrived\n0001-01-01T00:00:00+14:00\n", r"line 2: arrived .*between 1990 and 2200"),
        (b"arrived\n9999-12-31T23:30:00Z\n", r"line 2: arrived .*between 1990 and 2200"),
        (b"arrived,score\n2026-03-02T08:00:00Z,nan\n", r"line 2: score 'nan' is no number"),
    ],
)
def test_what_is_no_history_at_all_is_one_line_too(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(BadHistory, match=message):
        read_history(file, None)


def test_more_subspecialties_than_a_reader_s_mask_has_bits_are_an_error(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, [line(subspecialty=f"S{n}") for n in range(62)])
    with pytest.raises(BadHistory, match="subspecialty: 62 of them, 61 are the most"):
        history.replayable(rows, np.random.default_rng(1))


def test_another_model_flags_only_what_ai_looks_at(tmp_path: Path) -> None:
    exams = [line(flags="bleed", finding="bleed"), line(finding="bleed"), line(examination="XR")]
    rows = history.with_model(
        rows_of(tmp_path, exams), "bleed", (1.0, 0.0), np.random.default_rng(1)
    )
    assert [row.texts["flags"] for row in rows] == ["bleed", "bleed", ""]


def test_whether_ai_looked_is_each_study_s_own(tmp_path: Path) -> None:
    scores = ["0.1", "", "0.1", ""]
    found = history.replayable(
        rows_of(tmp_path, [line(score=score) for score in scores]), np.random.default_rng(1)
    )
    seen = [bool(found.studies.kinds[n].seen_by) for n in found.studies.kind]
    assert seen == [bool(score) for score in scores]


def test_a_fit_without_readers_is_refused(tmp_path: Path) -> None:
    late = line(arrived="2026-03-09T08:00:00Z", started="", finished="", reader="")
    rows = rows_of(tmp_path, [line(), late])
    with pytest.raises(BadHistory, match="--write: no hour of the week has a reader"):
        fit.fit(rows, "site", 1)


def test_what_the_policy_does_not_know_is_told_beside_the_result(tmp_path: Path) -> None:
    result = replay(rows_of(tmp_path, [line(flags="bled", order_class="now")]), ["ai-off", "vigie"])
    assert result["warnings"] == [
        "order_class: the policy has no ['now']: they count as unknown",
        "flags: the policy has no ['bled']: they count as its most urgent finding",
    ]
