"""The command and what people get to see: text, JSON, charts, a page in two languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import COMMANDS
from worklist.simulate.commands import app
from worklist.simulate.report import Language, Words, as_page

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "infra" / "examples" / "simulate"
QUCAD = Path(__file__).with_name("qucad.json")
SCENARIO = """\
name = "a <b>night</b>"
seed = 1
days = 3
warm_up_days = 1
replications = 4
policy = "policy.toml"
arrivals = { load = 0.8 }
readers = [{ count = 1 }]

[[examinations]]
name = "head CT"
read = { family = "exponential", mean = 10 }
diseases = [
  { name = "bleed", prevalence = 0.2, urgent = true },
  { name = "<clot>", prevalence = 0.1, urgent = true },
]

[[ais]]
name = "ai"
code = "RID4700"
finds = "bleed"
examinations = ["head CT"]
sensitivity = 0.95
specificity = 0.9
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    (tmp_path / "policy.toml").write_text((EXAMPLES / "policy.toml").read_text())
    file = tmp_path / "night.toml"
    file.write_text(SCENARIO)
    return file


def call(*words: Any) -> Any:
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


def result_of(*words: Any) -> dict[str, Any]:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_program_has_the_command() -> None:
    assert COMMANDS["simulate"][0] == "worklist.simulate.commands"


def test_several_policies_may_follow_compare(scenario: Path) -> None:
    result = result_of(scenario, "--compare", "fifo", "max-wait-guard,vigie", "--seed", 3)
    assert list(result["policies"]) == ["ai-off", "fifo", "max-wait-guard", "vigie"]
    assert result["seed"] == 3


def test_every_figure_has_its_interval_and_the_lost_minutes_are_there(scenario: Path) -> None:
    result = result_of(scenario)
    assert result["untargeted"] == ["<clot>"]
    for policy in result["policies"].values():
        for group in policy["groups"]:
            for measure in ("wait", "turnaround"):
                assert set(group[measure]) == {"mean", "median", "p95", "max"}
                for figure in group[measure].values():
                    assert figure["half_width"] > 0
    vigie = {g["name"]: g for g in result["policies"]["vigie"]["groups"] if g["by"] == "disease"}
    assert vigie["bleed"]["saved"]["value"] > 0 > vigie["<clot>"]["saved"]["value"]
    assert 1 < result["policies"]["vigie"]["needed_to_triage"]["value"] < 20
    assert "needed_to_triage" not in result["policies"]["fifo"]


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["read", "minutes sooner", "minutes LATER", "No AI looks for", "Number needed"]),
        ("fr", ["lus", "minutes plus tôt", "PLUS TARD", "Aucune IA ne cherche", "examens à trier"]),
    ],
)
def test_the_page_says_in_words_who_gains_and_who_pays(
    language: Language, said: list[str], scenario: Path, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    done = call(scenario, "--report", file, "--language", language)
    assert done.exit_code == 0, done.output
    page = file.read_text()
    for words in said:
        assert words in page
    assert page.count("<svg") == 2
    assert f'<html lang="{language}">' in page
    # One file that needs no network, and no name of a scenario that the page takes for its own.
    assert "<b>night" not in page
    assert "<clot>" not in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)


def test_both_languages_have_the_same_texts_and_places() -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(part) for key, part in value.items()}
        if isinstance(value, list):
            return [shape(part) for part in value]
        return sorted(re.findall(r"\{(\w+)\}", value))

    assert shape(Words("en").text) == shape(Words("fr").text)


def test_numbers_are_written_as_the_language_writes_them() -> None:
    assert Words("en").number(1234.5) == "1,234"
    assert Words("fr").number(1234.5) == "1\u202f234"
    assert Words("fr").number(2.55) == "2,5"
    assert Words("fr").percent(0.25) == "25\u202f%"
    assert Words("en").number(None) == "–"


def test_a_difference_inside_its_interval_is_called_none() -> None:
    words = Words("en")
    assert words.difference({"value": 1.0, "half_width": 2.0}).text == "none"
    assert words.difference({"value": -3.0, "half_width": 2.0}).text == "3.0 min later"


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_the_chart_is_a_file(ending: str, scenario: Path, tmp_path: Path) -> None:
    file = tmp_path / f"chart{ending}"
    assert call(scenario, "--plot", file).exit_code == 0
    assert file.stat().st_size > 5000


def test_a_page_is_the_same_each_time(scenario: Path) -> None:
    result = result_of(scenario)
    assert as_page(result, "fr") == as_page(result, "fr")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Usage"),
        (["SCENARIO", "--qucad", "x.json"], 2, "say which"),
        (["SCENARIO", "--compare", "fastest"], 1, "no policy is called 'fastest'"),
        (["SCENARIO", "--plot", "chart.doc"], 1, ".png or .svg"),
        (["SCENARIO", "--seed", "-1"], 2, "seed"),
        (["missing.toml"], 1, "missing.toml"),
        (["from-history", "missing.csv"], 1, "missing.csv"),
        (["--qucad", "SCENARIO"], 1, "is no JSON"),
    ],
)
def test_wrong_use_is_one_line_that_says_what(
    words: list[str], code: int, message: str, scenario: Path
) -> None:
    done = call(*(str(scenario) if word == "SCENARIO" else word for word in words))
    assert done.exit_code == code
    assert message in done.output


@pytest.mark.slow
def test_qucad_answers_in_the_shape_of_the_reference(tmp_path: Path) -> None:
    body = json.loads(QUCAD.read_text())
    wanted = [one for one in body["scenarios"] if one["id"] == "P30"]
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"scenarios": wanted}))
    (found,) = result_of("--qucad", file, "--discipline", "non-preemptive")["scenarios"]
    reference = wanted[0]["exact"]["non-preemptive"]["with_cadt"]
    assert found["id"] == "P30"
    assert found["source"] == "exact"
    assert found["with_cadt"]["diseased"] == pytest.approx(reference["diseased"], abs=1e-5)
    for one in (found["exact"], found["simulated"]):
        assert {"without_cadt", "with_cadt", "time_saving_diseased", "source"} <= set(one)
        assert set(one["with_cadt"]) == set(reference)
    assert found["simulated"]["ci95_halfwidth"]["with_cadt"]["diseased"] > 0


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*-*.toml")), ids=lambda path: path.stem)
def test_each_example_runs(example: Path, tmp_path: Path) -> None:
    short = re.sub(r"(?m)^(days|replications) = .*", r"\1 = 2", example.read_text())
    (tmp_path / "policy.toml").write_text((EXAMPLES / "policy.toml").read_text())
    file = tmp_path / example.name
    file.write_text(short)
    assert result_of(file)["studies"] > 300


@pytest.mark.slow
def test_the_simulator_needs_neither_database_nor_web_nor_torch() -> None:
    code = (
        "import sys, worklist.simulate.commands, worklist.simulate.twin, worklist.simulate.fit, "
        "worklist.simulate.report, worklist.simulate.qucad.model, worklist.simulate.scenario_file\n"
        "bad = {'sqlmodel', 'sqlalchemy', 'fastapi', 'torch', 'faust', 'psycopg', 'matplotlib'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
