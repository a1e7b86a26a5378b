"""The demo's senders are threads: what they encode at once leaves the process whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: A crash of the encoder ends the process, so it has one of its own.
SENDERS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from infra.demo.case import JPEG_2000
from infra.demo.dicom_files import DX, _base, _encode

def send(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        side = int(rng.integers(32, 256))
        pixels = rng.integers(0, 4096, (side, side), dtype=np.uint16)
        dataset = _base(pixels, DX, "DX", 12)
        dataset.SOPInstanceUID = "1.2"
        _encode(dataset, JPEG_2000)

with ThreadPoolExecutor(4) as senders:
    list(senders.map(send, range(4)))
"""


@pytest.mark.slow
def test_four_senders_that_compress_at_once_crash_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SENDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
