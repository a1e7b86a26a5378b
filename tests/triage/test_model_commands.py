"""`vigie models` and `vigie evaluate` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.triage.evaluation.pictures import labelled
from triage.model_commands import app

NAMES = ("chest-opacity", "head-ct-ich")


def words(folder: Path) -> list[str]:
    """The arguments that evaluate six pictures of noise."""
    labels = str(labelled(folder))
    return ["evaluate", "head-ct-ich", "--labels", labels, "--images", str(folder)]


def test_evaluate_from_the_command_line(tmp_path: Path) -> None:
    labels, plot = labelled(tmp_path), tmp_path / "plot.png"
    run = CliRunner().invoke(
        app,
        [
            "evaluate",
            "chest-opacity",
            "--labels",
            str(labels),
            "--images",
            str(tmp_path),
            "--json",
            "--plot",
            str(plot),
        ],
    )
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert {
        "auroc",
        "auroc_ci95",
        "sensitivity",
        "specificity",
        "ece",
        "n",
        "abstained",
    } <= result.keys()
    assert (result["n"], result["patients"]) == (6, 3)
    assert "not checked" in result["outside_intended_use"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_models_list_and_check() -> None:
    run = CliRunner().invoke(app, ["models", "list", "--json"])
    assert [item["name"] for item in json.loads(run.stdout)] == sorted(NAMES)
    assert CliRunner().invoke(app, ["models", "check"]).exit_code == 0


def test_a_threshold_is_measured_before_it_is_set(tmp_path: Path) -> None:
    arguments = words(tmp_path)
    found = [
        json.loads(CliRunner().invoke(app, [*arguments, "--json", "--threshold", t]).stdout)
        for t in ("0.000001", "0.999999")
    ]
    assert [(one["sensitivity"], one["specificity"]) for one in found] == [(1, 0), (0, 1)]
    assert [one["threshold"] for one in found] == [0.000001, 0.999999]
    assert found[0]["auroc"] == found[1]["auroc"]
    assert found[0]["sensitivity_ci95"] == [1, 1]


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n cut", b"\0" * 128 + b"DICM" + b"no dicom", b"GIF89a"]
)
def test_a_damaged_file_ends_it_with_one_line_that_names_file_and_line(
    content: bytes, tmp_path: Path
) -> None:
    arguments = words(tmp_path)
    (tmp_path / "3.png").write_bytes(content)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("line 5: 3.png: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_plot_that_cannot_be_drawn_is_refused_before_the_work(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*words(tmp_path), "--plot", str(tmp_path / "plot.bmp")])
    assert done.exit_code == 2
    assert "plot.bmp" in done.stderr
