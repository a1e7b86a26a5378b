"""What is written about the house is true as far as a machine can tell: links, settings, metrics,
commands, files, and the pages that are written from the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from infra import settings
from infra.cli import COMMANDS, app
from infra.docs import build, hl7_profile
from tests.house.test_house import committed, short, tree
from tests.infra.metric_names import declared

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "infra" / "decisions").glob("[0-9]*.md"))
_LEFT_OUT = {".venv", "node_modules", "shared"}  # not ours, or not of the repository; large
_TOPS = [path for path in ROOT.iterdir() if path.name not in _LEFT_OUT]
PAPERS = sorted(
    path
    for top in _TOPS
    for path in ([top] if top.suffix == ".md" else top.rglob("*.md"))
    if not _LEFT_OUT & set(path.relative_to(ROOT).parts)
)
_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _anchors(path: Path) -> set[str]:
    """What a link into `path` may name after #, as hosts of repositories make it of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def _dead(path: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if (
            not there.exists()
            or not there.is_relative_to(ROOT)
            or (anchor and anchor not in _anchors(there))
        ):
            yield f"{short(path)}: {target}"


def test_links_lead_somewhere() -> None:
    assert [target for path in PAPERS for target in _dead(path)] == []


def _said(pattern: str) -> Iterator[tuple[str, str]]:
    """Each match of `pattern` in the papers, and whose it is."""
    for path in PAPERS:
        for found in re.finditer(pattern, path.read_text(), re.MULTILINE):
            yield found.group(found.lastindex or 0), short(path)


def test_settings_and_metrics_exist() -> None:
    named = dict(_said(r"\bVIGIE_[A-Z_]+[A-Z]"))
    assert {name: named[name] for name in named.keys() - settings.known() - settings.OF_TESTS} == {}
    known = declared().keys() | {re.sub("_(bucket|sum|count)$", "", name) for name in declared()}
    named = dict(_said(r"`(vigie_[a-z_]+)"))
    assert {name: named[name] for name in named.keys() - known} == {}


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """``a | b | c rest`` → the alternatives and the rest."""
    names, rest = words[:1], words[1:]
    while len(rest) > 1 and rest[0] == "|":
        names, rest = [*names, rest[1]], rest[2:]
    return names, rest


def test_commands_and_their_options_exist() -> None:
    program: Any = typer.main.get_command(app)
    said = dict(_said(r"(?:`|^)(?:\.venv/bin/)?vigie ([^`\n#]+)"))
    commands = {name: program.get_command(typer.Context(program), name) for name in COMMANDS}
    for line, paper in said.items():
        names, rest = _split(line.split())
        if names[0].startswith("-"):
            continue
        assert set(names) <= COMMANDS.keys(), (paper, line)
        found = [commands[name] for name in names]
        if len(found) == 1 and hasattr(found[0], "commands") and rest:
            below, rest = _split(rest)
            assert set(below) <= found[0].commands.keys(), (paper, line)
            found = [found[0].commands[name] for name in below]
        known = {option for command in found for param in command.params for option in param.opts}
        given = {word.strip("[],.") for word in rest if word.startswith(("--", "[--"))}
        assert given <= known, (paper, line)


def test_make_targets_exist() -> None:
    for named, paper in _said(r"(?:`|^)make ([a-z]+(?: \| [a-z]+)*)"):
        assert set(named.split(" | ")) <= _TARGETS, (paper, named)


def test_files_of_ours_that_are_named_exist() -> None:
    ours = r"`((?:streams|triage|worklist|infra|tests|\.ci|\.github)/[a-zA-Z0-9_./-]*)"
    assert [(paper, name) for name, paper in _said(ours) if not (ROOT / name).exists()] == []


def test_names_that_are_said_to_be_in_a_file_are_there() -> None:
    """`file.py: name`"""
    missing = []
    for said, paper in _said(r"`([a-z_/]+\.py: \w+)`"):
        file, name = said.split(": ")
        nodes = ast.walk(tree(ROOT / file))
        if name not in {getattr(node, "name", getattr(node, "id", "")) for node in nodes}:
            missing.append((paper, said))
    assert missing == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_is_short_numbered_and_listed(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 30
    assert text.startswith(f"# {path.name[:4]}. ")
    assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))
    assert f"({path.name})" in (path.parent / "README.md").read_text()


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_pages_that_are_written_from_the_code_are_fresh() -> None:
    pages = {
        build.SETTINGS: build.settings_page(),
        build.METRICS: build.metrics_page(),
        **build.statements(),
        hl7_profile.PAGE: hl7_profile.page(),
    }
    stale = [short(path) for path, text in pages.items() if path.read_text() != text]
    assert stale == [], "write them anew: .venv/bin/python -m infra.docs.build"


def test_each_runbook_is_listed() -> None:
    folder = ROOT / "infra" / "runbooks"
    index = (folder / "README.md").read_text()
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([a-z-]+\.md)\)", index))


def test_no_file_cites_a_page_that_the_repository_does_not_have() -> None:
    cited = re.compile("DESI" + "GN")
    found = [path for path in committed() if path.suffix in {".py", ".md", ".toml", ".yml", ".sh"}]
    assert [path for path in found if cited.search(path.read_text())] == []


def test_the_readme_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_hosted_ci_runs_what_any_machine_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert commands[-1] == ".ci/run"
    assert not [command for command in commands if "make" in command or "pytest" in command]


@pytest.mark.parametrize("name", ["fault", "wish"])
def test_an_issue_template_asks_for_no_data_of_patients(name: str) -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text()
    assert {"name", "description", "body"} <= yaml.safe_load(text).keys()
    assert "No data of patients" in " ".join(text.split())


def _tests_under(path: Path) -> str:
    return "".join(f.read_text() for f in ([path] if path.is_file() else path.rglob("test_*.py")))


def test_each_promise_names_tests_that_bear_its_number() -> None:
    text = (ROOT / "infra" / "docs" / "architecture.md").read_text()
    found = set()
    for number, said in re.findall(r"^(\d+)\. (.*(?:\n   .*)*)", text, re.MULTILINE):
        tests = [_tests_under(ROOT / path) for path in re.findall(r"tests/[\w/.]+", said)]
        assert re.search(rf"def test_promise_{number}_", "".join(tests)), f"promise {number}"
        found.add(int(number))
    assert found == set(range(1, 11))


def test_each_setting_and_metric_has_its_sentence() -> None:
    fields = [item for house in settings.HOUSES for item in house.model_fields.items()]
    assert not [name for name, field in fields if not field.description]
    assert not [metric.name for metric in build.metrics() if not metric.says]


def test_the_readme_names_every_command_and_make_target() -> None:
    text = (ROOT / "README.md").read_text()
    commands, targets = (
        set(found[1].split(" | "))
        for found in (
            re.search(r"`vigie (demo \|[^`]+)`", text),
            re.search(r"`make (setup[^`]+)`", text),
        )
        if found
    )
    assert commands == COMMANDS.keys()
    assert targets == _TARGETS - {"help"}
