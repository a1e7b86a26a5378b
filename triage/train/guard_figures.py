"""How much a guarded package abstains on what is foreign."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage.inference.opening import open_network
from triage.judging.flagging import judge
from triage.packages.load import Package, load_package
from triage.packages.manifest import MANIFEST
from triage.packages.manifest_text import to_toml
from triage.train.foreign import foreign_examples, foreign_files, kinds_of
from triage.train.package import in_order
from triage.train.recipes import Recipe

_EACH = 100  # images of each foreign kind


def record_foreign(folder: Path, recipe: Recipe, images: Path, dicom: Path, seed: int) -> None:
    """Writes into the manifest how many of each foreign kind are not judged."""
    package = load_package(folder)
    document = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    document["foreign"] = _foreign(package, recipe, images, dicom, seed)
    (folder / MANIFEST).write_text(to_toml(in_order(document)), encoding="utf-8")


def _abstained(package: Package, groups: Sequence[NDArray[np.float32]]) -> int:
    return sum(judge(package, group).outcome == "not_analysed" for group in groups)


def _foreign(
    package: Package, recipe: Recipe, images: Path, dicom: Path, seed: int
) -> list[dict[str, Any]]:
    """Rows by kind, of images that no guard learned from: other folds, other drawings.

    A folder of DICOM files has no folds: of those only kinds that were left out are measured.
    """
    guard = recipe.guard
    files = foreign_files(images, guard.sources, dicom, guard.same_anatomy, held_out=True)
    kinds = [
        kind
        for kind in (*files, *kinds_of(recipe.spec))
        if not kind.startswith("dicom/") or kind in guard.left_out
    ]
    made = foreign_examples(recipe.spec, files, kinds, _EACH, seed + 1000)
    given = open_network(package, device="cpu").scores(made.images.astype(np.float32))
    return [
        {
            "kind": kind,
            "learned": kind not in guard.left_out,
            "n": _EACH,
            "abstained": _abstained(
                package, [row[np.newaxis] for row in given[made.kinds == kind]]
            ),
        }
        for kind in kinds
    ]
