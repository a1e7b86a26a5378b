"""`python -m triage.train head-ct-ich|chest-opacity --images DIR --dicom DIR --out DIR` makes a
package; with `--guard` only the guard of one that is in `--out`, with `--figures` only its figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from triage.packages.trust import SHIPPED, shipped_list
from triage.train.produce import figures, guard, train
from triage.train.recipes import RECIPES


def main(arguments: Sequence[str]) -> int:
    """Trains one package; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m triage.train", description=__doc__)
    parser.add_argument("package", choices=sorted(RECIPES))
    parser.add_argument("--images", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--dicom", type=Path, required=True, help="folder of other DICOM images")
    parser.add_argument("--out", type=Path, required=True, help="folder of packages")
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--guard", action="store_true", help="networks and scales of the package in --out stay"
    )
    only.add_argument(
        "--figures", action="store_true", help="the package in --out stays, and is measured anew"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.0f} s  {text}\n")

    make = guard if options.guard else figures if options.figures else train
    recipe, where = RECIPES[options.package], (options.images, options.dicom, options.out)
    make(options.package, recipe, *where, options.seed, say)
    (options.out / SHIPPED).write_text(shipped_list(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
