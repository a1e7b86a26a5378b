"""The weights in a PyTorch checkpoint, read in a confined child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file
from torch import Tensor

_PATIENCE_S = 300


class ImportRefused(Exception):
    """A model that cannot become a package; the text says why."""


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name. Raises ImportRefused."""
    with TemporaryDirectory(prefix="vigie-import-") as folder:
        out = Path(folder) / "weights.safetensors"
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        try:
            done = subprocess.run(  # noqa: S603 — our own interpreter and module
                [sys.executable, "-m", "triage.importing.unpickle", str(file), str(out)],
                env=kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                capture_output=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ImportRefused(f"{file.name}: takes longer than {_PATIENCE_S} s to read") from None
        if done.returncode or not out.exists():
            raise ImportRefused(f"{file.name}: {_reason(done)}")
        return load_file(out)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """What the child said last; of torch's many lines the one that says what was not allowed."""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    telling = [line for line in said if "GLOBAL" in line or "Unsupported" in line]
    last = (telling or said or [f"the reader ended with {done.returncode}"])[-1]
    return last.strip()[:300]
