"""The commands that the README gives to integrators work as they stand there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import ROOT, Demo

_TOOLS = Path(sys.executable).parent  # `.venv/bin` of the README


def commands(program: str) -> list[list[str]]:
    """The README's command lines that run `program`, without comments."""
    found = []
    for line in (ROOT / "README.md").read_text().splitlines():
        words = shlex.split(line, comments=True) if program in line.split("#")[0] else []
        if words and Path(words[0]).name == program:
            found.append(words)
    return found


def run(words: list[str], port: str) -> subprocess.CompletedProcess[str]:
    tool = _TOOLS / Path(words[0]).name if words[0].startswith(".venv/bin/") else words[0]
    filled = [port if word == "PORT" else word for word in words[1:]]
    return subprocess.run(
        [str(tool), *filled], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_order_is_sent_and_answered_yes(empty_demo: Demo) -> None:
    (words,) = commands("mllp_send")
    done = run(words, empty_demo.ready["mllp"].rsplit(":", 1)[1])
    assert done.returncode == 0, done.stderr
    assert "MSA|AA|" in done.stdout
    empty_demo.until(lambda rows: len(rows) == 1, accession="EX0001")


@pytest.mark.needs("storescu")
def test_an_image_is_sent_and_stored(empty_demo: Demo) -> None:
    (words,) = commands("storescu")
    done = run(words, empty_demo.ready["dicom"]["address"].rsplit(":", 1)[1])
    assert done.returncode == 0, done.stderr
    empty_demo.until(
        lambda rows: [row["state"] for row in rows] == ["readable"], accession="EX0001"
    )
