"""One package from the corpus to its folder: trains, calibrates, guards, measures, writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from triage.evaluation.figures import auroc
from triage.evaluation.references import record
from triage.packages.architectures import Ensemble, Pyramid, build
from triage.packages.load import load_package
from triage.packages.manifest import Scale
from triage.train import calibration
from triage.train.card_figures import record_figures
from triage.train.corpus import Case, read_cases
from triage.train.examples import Examples, case_examples, phantom_examples, prepare_plain
from triage.train.fit import fit, scores
from triage.train.guard import fit_guard
from triage.train.guard_figures import record_foreign
from triage.train.package import as_stored, constancy_entries, read, write
from triage.train.recipes import Recipe

Say = Callable[[str], None]
VERSION = "0.3.0"


def train(
    name: str, recipe: Recipe, images: Path, dicom: Path, out: Path, seed: int, say: Say
) -> None:
    """Trains the members, calibrates on whom each left out, fits the guard, writes `out/name`,
    measures it.
    """
    cases = read_cases(images, [recipe.source])
    learn = [case for case in cases if case.fold != recipe.held_out]
    examples = case_examples(
        learn, recipe.spec, range(recipe.rounds), seed, recipe.painted
    ) + phantom_examples(recipe.spec, recipe.phantoms, seed)
    say(f"{len(examples.shown)} examples of {len(learn)} images, {recipe.phantoms} phantoms")
    members, left, unseen = _learn_members(recipe, learn, examples, seed, say)
    network = Ensemble(members).eval()
    as_stored(network)
    scales = _scales(recipe, network, left, unseen)
    manifest = _manifest(name, recipe, scales, learn, seed) | {
        "constancy": constancy_entries(network, recipe.spec)
    }
    guarded, rule = fit_guard(network, recipe, images, dicom, seed, say)
    write(out / name, manifest | {"abstention": rule.model_dump()}, guarded)
    record_foreign(out / name, recipe, images, dicom, seed)
    record(out / name)
    figures(name, recipe, images, dicom, out, seed, say)


def guard(
    name: str, recipe: Recipe, images: Path, dicom: Path, out: Path, seed: int, say: Say
) -> None:
    """Fits the guard of a package that is in `out/name`; its networks and scales stay."""
    document, network = read(out / name)
    guarded, rule = fit_guard(network, recipe, images, dicom, seed, say)
    document.pop("foreign", None)  # what an earlier guard did
    document |= {"version": VERSION, "abstention": rule.model_dump()}
    write(out / name, document, guarded)
    record_foreign(out / name, recipe, images, dicom, seed)
    record(out / name)
    figures(name, recipe, images, dicom, out, seed, say)


def figures(
    name: str, recipe: Recipe, images: Path, dicom: Path, out: Path, seed: int, say: Say
) -> None:
    """Measures the package in `out/name` anew; its networks, scales and guard stay."""
    record_figures(out / name, recipe, images)
    for row in load_package(out / name).manifest.results:
        say(f"{row.source} {row.group or row.shown} by {row.unit}: AUROC {row.auroc}")


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


def _manifest(
    name: str, recipe: Recipe, scales: tuple[Scale, Scale], learn: list[Case], seed: int
) -> dict[str, Any]:
    """The manifest without results and constancy."""
    words, members = recipe.manifest, len(recipe.left_out)
    return {
        "name": name,
        "version": VERSION,
        "title": words["title"],
        "intended_use": words["intended_use"],
        "licence": "Apache-2.0",
        "runner": {"kind": "builtin", "architecture": f"pyramid-x{members}"},
        "eligible": words["eligible"],
        "coverage": words.get("coverage", {}),
        "input": recipe.spec.model_dump(),
        "outputs": [
            {
                **words["finding"],
                "image": scales[0].model_dump(),
                "series": scales[1].model_dump(),
            }
        ],
        "operating": {"top_k": recipe.top_k, "chosen": calibration.CHOSEN},
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
