"""Packages whose cards tests change: with a fold that they name, with curves."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np

from triage.packages.load import Package
from triage.packages.manifest import Result
from triage.packages.manifest_text import to_toml
from triage.train import calibration

NAMES = ("chest-opacity", "head-ct-ich")
#: Of packages whose manifest does not say it yet.
_FOLDS = {"head-ct-ich": "0", "chest-opacity": "test"}


def told(package: Package, **more: object) -> Package:
    training = package.manifest.training
    training = training.model_copy(update={"held_out": training.held_out or _FOLDS[package.name]})
    return replace(
        package, manifest=package.manifest.model_copy(update={"training": training, **more})
    )


def groups(count: int = 300) -> list[calibration.Group]:
    rng = np.random.default_rng(5)
    truths = rng.integers(0, 2, count)
    return [
        calibration.Group(rng.normal(2.0 * t - 1, 1.5, 1).astype(np.float32), int(t), f"p{i // 3}")
        for i, t in enumerate(truths)
    ]


def with_curves(package: Package) -> Package:
    """As training writes it: results with curves, through TOML and back."""
    rows = [
        calibration.result("one", "image", groups(), package.manifest.output.image, 1),
        calibration.result(
            "positives only",
            "image",
            [g for g in groups(60) if g.truth],
            package.manifest.output.image,
            1,
        ),
    ]
    read = tomllib.loads(to_toml({"results": rows}))["results"]
    return told(package, results=tuple(Result.model_validate(row) for row in read))
