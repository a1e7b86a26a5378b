"""Worked examples: a checkpoint, a bundle and a graph become packages that score as before."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread
from typer.testing import CliRunner

from tests.triage.importing import originals
from tests.triage.packages import outside
from triage.importing.checkpoint import ImportRefused, read_checkpoint
from triage.importing.draft import Draft, read_draft
from triage.importing.package import import_model
from triage.inference.opening import open_network
from triage.inputs.prepare import prepare
from triage.model_commands import app
from triage.packages.load import load_package
from triage.packages.manifest import MANIFEST
from triage.phantoms.files import film_file
from triage.phantoms.series import phantom_series

EXAMPLES = Path(__file__).parents[3] / "infra" / "examples" / "models"


@pytest.fixture(scope="module")
def chest() -> torch.nn.Module:
    return originals.settled(originals.DenseNet())


@pytest.fixture(scope="module")
def head() -> torch.nn.Module:
    return originals.settled(originals.MonaiDenseNet(2, 2, 3))


@pytest.fixture
def checkpoint(chest: torch.nn.Module, tmp_path: Path) -> Path:
    """A whole module, as TorchXRayVision publishes its weights."""
    with originals.as_torchxrayvision():
        torch.save(chest, tmp_path / "chest.pt")
    return tmp_path / "chest.pt"


@pytest.fixture
def bundle(head: torch.nn.Module, tmp_path: Path) -> Path:
    """A MONAI bundle with the parts that matter."""
    folder = tmp_path / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    definition = {
        "_target_": "DenseNet121",
        "spatial_dims": 3,
        "in_channels": "@channels",
        "out_channels": 2,
    }
    configuration = {"channels": 2, "network_def": definition, "device": "$torch.device('cpu')"}
    classes = {"0": "none", "1": "haemorrhage"}
    metadata = {"network_data_format": {"outputs": {"pred": {"channel_def": classes}}}}
    (folder / "configs" / "inference.json").write_text(json.dumps(configuration))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(head.state_dict(), folder / "models" / "model.pt")
    return folder


def onnx_draft(**more: object) -> Draft:
    told = outside.document()
    wanted = ("name", "version", "title", "intended_use", "licence", "eligible", "training")
    codes = {"code": "first", "label": "First", "radlex": "RID1", "snomed": "12345678"}
    return Draft.model_validate(
        {name: told[name] for name in wanted}
        | {"input": told["input"], "classes": 3}
        | {"outputs": [codes | {"source": 0, "threshold": 0.5}]}
        | more
    )


@pytest.mark.slow
def test_a_torchxrayvision_checkpoint_scores_as_before_with_its_authors_thresholds(
    checkpoint: Path, chest: torch.nn.Module, tmp_path: Path
) -> None:
    draft = read_draft(EXAMPLES / "torchxrayvision.toml")
    package = import_model(checkpoint, draft, tmp_path / "models")
    frames, _ = phantom_series(np.random.default_rng(5), "chest_film")
    images = prepare(frames, package.input)
    assert -1024 <= images.min() < -800
    assert 500 < images.max() <= 1024
    with torch.inference_mode():
        expected = chest(torch.from_numpy(images)).numpy()[:, [3, 7]]
    np.testing.assert_allclose(
        open_network(package, device="cpu").scores(images), expected, rtol=1e-3, atol=1e-3
    )
    scales = [(one.image.threshold, one.series.threshold) for one in package.manifest.outputs]
    assert scales == [(0.009812, 0.009812), (0.103247, 0.103247)]
    assert all(entry.outcome for entry in package.manifest.constancy)


@pytest.mark.slow
def test_a_monai_bundle_scores_volumes_as_before(
    bundle: Path, head: torch.nn.Module, tmp_path: Path
) -> None:
    package = import_model(bundle, read_draft(EXAMPLES / "monai.toml"), tmp_path / "models")
    frames, _ = phantom_series(np.random.default_rng(5), "head_ct")
    images = prepare(frames, package.input)
    assert images.shape == (1, 2, 32, 64, 64)
    with torch.inference_mode():
        none, bleeds = head(torch.from_numpy(images)).numpy()[0]
    # Of two classes that exclude each other: the logit of the second's probability.
    np.testing.assert_allclose(
        open_network(package, device="cpu").scores(images), [bleeds - none], rtol=1e-3, atol=1e-3
    )


def test_an_onnx_graph_becomes_a_package_that_passes_its_checks_and_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "means.onnx").write_bytes(outside.onnx())
    package = import_model(tmp_path / "means.onnx", onnx_draft(), tmp_path / "models")
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("VIGIE_SITE", str(site))
    monkeypatch.setenv("VIGIE_MODELS", str(tmp_path / "models"))
    run = CliRunner()
    refused = run.invoke(app, ["models", "check"])
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "is not signed" in refused.stderr
    keys = run.invoke(app, ["models", "key", str(tmp_path / "lab.pem")]).stdout
    (site / "model_keys.toml").write_text(keys)
    signed = run.invoke(app, ["models", "sign", package.name, "--key", str(tmp_path / "lab.pem")])
    assert signed.exit_code == 0, signed.stderr
    checked = run.invoke(app, ["models", "check"])
    assert checked.stdout == "theirs: good; lab vouches for it\n"


def test_a_package_whose_references_score_otherwise_is_neither_good_nor_signed(
    tmp_path: Path,
) -> None:
    (tmp_path / "means.onnx").write_bytes(outside.onnx())
    package = import_model(tmp_path / "means.onnx", onnx_draft(), tmp_path / "models")
    text = (package.folder / MANIFEST).read_text()
    expected = f"expected = [{package.manifest.constancy[0].expected[0]}]"
    assert expected in text
    (package.folder / MANIFEST).write_text(text.replace(expected, "expected = [7.0]"))
    CliRunner().invoke(app, ["models", "key", str(tmp_path / "lab.pem")])
    words = ["models", "sign", str(package.folder), "--key", str(tmp_path / "lab.pem")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "from the expected one: not signed" in refused.stderr


def test_promise_8_a_reference_is_kept_without_its_patient(tmp_path: Path) -> None:
    (tmp_path / "means.onnx").write_bytes(outside.onnx())
    (tmp_path / "film.dcm").write_bytes(film_file(3, 256))
    film = dcmread(tmp_path / "film.dcm")
    film.PatientName, film.PatientID, film.AccessionNumber = "WREN^ANNA", "P-4711", "ACC-99"
    film.add_new(0x00091001, "LO", "WREN again")
    film.save_as(tmp_path / "film.dcm")
    package = import_model(
        tmp_path / "means.onnx", onnx_draft(), tmp_path / "models", [tmp_path / "film.dcm"]
    )
    (entry,) = package.manifest.constancy
    (name,) = entry.files
    kept = (package.folder / name).read_bytes()
    assert not any(word in kept for word in (b"WREN", b"4711", b"ACC-99"))
    assert str(film.SOPInstanceUID).encode() not in kept
    assert entry.outcome == ("flagged" if entry.expected[0] >= 0 else "not_flagged")


class Evil:
    """What a pickle does when it is opened without care."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(
    how: str, tmp_path: Path
) -> None:
    file, trace = tmp_path / "evil.pt", tmp_path / "was-here"
    if how == "torch":
        torch.save({"state_dict": Evil(trace)}, file)
    else:
        file.write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(ImportRefused, match=r"evil\.pt: "):
        read_checkpoint(file)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"_target_": "UNet"}, "UNet: not one of"),
        ({"_target_": "$__import__('os').system('true')"}, "expressions are not evaluated"),
        ({"in_channels": "$1 + 1"}, "expressions are not evaluated"),
        ({"in_channels": "@nothing"}, "no plain value"),
        ({"growth_rate": 16}, "growth_rate is 16, ours is 32"),
        ({"surprise": 1}, "surprise: an argument that is not known"),
        ({"in_channels": 1}, "2 channels in 3 dimensions; the network reads 1 in 3"),
    ],
)
def test_a_bundle_whose_network_is_not_ours_to_build_is_refused_in_one_line(
    bundle: Path, change: dict[str, object], why: str, tmp_path: Path
) -> None:
    file = bundle / "configs" / "inference.json"
    configuration = json.loads(file.read_text())
    configuration["network_def"] |= change
    file.write_text(json.dumps(configuration))
    with pytest.raises(ImportRefused, match=r"^[^\n]*$") as refused:
        import_model(bundle, read_draft(EXAMPLES / "monai.toml"), tmp_path / "models")
    assert why in str(refused.value)
    assert not (tmp_path / "models" / "head-monai").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"thresholds": ""}, "no threshold: give one, or name the weights"),
        ({"thresholds": "kaggle"}, "Pneumothorax: the weights kaggle were not trained on it"),
    ],
)
@pytest.mark.slow
def test_a_class_without_a_published_threshold_needs_one(
    checkpoint: Path, change: dict[str, object], why: str, tmp_path: Path
) -> None:
    draft = read_draft(EXAMPLES / "torchxrayvision.toml").model_copy(update=change)
    with pytest.raises(ImportRefused, match=why):
        import_model(checkpoint, draft, tmp_path / "models")


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    (tmp_path / "means.onnx").write_bytes(outside.onnx())
    made = import_model(tmp_path / "means.onnx", onnx_draft(), tmp_path / "models")
    before = (made.folder / MANIFEST).read_bytes()
    with pytest.raises(ImportRefused, match="is there already"):
        import_model(tmp_path / "means.onnx", onnx_draft(), tmp_path / "models")
    assert (load_package(made.folder).folder / MANIFEST).read_bytes() == before


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    run = CliRunner()
    draft = tmp_path / "draft.toml"
    draft.write_text("name = 1\n")
    words = ["models", "import", str(tmp_path / "bad.onnx"), "--to", str(tmp_path / "models")]
    done = run.invoke(app, [*words, "--draft", str(draft)])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    with pytest.raises(Exception, match="does not run"):
        import_model(tmp_path / "bad.onnx", onnx_draft(), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
