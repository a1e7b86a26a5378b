"""One package from the corpus to its folder: trains, calibrates, measures, writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from triage.evaluation.figures import auroc
from triage.judging.flagging import distances
from triage.packages.architectures import Ensemble, Pyramid, build
from triage.packages.load import TrainingDistribution, load_package
from triage.packages.manifest import Scale
from triage.train import calibration
from triage.train.corpus import Case, read_cases
from triage.train.examples import Examples, case_examples, phantom_examples, prepare_plain
from triage.train.fit import fit, scores
from triage.train.package import as_stored, constancy_entries, training_distribution, write
from triage.train.recipes import Recipe

Say = Callable[[str], None]
_VERSION = "0.2.1"
_MIN_SHARE = 0.5
_TYPICAL = 4000  # examples that the training distribution is made of


@dataclass(frozen=True)
class _Trained:
    """What is measured and written: network, scales of an image and a series, distribution."""

    network: nn.Module
    image: Scale
    series: Scale
    distribution: TrainingDistribution
    max_distance: float


def train(name: str, recipe: Recipe, images: Path, out: Path, seed: int, say: Say) -> None:
    """Trains the members, calibrates on whom each left out, measures, writes `out/name`.

    Measured is the ensemble, on the held-out fold.
    """
    cases = read_cases(images, [recipe.source])
    learn = [case for case in cases if case.fold != recipe.held_out]
    examples = case_examples(
        learn, recipe.spec, range(recipe.rounds), seed, recipe.painted
    ) + phantom_examples(recipe.spec, recipe.phantoms, seed)
    say(f"{len(examples.shown)} examples of {len(learn)} images, {recipe.phantoms} phantoms")
    members, left, unseen = _learn_members(recipe, learn, examples, seed, say)
    network = as_stored(Ensemble(members).eval())
    chosen = np.random.default_rng(seed).permutation(len(examples.images))[:_TYPICAL]
    distribution = training_distribution(examples.images[chosen].astype(np.float32))
    trained = _Trained(network, *_scales(recipe, network, left, unseen), *distribution)
    measured = _results(
        recipe, trained, recipe.source, [case for case in cases if case.fold == recipe.held_out]
    )
    for source in recipe.also_measured:
        measured += _results(recipe, trained, source, read_cases(images, [source]))
    manifest = _manifest(name, recipe, trained, learn, seed) | {
        "results": measured,
        "constancy": constancy_entries(network, recipe.spec),
    }
    write(out / name, manifest, network, trained.distribution)
    load_package(out / name).load_network()
    for row in measured:
        say(
            f"{row['source']} by {row['unit']}: AUROC {row.get('auroc')} {row.get('auroc_ci95')}, "
            f"sensitivity {row.get('sensitivity')}, specificity {row.get('specificity')}, "
            f"ECE {row.get('ece')}"
        )


def _learn_members(
    recipe: Recipe, cases: list[Case], examples: Examples, seed: int, say: Say
) -> tuple[list[Pyramid], list[Case], NDArray[np.float32]]:
    """The members of the ensemble, and the cases that one of them left out.

    Third is what that one says of each: logits [n].
    """
    members, left, unseen = list[Pyramid](), list[Case](), list[NDArray[np.float32]]()
    for number, fold in enumerate(recipe.left_out):
        member = cast(Pyramid, build("pyramid", recipe.spec.channels))
        among = np.flatnonzero(examples.fold != fold)
        members.append(fit(member, examples, among, recipe.course, seed=seed + number, say=say))
        mine = [case for case in cases if case.fold == fold]
        left += mine
        unseen.append(scores(members[-1], prepare_plain(mine, recipe.spec)))
        found = auroc(np.array([case.truth for case in mine], float), unseen[-1].astype(float))
        say(
            f"member {number + 1} of {len(recipe.left_out)}: AUROC {found} on fold {fold}, "
            "which it left out"
        )
    return members, left, np.concatenate(unseen)


def _scales(
    recipe: Recipe, network: nn.Module, left: list[Case], unseen: NDArray[np.float32]
) -> tuple[Scale, Scale]:
    """Of one image and of a series, calibrated on the cases that a member left out."""
    image = calibration.calibrate(calibration.singles(left, unseen), recipe.top_k)
    if recipe.top_k == 1:
        return image, image
    # The highest slices of one member scatter more than those of the mean, which is served.
    served = scores(network, prepare_plain(left, recipe.spec))
    return image, calibration.calibrate(calibration.series(left, served), recipe.top_k)


def _results(
    recipe: Recipe, trained: _Trained, source: str, cases: list[Case]
) -> list[dict[str, Any]]:
    """Rows of the card for `cases`: by image, and where slices are stacked by series."""
    prepared = prepare_plain(cases, recipe.spec)
    logits = scores(trained.network, prepared)
    strange = distances(trained.distribution, prepared) > trained.max_distance
    singles = calibration.singles(cases, logits)
    abstained = int(strange.sum())
    found = [calibration.result(source, "image", singles, trained.image, recipe.top_k, abstained)]
    if recipe.top_k > 1:
        patients = np.array([case.patient for case in cases])
        abstained = sum(
            float(strange[patients == patient].mean()) > 1 - _MIN_SHARE
            for patient in np.unique(patients)
        )
        series = calibration.series(cases, logits)
        found.append(
            calibration.result(source, "series", series, trained.series, recipe.top_k, abstained)
        )
    return found


def _manifest(
    name: str, recipe: Recipe, trained: _Trained, learn: list[Case], seed: int
) -> dict[str, Any]:
    """The manifest without results and constancy."""
    words, members = recipe.manifest, len(recipe.left_out)
    return {
        "name": name,
        "version": _VERSION,
        "title": words["title"],
        "intended_use": words["intended_use"],
        "licence": "Apache-2.0",
        "architecture": f"pyramid-x{members}",
        "eligible": words["eligible"],
        "input": recipe.spec.model_dump(),
        "findings": [words["finding"]],
        "operating": {"top_k": recipe.top_k, "chosen": calibration.CHOSEN},
        "image": trained.image.model_dump(),
        "series": trained.series.model_dump(),
        "abstention": {"max_distance": trained.max_distance, "min_share": _MIN_SHARE},
        "training": {
            "data": words["data"],
            "held_out": recipe.held_out,
            "seed": seed,
            "cases": len(learn),
            "positives": sum(case.truth for case in learn),
            "split": f"by patient: fold {recipe.held_out} held out; each of {members} members left "
            "out one more fold, on which it was calibrated",
            "limits": words["limits"],
        },
    }
