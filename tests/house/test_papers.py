"""What is written about the house is true as far as a machine can tell: links, settings, metrics,
commands.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.cli import COMMANDS
from tests.infra.metric_names import declared
from triage.settings import TriageSettings
from worklist.settings import WorklistSettings

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "infra" / "decisions").glob("[0-9]*.md"))
PAPERS = [
    ROOT / "CHANGELOG.md",
    ROOT / "infra" / "docker" / "README.md",
    *DECISIONS,
    *sorted((ROOT / "infra" / "runbooks").glob("*.md")),
]

each_paper = pytest.mark.parametrize(
    "path", PAPERS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


@each_paper
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@each_paper
def test_settings_and_metrics_exist(path: Path) -> None:
    text = path.read_text()
    settings = {
        f"VIGIE_{name.upper()}"
        for name in WorklistSettings.model_fields | TriageSettings.model_fields
    }
    assert set(re.findall(r"\bVIGIE_[A-Z_]+[A-Z]", text)) <= settings
    metrics = set(re.findall(r"`(vigie_[a-z_]+)", text))
    assert metrics <= declared().keys()


@each_paper
def test_commands_exist(path: Path) -> None:
    for command in re.findall(r"`vigie ([a-z]+)", path.read_text()):
        assert command in COMMANDS


@each_paper
def test_files_of_ours_that_are_named_exist(path: Path) -> None:
    for name in re.findall(
        r"`((?:streams|triage|worklist|infra|tests)/[a-z0-9_./-]+\.(?:py|yml|lock|toml|json))`",
        path.read_text(),
    ):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_is_short_numbered_and_listed(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 30
    assert text.startswith(f"# {path.name[:4]}. ")
    assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))
    assert f"({path.name})" in (path.parent / "README.md").read_text()


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
