"""The house's own rules: short files, short functions, one broad except, sentences first, no
addresses, one direction.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "triage", "worklist", "infra")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LOCKS = sorted((ROOT / "infra" / "requirements").glob("*.lock"))

#: Migrations are written by a generator, and are never changed once they ran somewhere: their
#: functions may be long.
WRITTEN = [path for path in MODULES if "versions" not in path.parts]


@cache
def tree(path: Path) -> ast.Module:
    """`path`, parsed once."""
    return ast.parse(path.read_text())


def short(path: Path) -> str:
    """The name of `path` from the root."""
    return path.relative_to(ROOT).as_posix()


def committed() -> list[Path]:
    """The files of the repository; in an unpacked release, all that lie there."""
    git = shutil.which("git")
    done = (
        subprocess.run(
            [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if git
        else None
    )
    if done is None or done.returncode != 0:
        pytest.skip("no repository here")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_over_400_lines() -> None:
    lines = {short(path): len(path.read_text().splitlines()) for path in (*MODULES, *TESTS)}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_no_function_is_over_60_lines() -> None:
    long = [
        f"{short(path)}: {node.name}: {length}"
        for path in WRITTEN
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    ]
    assert long == []


def test_the_first_line_says_why_the_file_is_there() -> None:
    first = {short(path): path.read_text().split("\n", 1)[0] for path in MODULES}
    silent = [
        name
        for name, line in first.items()
        if not line.startswith(('"""', 'r"""')) or len(line.strip('r"')) <= 10
    ]
    assert silent == []


def _broad(path: Path) -> list[str]:
    """`except` without a type, with Exception or BaseException, that does not raise what it caught
    again.
    """
    found = []
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        names = (
            {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            if node.type
            else {"BaseException"}
        )
        again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if names & {"Exception", "BaseException"} and not again:
            found.append(f"{short(path)}:{node.lineno}")
    return found


def test_there_is_one_broad_except_and_it_is_in_settle() -> None:
    (only,) = [place for path in MODULES for place in _broad(path)]
    path, line = only.split(":")
    (settle,) = [
        node
        for node in ast.walk(tree(ROOT / path))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "settle"
    ]
    assert path == "streams/kafka/consume.py"
    assert settle.lineno < int(line) <= (settle.end_lineno or 0)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_hold_versions_and_hashes_and_no_address(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    assert not [
        line
        for line in lines
        if "://" in line
        or line.lstrip().startswith(("-i ", "--index", "--extra-index", "--find-links"))
    ]
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pins
    assert all(re.match(r"[a-z0-9._-]+==[^ ]+ ", line) for line in pins)
    assert sum("--hash=sha256:" in line for line in lines) >= len(pins)


def test_the_three_locks_are_there_and_base_has_no_torch() -> None:
    assert [lock.stem for lock in LOCKS] == ["base", "dev", "triage"]
    assert not re.search(r"^torch==", LOCKS[0].read_text(), re.MULTILINE)
    base, dev, triage = (
        {
            line.split(" ")[0]
            for line in lock.read_text().splitlines()
            if "==" in line[:60] and line[0] != " "
        }
        for lock in LOCKS
    )
    assert base <= triage <= dev  # a release runs what was tested


#: Words of an index's or a registry's address; written so that this file does not hold them itself.
_ADDRESS = re.compile(
    r"(?:index[-_]url|extra[-_]index|registry)\s*[=:]\s*[\"']?https?:"
    + "//|"
    + r"https?:/"
    + r"/[^\s\"'<>]*(?:/simple\b|pypi|npmjs|/maven2)"
)


def test_no_committed_file_names_an_index_or_a_registry() -> None:
    found = []
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if match := _ADDRESS.search(text):
            found.append(f"{path.relative_to(ROOT)}: {match.group(0)[:60]}")
    assert not found


def test_no_committed_file_names_this_machine() -> None:
    words = re.compile(
        "|".join(re.escape(f"/{top}/") + r"[a-z.]" for top in ("root", "work", "home"))
    )
    found = []
    for path in committed():
        if path.suffix in {".lock", ".svg", ".hl7"}:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if match := words.search(text):
            found.append(f"{path.relative_to(ROOT)}: {match.group(0)}")
    assert not found


def test_tests_have_no_init_files() -> None:
    assert not list(
        (ROOT / "tests").rglob("__init__.py")
    )  # mirrored folders would shadow the packages


def vigie(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    from infra.cli import COMMANDS

    shown = vigie("--help")
    assert shown.returncode == 0
    assert all(re.search(rf"\b{name}\b", shown.stdout) for name in COMMANDS)
    heavy = {"torch", "faust", "sqlalchemy", "fastapi", "numpy", "pydicom"}
    program = f"import sys, infra.cli; sys.exit(bool({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("words", [["no-such-command"], ["gateway", "--no-such-option"]])
def test_wrong_usage_is_2_and_says_so_on_stderr(words: list[str]) -> None:
    shown = vigie(*words)
    assert shown.returncode == 2
    assert shown.stderr


def test_imports_go_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert " 0 broken" in done.stdout


def test_every_command_of_the_help_is_there() -> None:
    from infra.cli import COMMANDS

    missing = set()
    for name, (module, _) in COMMANDS.items():
        path = ROOT / (module.replace(".", "/") + ".py")
        text = path.read_text() if path.is_file() else ""
        alone = (
            len(re.findall(r"^@app\.(?:command|callback)\(", text, re.MULTILINE)) == 1
        )  # then its app is the command
        if not (alone or re.search(rf'(command|add_typer)\([^)]*"{name}"', text)):
            missing.add(name)
    assert not missing
