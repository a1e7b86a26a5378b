"""The program as a whole: where its lines go, in which form, and what it says of its settings."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.settings import unknown
from streams.identity.seal import new_ring, write_ring

ROOT = Path(__file__).parents[2]


def vigie(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
        timeout=120,
    )


def test_names_that_are_no_settings_are_found_with_what_they_resemble() -> None:
    environment = {"VIGIE_KAFKAA": "", "VIGIE_COFFEE": "", "VIGIE_SITE": "", "VIGIE_CORPORA": ""}
    assert unknown(environment) == {"VIGIE_KAFKAA": "VIGIE_KAFKA", "VIGIE_COFFEE": ""}


@pytest.mark.parametrize("command", ["gateway", "triage", "worklist", "web"])
def test_a_process_that_cannot_start_says_in_json_lines_what_is_missing(command: str) -> None:
    done = vigie("--log", "json", command, VIGIE_COFFEE="1", VIGIE_KAFKA="", VIGIE_DATABASE="")
    assert done.returncode == 2
    assert done.stdout == ""
    strange, missing = (json.loads(line)["event"] for line in done.stderr.splitlines())
    assert strange.startswith("VIGIE_COFFEE: no such setting")
    assert missing.startswith("VIGIE_KAFKA")  # web too: it sends acts to their topic


def test_a_gateway_refuses_a_key_ring_that_everybody_can_read(tmp_path: Path) -> None:
    ring = tmp_path / "keys.json"
    write_ring(new_ring(), ring)
    ring.chmod(ring.stat().st_mode | stat.S_IROTH)
    done = vigie("gateway", VIGIE_KAFKA="127.0.0.1:1", VIGIE_KEYS=str(ring))
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line == f"VIGIE_KEYS: everybody can read {ring}: chmod 600 {ring}"


@pytest.mark.parametrize("words", [["topics", "--create"], ["parked", "list"]])
def test_a_broker_that_is_away_is_one_line(words: list[str]) -> None:
    done = vigie(*words, VIGIE_KAFKA="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "VIGIE_KAFKA" in line


@pytest.mark.parametrize(
    "words", [["topics", "--create"], ["parked", "list"], ["parked", "replay", "0-0"]]
)
def test_a_broker_that_nobody_named_is_wrong_usage(words: list[str]) -> None:
    done = vigie(*words, VIGIE_KAFKA="")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("VIGIE_KAFKA is not set: ")


def test_a_database_that_is_away_is_one_line() -> None:
    done = vigie("policy", "show", VIGIE_DATABASE="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "VIGIE_DATABASE" in line


def test_data_goes_to_stdout_and_nothing_else_does() -> None:
    done = vigie("--log", "json", "models", "list", "--json")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), list)


@pytest.mark.parametrize("option", ["--ready", "--report"])
def test_a_demo_whose_file_has_no_folder_does_not_start(option: str, tmp_path: Path) -> None:
    """Known after the day else: what it would have written was lost."""
    done = vigie("demo", option, str(tmp_path / "nowhere" / "file.json"))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{option}: {tmp_path / 'nowhere'}: no such folder")


def test_a_form_of_lines_that_there_is_not_is_wrong_usage() -> None:
    assert vigie("--log", "xml", "topics").returncode == 2
    assert vigie("gateway", VIGIE_LOG="xml", VIGIE_KAFKA="127.0.0.1:1").returncode == 2


def test_a_library_that_crashes_leaves_where_we_were() -> None:
    crash = (
        "import os; from infra import cli; cli.app = lambda: os.kill(os.getpid(), 11); cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", crash], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -11
    assert "Segmentation fault" in done.stderr
    assert "infra/cli.py" in done.stderr
