"""Ctrl-C ends the demo at once, at any moment, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

_PATIENCE_S = 150.0
_OPTIONS = ("--headless", "--speed", "60", "--seed", "5", "--for")


def limit_s() -> float:
    """5 s on a machine of its own; one that others load takes as much longer as they queue up."""
    return 5.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def started(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """A demo in a process group of its own, as a terminal makes one for what is typed."""
    with (folder / "demo.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "demo", *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            process_group=0,
        )


def wait_for(demo: subprocess.Popen[bytes], folder: Path, words: str) -> None:
    """Until the demo has said `words`."""
    end = time.monotonic() + _PATIENCE_S
    while words not in (log := (folder / "demo.log").read_text()):
        assert demo.poll() is None, log
        assert time.monotonic() < end, log
        time.sleep(0.02)


def interrupt(demo: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Ctrl-C: SIGINT to the whole group. The exit code and the seconds until the end."""
    children = psutil.Process(demo.pid).children(recursive=True)
    before = time.monotonic()
    os.killpg(demo.pid, signal.SIGINT)
    code = demo.wait(60)
    took = time.monotonic() - before
    _, alive = psutil.wait_procs(children, timeout=3)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    return code, took


@pytest.mark.parametrize(
    ("options", "words", "later_s"),
    [
        ((*_OPTIONS, "60"), "starting Kafka", 1.0),
        ((*_OPTIONS, "60"), "played 0 of", 4.0),
        ((*_OPTIONS, "1"), "draining", 0.0),
    ],
    ids=["start-up", "traffic", "drain"],
)
def test_ctrl_c_ends_the_demo_within_5_seconds(
    tmp_path: Path, options: tuple[str, ...], words: str, later_s: float
) -> None:
    demo = started(tmp_path, *options)
    try:
        wait_for(demo, tmp_path, words)
        time.sleep(later_s)
        code, took = interrupt(demo)
    finally:
        demo.kill()
    log = (tmp_path / "demo.log").read_text()
    assert took < limit_s(), log
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in log
    assert log.rstrip().endswith("demo: ended before the day was over: there is no report")
    assert log.count("draining") <= 3
    assert not list(tmp_path.glob("vigie-demo-*"))


def test_ctrl_c_is_the_way_to_end_a_demo_that_keeps_running(tmp_path: Path) -> None:
    demo = started(tmp_path, "--empty")
    try:
        wait_for(demo, tmp_path, "it keeps running")
        code, took = interrupt(demo)
    finally:
        demo.kill()
    log = (tmp_path / "demo.log").read_text()
    assert took < limit_s(), log
    assert code == 0
    assert "Traceback" not in log
    assert not list(tmp_path.glob("vigie-demo-*"))
