"""The wheel, installed outside the checkout, plays a day: what ships is what was tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.system.conftest import ROOT


@pytest.mark.slow
def test_promise_10_the_wheel_plays_a_day(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(tmp_path),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("vigie-*.whl")
    lib = tmp_path / "lib"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(lib)
    # The libraries are those of this environment; a folder on PYTHONPATH runs no .pth file, so the
    # checkout is not there.
    paths = os.pathsep.join((str(lib), sysconfig.get_path("purelib")))
    base = sys._base_executable  # type: ignore[attr-defined]
    environment = {**os.environ, "PYTHONPATH": paths}
    where = subprocess.run(
        [base, "-c", "import infra, streams, triage, worklist; print(infra.__file__)"],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(lib)
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            base,
            "-m",
            "infra.cli",
            "demo",
            "--headless",
            "--for",
            "10",
            "--seed",
            "3",
            "--report",
            str(report),
        ],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    studies = json.loads(report.read_text())["studies"]
    assert (studies["lost"], studies["doubled"]) == (0, 0)
    assert studies["on_list"] == studies["sent"] > 0
