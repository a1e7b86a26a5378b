"""Vigie as a whole, run as its users run it: `vigie demo` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
_READY_S = 120.0


@dataclass
class Demo:
    """A running demo: its process and what `--ready` says."""

    process: subprocess.Popen[bytes]
    file: Path

    @property
    def ready(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.file.read_text())
        return loaded

    def rows(self, **query: str) -> list[dict[str, Any]]:
        ready = self.ready
        answer = httpx.get(
            f"{ready['http']}/api/v1/worklist",
            params=query,
            headers={"authorization": f"Bearer {ready['token']}"},
            timeout=10,
        )
        answer.raise_for_status()
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def until(
        self, wanted: Callable[[list[dict[str, Any]]], bool], seconds: float = 30, **query: str
    ) -> list[dict[str, Any]]:
        """The rows, once they are as wanted."""
        end = time.monotonic() + seconds
        while True:
            rows = self.rows(**query)
            if wanted(rows):
                return rows
            assert time.monotonic() < end, rows
            time.sleep(0.2)


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Demo]:
    """`vigie demo` with `options`, serving; ended as an operator would end it."""
    file = folder / "ready.json"
    with (folder / "demo.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "demo", "--ready", str(file), *options],
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            end = time.monotonic() + _READY_S
            while not file.exists():
                assert process.poll() is None, (folder / "demo.log").read_text()
                assert time.monotonic() < end, (folder / "demo.log").read_text()
                time.sleep(0.1)
            yield Demo(process, file)
        finally:
            process.terminate()
            process.wait(60)


def day(folder: Path, *options: str) -> dict[str, Any]:
    """The report of a day that was played to its end. Fails when the demo did."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "infra.cli",
            "demo",
            "--headless",
            "--report",
            str(report),
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=420,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded: dict[str, Any] = json.loads(report.read_text())
    return loaded


@pytest.fixture(scope="module")
def empty_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("demo"), "--empty") as running:
        yield running
