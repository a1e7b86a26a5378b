"""``python -m triage.train head-ct-ich|chest-opacity --images DIR --out DIR``: trains, measures, and writes a package."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage.packages import InputSpec, load_package
from triage.train import package
from triage.train.fit import fit, scores
from triage.train.pool import Case, looks, phantom_looks, plain, read_cases

_ARCHITECTURE = "small-resnet"
_VERSION = "0.1.0"


@dataclass(frozen=True)
class Recipe:
    """How one package is made. `held_out` and `tuning`: folds of the corpus, split by patient."""

    spec: InputSpec
    source: str
    held_out: str
    tuning: str
    rounds: int
    epochs: int
    painted: float
    real: float
    made: float
    phantoms: int
    top_k: int
    also_measured: tuple[str, ...]
    manifest: dict[str, Any]


HEAD = Recipe(
    spec=InputSpec(kind="head_ct", channels=1, height=128, width=128), source="ct_ich", held_out="0", tuning="1", rounds=10, epochs=8,
    painted=0.3, real=0.22, made=0.18, phantoms=400, top_k=2, also_measured=(),
    manifest={
        "title": "Intracranial haemorrhage on head CT",
        "intended_use": "Raises the priority of adult non-contrast head CT with a probable intracranial haemorrhage. Not a diagnosis; "
        "a study that is not flagged may still bleed.",
        "eligible": {
            "modalities": ["CT"], "body_parts": ["HEAD", "BRAIN", "SKULL"], "description_words": ["head", "brain", "crane", "cerebral"],
            "sop_classes": ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.7"],
        },
        "finding": {"code": "intracranial-haemorrhage", "label": "Intracranial haemorrhage", "radlex": "RID4700", "snomed": "1386000"},
        "data": "CT-ICH (Hssayeni et al., PhysioNet, CC BY 4.0), brain-window slices; synthetic bleeds; phantoms",
        "limits": "82 patients of one hospital. Slices of other scanners were imitated, not seen.",
    },
)  # fmt: skip
CHEST = Recipe(
    spec=InputSpec(kind="chest_film", channels=2, height=128, width=128), source="kermany224", held_out="test", tuning="0", rounds=3,
    epochs=5, painted=0.3, real=0.38, made=0.14, phantoms=800, top_k=1, also_measured=("hannover_covid",),
    manifest={
        "title": "Pneumonia-like opacity on frontal chest films of children",
        "intended_use": "Raises the priority of frontal chest films of children of 1 to 5 years with a probable opacity. Not a diagnosis; "
        "a film that is not flagged may still show one.",
        "eligible": {
            "modalities": ["CR", "DX"], "body_parts": ["CHEST", "THORAX"], "description_words": ["chest", "thorax"],
            "views": ["AP", "PA"], "age_years": [1.0, 5.0],
        },
        "finding": {"code": "opacity", "label": "Pneumonia-like opacity", "radlex": "RID5350", "snomed": "233604007"},
        "data": "Chest films of Kermany et al. 2018 (Mendeley Data, CC BY 4.0), children of 1 to 5 years; synthetic opacities; phantoms",
        "limits": "One hospital, children. Adults are outside the intended use.",
    },
)  # fmt: skip
RECIPES = {"head-ct-ich": HEAD, "chest-opacity": CHEST}


def main(arguments: Sequence[str]) -> int:
    """Trains one package; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m triage.train", description=__doc__)
    parser.add_argument("package", choices=sorted(RECIPES))
    parser.add_argument("--images", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of packages")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="looks of each image; fewer is faster and worse")
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.0f} s  {text}\n")

    train(options.package, RECIPES[options.package], options.images, options.out, options.seed, options.rounds, say)
    return 0


def train(name: str, recipe: Recipe, images: Path, out: Path, seed: int, rounds: int | None, say: Callable[[str], None]) -> None:
    """Trains, calibrates on the tuning fold, measures on the held-out fold, writes ``out/name``."""
    cases = read_cases(images, [recipe.source])
    learn = [case for case in cases if case.fold not in (recipe.held_out, recipe.tuning)]
    pictures, shown = looks(learn, recipe.spec, range(rounds or recipe.rounds), seed, recipe.painted)
    more, more_shown = phantom_looks(recipe.spec, recipe.phantoms, seed)
    say(f"{len(pictures)} looks of {len(learn)} images, {len(more)} of phantoms")
    pictures, shown = np.concatenate([pictures, more]), np.concatenate([shown, more_shown])
    network = fit(_ARCHITECTURE, pictures, shown, epochs=recipe.epochs, real=recipe.real, made=recipe.made, seed=seed, say=say)

    def logits(some: list[Case]) -> NDArray[np.float32]:
        return scores(network, plain(some, recipe.spec))

    tune = [case for case in cases if case.fold == recipe.tuning]
    held = [case for case in cases if case.fold == recipe.held_out]
    tuning, of_held = logits(tune), logits(held)
    stacked = recipe.top_k > 1
    calibration, threshold = package.calibrate(package.singles(tune, tuning), package.series(tune, tuning) if stacked else [], recipe.top_k)
    results = [package.result(recipe.source, "image", package.singles(held, of_held), calibration, threshold)]
    if stacked:
        results.append(package.result(recipe.source, "series", package.series(held, of_held), calibration, threshold))
    for source in recipe.also_measured:
        others = read_cases(images, [source])
        results.append(package.result(source, "image", package.singles(others, logits(others)), calibration, threshold))
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:4000]
    tensors, far = package.typical(pictures[chosen].astype(np.float32))
    words = recipe.manifest
    package.write(
        out / name,
        {
            "name": name, "version": _VERSION, "title": words["title"], "intended_use": words["intended_use"], "licence": "Apache-2.0",
            "architecture": _ARCHITECTURE, "eligible": words["eligible"], "input": recipe.spec.model_dump(), "findings": [words["finding"]],
            "operating": {"threshold": threshold, "chosen": package.CHOSEN},
            "calibration": calibration.model_dump(), "abstention": {"max_distance": far, "min_share": 0.5},
            "training": {
                "data": words["data"], "cases": len(learn), "positives": sum(case.truth for case in learn), "seed": seed,
                "split": f"by patient: fold {recipe.held_out} held out, fold {recipe.tuning} for calibration and threshold",
                "limits": words["limits"],
            },
            "results": results, "constancy": package.constancy(network, recipe.spec),
        },
        network, tensors,
    )  # fmt: skip
    load_package(out / name).load_network()
    for row in results:
        say(f"{row['source']} by {row['unit']}: AUROC {row.get('auroc')} {row.get('auroc_ci95')}, "
            f"sensitivity {row.get('sensitivity')}, specificity {row.get('specificity')}, ECE {row.get('ece')}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
