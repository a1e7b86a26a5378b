"""The benches run, say what they measured in one form, and refuse a name that they do not know."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.bench import catalogue
from infra.bench.hospital import database, events
from infra.bench.measure import compare
from infra.bench.worklist import BATCH, record
from infra.cli import app as program
from infra.commands import app
from streams.identity.seal import new_ring
from triage.bench.model import model
from triage.packages.load import find_packages
from triage.settings import TriageSettings

FIELDS = {"name", "what", "ours", "reference", "ratio", "unit", "runs", "machine"}


def test_an_unknown_name_is_wrong_usage() -> None:
    done = CliRunner().invoke(app, ["bench", "coffee"])
    assert done.exit_code == 2
    assert "coffee" in done.stderr


def test_pairs_are_by_turns_and_the_ratio_is_of_pairs() -> None:
    order: list[str] = []

    def side(name: str, rate: float) -> float:
        order.append(name)
        return rate

    result = compare("x", "what", "u/s", lambda: side("o", 50), lambda: side("r", 100), runs=3)
    assert "".join(order) == "or" + "or" + "ro" + "or"
    assert (result.ours, result.reference, result.ratio, result.runs) == (50, 100, 0.5, 3)


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("worklist", 2),
        ("top50", 3),
        ("claim", 2),
        ("bad-numbers", 1),
        ("twin", 1),
        ("hl7", 2),
        pytest.param("mllp", 3, marks=[pytest.mark.slow, pytest.mark.needs("java", "mvn")]),
        pytest.param("cstore", 2, marks=pytest.mark.needs("storescu", "g++")),
        pytest.param("image-to-rank", 1, marks=[pytest.mark.slow, pytest.mark.alone]),
    ],
)
def test_a_bench_measures_both_sides(name: str, cases: int, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["bench", name, "--quick", "--json", str(tmp_path / "bench.json")]
    )
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "bench.json").read_text())
    assert len({result["what"] for result in results}) == len(results) == cases
    for result in results:
        assert set(result) == FIELDS
        assert result["name"] == name
        assert result["ratio"] > 0


def test_the_list_asks_and_writes_no_more_than_it_did() -> None:
    """Slower SQL would flatter the ratio: who raises these numbers says why."""
    ring = new_ring()
    taken = events(100, ring, "w")
    with database() as base:
        done, rows = record(base, ring, [taken[:BATCH], taken[BATCH:]])
    assert len(done) == 2
    assert max(map(len, done)) <= 24
    assert rows <= 7.2 * len(taken)


def test_the_model_bench_says_how_each_package_is_served_and_how_far_from_float32() -> None:
    with model(quick=True) as pairs:
        assert len(pairs) == 2 * len(find_packages(TriageSettings().models))
        for eager, limit in zip(pairs[::2], pairs[1::2], strict=True):
            assert re.search(
                r"served \(cpu, \w+, (compiled|eager .*)\) .*; logits within [0-9.e-]+$", eager.what
            )
            assert re.search(r"matrix product .*, [0-9.]+ GFLOP each image$", limit.what)
            assert min(limit.ours(), limit.reference()) > 0


def test_results_have_stdout_to_themselves() -> None:
    done = CliRunner().invoke(program, ["bench", "screening", "--quick", "--json", "-"])
    assert done.exit_code == 0, done.output
    assert {one["name"] for one in json.loads(done.stdout)} == {"screening"}


def test_the_names_are_those_of_the_design() -> None:
    design = (
        "mllp, hl7, cstore, decode, model, screening, image-to-rank, worklist, pipeline, top50, "
        "claim, bad-numbers, sse, twin"
    )
    assert set(catalogue.NAMES) <= set(re.split(", ", design))
