"""`vigie models` and `vigie evaluate` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.triage.decoding.heads import MakeCt, stack
from tests.triage.evaluation.pictures import labelled
from tests.triage.judging.whole_heads import sent
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
    assert "no eligibility is applied" in result["outside_intended_use"]
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
    assert done.stderr.startswith("labels.csv, line 5: 3.png: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_plot_that_cannot_be_drawn_is_refused_before_the_work(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*words(tmp_path), "--plot", str(tmp_path / "plot.bmp")])
    assert done.exit_code == 2
    assert "plot.bmp" in done.stderr


def test_a_plot_in_a_folder_that_is_not_there_is_refused_before_the_work(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*words(tmp_path), "--plot", str(tmp_path / "none" / "a.png")])
    assert done.exit_code == 2
    assert f"{tmp_path / 'none'}: no such folder" in done.stderr


def test_explain_says_which_rule_decided(tmp_path: Path, make_ct: MakeCt) -> None:
    for number, dataset in enumerate(stack(make_ct, 24)):
        if number == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        if number == 10:
            dataset.ConvolutionKernel = "Hr59"
        dataset.save_as(tmp_path / f"{number}", enforce_file_format=True)
    run = CliRunner().invoke(app, ["models", "explain", str(tmp_path)])
    assert run.exit_code == 0, run.output
    chest, head = run.stdout.split("head-ct-ich: ")
    assert "not analysed (outside_intended_use_modality)" in chest
    assert "24 x left out, outside_intended_use_modality (modality: CT)" in chest
    assert head.splitlines() == [
        "read, and will be not analysed (out_of_distribution, by the skull that is not seen)",
        "  22 of 23 images read, 115 mm, largest gap 10 mm where 5 mm is usual",
        "  unlike the images that it learned from with a probability of 0.45",
        "  the body is 96 mm along its longer side (70 to 280 mm are asked for)",
        "  a skull is seen in 0 of 22 images (20 mm of a stack are asked for)",
        "  22 x eligible (body part: head)",
        "  1 x left out, outside_intended_use_image (image type: localizer)",
        "  1 x left out, outside_intended_use_image (kernel: HR59)",
    ]


def test_explain_speaks_of_every_stack(tmp_path: Path, make_ct: MakeCt) -> None:
    head, other = sent(make_ct), sent(make_ct)
    for number, dataset in enumerate(head + other):
        dataset.AcquisitionNumber = 1 + (number >= len(head))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        if number >= len(head):  # a body three times as large
            dataset.PixelSpacing = [3 * float(side) for side in dataset.PixelSpacing]
        dataset.save_as(tmp_path / f"{number}", enforce_file_format=True)
    words = ["models", "explain", str(tmp_path), "--package", "head-ct-ich"]
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    by_size = "not analysed (out_of_distribution, by the size of the body)"
    assert lines[0] == f"head-ct-ich: read, and will be flagged or {by_size}"
    sizes = [line for line in lines if "along its longer side" in line]
    assert ["stack 1 of 2" in sizes[0], "stack 2 of 2" in sizes[1]] == [True, True]


def test_explain_says_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"noise")
    words = ["models", "explain", str(tmp_path / "x"), "--package", "head-ct-ich"]
    run = CliRunner().invoke(app, words)
    assert run.stdout.splitlines() == [
        "head-ct-ich: not analysed (undecodable_pixels)",
        "  1 x unreadable (undecodable_pixels)",
    ]
    words[2] = str(tmp_path / "nowhere")
    assert CliRunner().invoke(app, words).exit_code == 1


def test_explain_says_of_a_folder_without_a_file_that_no_series_is_there(tmp_path: Path) -> None:
    (tmp_path / "SE000001").mkdir()
    words = ["models", "explain", str(tmp_path), "--package", "head-ct-ich"]
    run = CliRunner().invoke(app, words)
    assert (run.exit_code, run.stdout) == (1, "")
    assert f"{tmp_path}: no file is there" in run.stderr


def test_explain_says_of_an_image_of_a_few_pixels_that_it_is_none(
    tmp_path: Path, make_ct: MakeCt
) -> None:
    dataset = make_ct(4, 4)
    dataset.BodyPartExamined = "HEAD"
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    words = ["models", "explain", str(tmp_path), "--package", "head-ct-ich"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("head-ct-ich: not analysed (bad_geometry)")


@pytest.mark.parametrize("words", [["list"], ["check"], ["explain", "."], ["compile"]])
def test_a_folder_without_packages_is_said_and_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("VIGIE_MODELS", str(tmp_path))
    run = CliRunner().invoke(app, ["models", *words])
    assert run.exit_code == 1
    assert f"{tmp_path}: no package is there (VIGIE_MODELS)" in run.stderr


def test_a_package_that_is_not_there_says_where_the_names_are() -> None:
    done = CliRunner().invoke(app, ["models", "card", "no-such-package"])
    assert done.exit_code == 1
    assert done.stderr == "no-such-package: no such package: vigie models list has their names\n"
