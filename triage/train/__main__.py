"""``python -m triage.train head-ct-ich|chest-opacity --images DIR --out DIR``: trains, measures,
and writes a package.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from triage.evaluation.figures import auroc
from triage.judging.flagging import distances
from triage.packages.architectures import Ensemble, Pyramid, build
from triage.packages.load import InputSpec, load_package
from triage.train import package
from triage.train.fit import Course, fit, scores
from triage.train.pool import Case, Looks, looks, phantom_looks, plain, read_cases

_VERSION = "0.2.1"
_MIN_SHARE = 0.5


@dataclass(frozen=True)
class Recipe:
    """How one package is made. Folds of the corpus are split by patient: nobody learns from
    `held_out`; each member of the ensemble leaves out one of `left_out`, whose patients it then
    scores for calibration and threshold.

    Attributes:
        rounds: looks of each image; `phantoms`: drawn in addition.
        painted: share of the normal looks that get a finding.
    """

    spec: InputSpec
    source: str
    held_out: str
    left_out: tuple[str, ...]
    rounds: int
    painted: float
    phantoms: int
    course: Course
    top_k: int
    also_measured: tuple[str, ...]
    manifest: dict[str, Any]


HEAD = Recipe(
    spec=InputSpec(kind="head_ct", channels=2, height=160, width=160),
    source="ct_ich",
    held_out="0",
    left_out=("1", "2", "3"),
    rounds=12,
    painted=0.45,
    phantoms=500,
    course=Course(2300, (0.28, 0.22), 1.0),
    top_k=2,
    also_measured=(),
    manifest={
        "title": "Intracranial haemorrhage on head CT",
        "intended_use": "Raises the priority of adult non-contrast head CT with a probable intracranial haemorrhage. Not a diagnosis; "
        "a study that is not flagged may still bleed.",
        "eligible": {
            "modalities": ["CT"],
            "body_parts": ["HEAD", "BRAIN", "SKULL"],
            "description_words": ["head", "brain", "crane", "cerebral"],
            "sop_classes": [
                "1.2.840.10008.5.1.4.1.1.2",
                "1.2.840.10008.5.1.4.1.1.2.1",
                "1.2.840.10008.5.1.4.1.1.7",
            ],
        },
        "finding": {
            "code": "intracranial-haemorrhage",
            "label": "Intracranial haemorrhage",
            "radlex": "RID4700",
            "snomed": "1386000",
        },
        "data": "CT-ICH (Hssayeni et al., PhysioNet, CC BY 4.0), brain-window slices; synthetic bleeds; phantoms",
        "limits": "82 patients of one hospital. Slices of other scanners were imitated, not seen. "
        "The held-out fold was looked at while design and thresholds were chosen: its figures are optimistic.",
    },
)
CHEST = Recipe(
    spec=InputSpec(kind="chest_film", channels=2, height=160, width=160),
    source="kermany224",
    held_out="test",
    left_out=("0", "1", "2", "3"),
    rounds=4,
    painted=0.45,
    phantoms=1500,
    course=Course(1200, (0.26, 0.24), 2.0),
    top_k=1,
    also_measured=("hannover_covid",),
    manifest={
        "title": "Pneumonia-like opacity on frontal chest films of children",
        "intended_use": "Raises the priority of frontal chest films of children of 1 to 5 years with a probable opacity. Not a diagnosis; "
        "a film that is not flagged may still show one.",
        "eligible": {
            "modalities": ["CR", "DX"],
            "body_parts": ["CHEST", "THORAX"],
            "description_words": ["chest", "thorax"],
            "views": ["AP", "PA"],
            "age_years": [1.0, 5.0],
        },
        "finding": {
            "code": "opacity",
            "label": "Pneumonia-like opacity",
            "radlex": "RID5350",
            "snomed": "233604007",
        },
        "data": "Chest films of Kermany et al. 2018 (Mendeley Data, CC BY 4.0), children of 1 to 5 years; synthetic opacities; phantoms",
        "limits": "One hospital, children. Adults are outside the intended use.",
    },
)
RECIPES = {"head-ct-ich": HEAD, "chest-opacity": CHEST}


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


def learn_members(
    recipe: Recipe, cases: list[Case], pool: Looks, seed: int, say: Callable[[str], None]
) -> tuple[list[Pyramid], list[Case], NDArray[np.float32]]:
    """The members of the ensemble, the cases that one of them left out, and what that one says of
    each: logits [n].
    """
    members, left, unseen = list[Pyramid](), list[Case](), list[NDArray[np.float32]]()
    for number, fold in enumerate(recipe.left_out):
        member = cast(Pyramid, build("pyramid", recipe.spec.channels))
        among = np.flatnonzero(pool.fold != fold)
        members.append(fit(member, pool, among, recipe.course, seed=seed + number, say=say))
        of = [case for case in cases if case.fold == fold]
        left += of
        unseen.append(scores(members[-1], plain(of, recipe.spec)))
        found = auroc(np.array([case.truth for case in of], float), unseen[-1].astype(float))
        say(
            f"member {number + 1} of {len(recipe.left_out)}: AUROC {found} on fold {fold}, which it left out"
        )
    return members, left, np.concatenate(unseen)


def train(
    name: str, recipe: Recipe, images: Path, out: Path, seed: int, say: Callable[[str], None]
) -> None:
    """Trains the members, calibrates on whom each left out, measures the ensemble on the held-out
    fold, writes ``out/name``.
    """
    cases = read_cases(images, [recipe.source])
    learn = [case for case in cases if case.fold != recipe.held_out]
    pool = looks(learn, recipe.spec, range(recipe.rounds), seed, recipe.painted) + phantom_looks(
        recipe.spec, recipe.phantoms, seed
    )
    say(f"{len(pool.shown)} looks of {len(learn)} images and {recipe.phantoms} phantoms")
    members, left, tuning = learn_members(recipe, learn, pool, seed, say)
    network = package.as_stored(Ensemble(members).eval())
    chosen = np.random.default_rng(seed).permutation(len(pool.images))[:4000]
    typical, far = package.typical(pool.images[chosen].astype(np.float32))
    stacked = recipe.top_k > 1
    image = series = package.calibrate(package.singles(left, tuning), recipe.top_k)
    # The highest slices of one member scatter more than those of the mean that is served: by what
    # is served.
    if stacked:
        series = package.calibrate(
            package.series(left, scores(network, plain(left, recipe.spec))), recipe.top_k
        )

    def results(source: str, some: list[Case]) -> list[dict[str, Any]]:
        prepared = plain(some, recipe.spec)
        logits, strange = scores(network, prepared), distances(typical, prepared) > far
        found = [
            package.result(
                source,
                "image",
                package.singles(some, logits),
                image,
                recipe.top_k,
                int(strange.sum()),
            )
        ]
        if stacked:
            of = np.array([case.patient for case in some])
            unsure = sum(float(strange[of == one].mean()) > 1 - _MIN_SHARE for one in np.unique(of))
            found.append(
                package.result(
                    source, "series", package.series(some, logits), series, recipe.top_k, unsure
                )
            )
        return found

    measured = results(recipe.source, [case for case in cases if case.fold == recipe.held_out])
    for source in recipe.also_measured:
        measured += results(source, read_cases(images, [source]))
    words = recipe.manifest
    package.write(
        out / name,
        {
            "name": name,
            "version": _VERSION,
            "title": words["title"],
            "intended_use": words["intended_use"],
            "licence": "Apache-2.0",
            "architecture": f"pyramid-x{len(members)}",
            "eligible": words["eligible"],
            "input": recipe.spec.model_dump(),
            "findings": [words["finding"]],
            "operating": {"top_k": recipe.top_k, "chosen": package.CHOSEN},
            "image": image.model_dump(),
            "series": series.model_dump(),
            "abstention": {"max_distance": far, "min_share": _MIN_SHARE},
            "training": {
                "data": words["data"],
                "held_out": recipe.held_out,
                "seed": seed,
                "cases": len(learn),
                "positives": sum(case.truth for case in learn),
                "split": f"by patient: fold {recipe.held_out} held out; each of {len(members)} members left out one more fold, "
                "on which it was calibrated",
                "limits": words["limits"],
            },
            "results": measured,
            "constancy": package.constancy(network, recipe.spec),
        },
        network,
        typical,
    )
    load_package(out / name).load_network()
    for row in measured:
        say(
            f"{row['source']} by {row['unit']}: AUROC {row.get('auroc')} {row.get('auroc_ci95')}, "
            f"sensitivity {row.get('sensitivity')}, specificity {row.get('specificity')}, ECE {row.get('ece')}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
