"""The web process by itself: small, and without what it has no use for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOADED = """
import sys
import worklist.web.app, worklist.web.commands
heavy = {"torch", "faust", "numpy", "pydicom", "pandas"} & set(sys.modules)
held = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(sorted(heavy), int(held.split()[1]) // 1024)
"""


@pytest.mark.slow
def test_the_web_process_loads_neither_torch_nor_faust_and_is_small() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy, megabytes = done.stdout.rsplit(" ", 1)
    assert heavy == "[]"
    assert int(megabytes) < 150
