"""`vigie check` names each mistake of a site, and what else would keep it from starting."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.check import check_site
from triage.packages.load import load_package
from triage.settings import shipped_models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "infra" / "site", tmp_path / "site"))


def test_the_example_site_is_sound(site: Path) -> None:
    assert check_site(site, {}) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (line,) = check_site(tmp_path / "nowhere", {})
    assert "nowhere" in line
    assert "VIGIE_SITE" in line


def test_each_mistake_has_a_line_that_names_its_file(site: Path) -> None:
    policy = site / "policy.toml"
    policy.write_text(
        policy.read_text()
        .replace("[classes.unknown]", "[classes.other]")
        .replace('mode = "vigie"', 'mode = "best"')
    )
    (site / "readers.toml").write_text(
        '[[reader]]\nname = "dr.example"\nrole = "king"\nsha256 = "00"\n'
    )
    found = check_site(site, {})
    assert any(line.startswith("policy.toml: mode:") for line in found)
    assert any(line.startswith("readers.toml:") for line in found)
    assert not any(line.count("\n") for line in found)


@pytest.mark.parametrize("content", [b"= no toml", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(site: Path, content: bytes) -> None:
    (site / "policy.toml").write_bytes(content)
    (line,) = check_site(site, {})
    assert line.startswith("policy.toml:")


def test_a_missing_policy_is_named(site: Path) -> None:
    (site / "policy.toml").unlink()
    (line,) = check_site(site, {})
    assert line.startswith("policy.toml: missing")


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("models.toml", "[head-ct]\nthreshold = 0.2\n", "head-ct: no such package"),
        ("models.toml", "[head-ct-ich]\nthreshold = 1.2\n", "head-ct-ich.threshold"),
        ("models.toml", "[head-ct-ich]\nthreshold = 0\n", "head-ct-ich.threshold"),
        ("models.toml", '[head-ct-ich]\nthreshold = "low"\n', "head-ct-ich.threshold"),
        ("models.toml", "[head-ct-ich]\nthreshold = nan\n", "head-ct-ich.threshold"),
        ("models.toml", "[head-ct-ich]\ncut = 0.2\nthreshold = 0.2\n", "head-ct-ich.cut"),
        ("models.toml", "[head-ct-ich]\n", "threshold, threshold_of_one_image or prevalence"),
        ("models.toml", "[head-ct-ich]\nprevalence = 0.1\n", "head-ct-ich.prevalence"),
        ("models.toml", "threshold = 0.2\n", "threshold"),
        ("models.toml", "[head-ct-ich\n", "no TOML"),
        ("policy.toml", "head-ct", "live: head-ct: no such package"),
    ],
)
def test_what_a_site_says_of_its_packages_is_checked(
    site: Path, file: str, content: str, word: str
) -> None:
    if file == "policy.toml":
        content = (site / file).read_text().replace("live = []", f'live = ["{content}"]')
    (site / file).write_text(content)
    (line,) = check_site(site, {})
    assert line.startswith(f"{file}: ")
    assert word in line


def live(site: Path) -> None:
    file = site / "policy.toml"
    file.write_text(file.read_text().replace("live = []", 'live = ["head-ct-ich"]'))


def test_a_live_package_needs_a_measurement_of_the_site_s_own_or_a_reason(site: Path) -> None:
    live(site)
    (line,) = check_site(site, {})
    assert line.startswith("live.toml: live: head-ct-ich: measure it on images of your own")
    (site / "live.toml").write_text('[head-ct-ich]\nreason = "watched for a month"\n')
    assert check_site(site, {}) == []


@pytest.mark.parametrize("same", [True, False])
def test_what_was_measured_must_be_the_network_that_is_served(site: Path, same: bool) -> None:
    live(site)
    network = load_package(shipped_models() / "head-ct-ich").network_sha256 if same else "0" * 64
    measured = json.dumps({"package": "head-ct-ich", "n": 80, "network_sha256": network})
    (site / "own.json").write_text(measured)
    sha256 = hashlib.sha256(measured.encode()).hexdigest()
    (site / "live.toml").write_text(
        f'[head-ct-ich]\nevaluation = "own.json"\nsha256 = "{sha256}"\n'
    )
    found = check_site(site, {})
    assert found == ([] if same else ["live.toml: head-ct-ich: own.json measured another network"])


def test_a_package_that_nobody_vouches_for_is_named(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Path(shutil.copytree(shipped_models(), tmp_path / "models"))
    manifest = models / "head-ct-ich" / "model.toml"
    manifest.write_text(manifest.read_text().replace("Not a diagnosis", "A diagnosis"))
    monkeypatch.setenv("VIGIE_MODELS", str(models))
    (line,) = check_site(site, {"VIGIE_MODELS": str(models)})
    assert line.startswith("VIGIE_MODELS: head-ct-ich: is not signed")


def test_thresholds_of_packages_that_are_here_are_sound(site: Path) -> None:
    (site / "models.toml").write_text(
        "[head-ct-ich]\nthreshold = 0.2\n[chest-opacity]\nthreshold = 0.9\n"
    )
    assert check_site(site, {}) == []
    (site / "models.toml").unlink()  # a site need not say anything
    assert check_site(site, {}) == []


@pytest.mark.parametrize(
    "content", ["[head-ct]\nthreshold = 0.2\n", "[head-ct-ich]\nthreshold = 2.0\n"]
)
def test_triage_does_not_start_with_a_wrong_threshold_and_says_so_in_a_line(
    site: Path, content: str
) -> None:
    (site / "models.toml").write_text(content)
    done = vigie("triage", VIGIE_SITE=str(site), VIGIE_KAFKA="127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("models.toml: head-ct")
    assert done.stderr.count("\n") == 1
    assert (
        vigie("triage", VIGIE_SITE=str(site / "nowhere"), VIGIE_KAFKA="127.0.0.1:1").returncode == 1
    )


def test_settings_are_checked_and_misspelt_ones_named(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIE_STORE_MIN_FREE", "7")
    found = check_site(site, {"VIGIE_KAFKA_MOCKS": "1", "VIGIE_CORPORA": "x", "OTHER": ""})
    assert sum(line.startswith("VIGIE_STORE_MIN_FREE:") for line in found) == 1
    assert any("VIGIE_KAFKA_MOCKS" in line and "VIGIE_KAFKA_MOCK " in line for line in found)
    assert len(found) == 2


def vigie(*words: str, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(part for part in (path, str(ROOT)) if part)
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd="/",
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )


def test_the_program_says_what_is_wrong_and_exits_1(site: Path) -> None:
    assert vigie("check", str(site)).returncode == 0
    (site / "policy.toml").unlink()
    done = vigie("check", VIGIE_SITE=str(site))
    assert done.returncode == 1
    assert "policy.toml" in done.stderr
    assert done.stdout == ""


def test_it_refuses_to_start_when_another_module_answers_to_one_of_our_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "triage").mkdir()
    (tmp_path / "triage" / "__init__.py").touch()
    done = vigie("--version", path=str(tmp_path))
    assert done.returncode == 1
    assert "triage" in done.stderr
