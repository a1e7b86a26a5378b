"""`python -m triage.train head-ct-ich|chest-opacity --images DIR --out DIR` makes a package."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from triage.train.produce import train
from triage.train.recipes import RECIPES


def main(arguments: Sequence[str]) -> int:
    """Trains one package; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m triage.train", description=__doc__)
    parser.add_argument("package", choices=sorted(RECIPES))
    parser.add_argument("--images", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of packages")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.0f} s  {text}\n")

    train(options.package, RECIPES[options.package], options.images, options.out, options.seed, say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
