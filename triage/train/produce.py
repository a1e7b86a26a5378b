"""One package from the corpus to its folder: trains, calibrates, guards, measures, writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from triage.evaluation.references import record
from triage.packages.architectures import Ensemble, Pyramid, build
from triage.packages.load import load_package
from triage.packages.manifest import Scale
from triage.train import calibration
from triage.train.card_figures import record_figures, unseen_rows
from triage.train.corpus import Case, read_cases
from triage.train.examples import Examples, case_examples, phantom_examples, prepare_plain
from triage.train.fit import fit, scores
from triage.train.guard import fit_guard
from triage.train.guard_figures import record_foreign
from triage.train.package import as_stored, constancy_entries, in_order, read, write
from triage.train.recipes import Member, Recipe
from triage.train.teacher import COURSE as TEACHER
from triage.train.teacher import taught_logits

Say = Callable[[str], None]
VERSION = "0.4.0"


def train(
    name: str, recipe: Recipe, images: Path, dicom: Path, out: Path, seed: int, say: Say
) -> None:
    """Trains the members, calibrates by whom each never saw, fits the guard, writes `out/name`,
    measures it.
    """
    cases = read_cases(images, [recipe.source])
    if not recipe.twins:  # they learn from the held-out fold, too
        cases = [case for case in cases if case.fold != recipe.held_out]
    examples = case_examples(
        cases, recipe.spec, range(recipe.rounds), seed, recipe.painted
    ) + phantom_examples(recipe.spec, recipe.phantoms, seed)
    say(f"{len(examples.shown)} examples of {len(cases)} images, {recipe.phantoms} phantoms")
    workshop = Workshop(recipe, examples, say)
    network = Ensemble([workshop.member(member) for member in recipe.members]).eval()
    as_stored(network)
    asked = [case for case in cases if case.fold in recipe.calibrated]
    unseen = workshop.unseen(asked, list(network.members))
    finish(name, recipe, network, (asked, unseen), images, dicom, out, seed, say)


def finish(
    name: str,
    recipe: Recipe,
    network: Ensemble,
    calibrated: tuple[list[Case], NDArray[np.float32]],
    images: Path,
    dicom: Path,
    out: Path,
    seed: int,
    say: Say,
) -> None:
    """From trained members to a package that is measured.

    Args:
        calibrated: cases, and logits [n] of each by networks that never saw its patient.
    """
    learn = [case for case in read_cases(images, [recipe.source]) if case.fold != recipe.held_out]
    manifest = _manifest(name, recipe, _scales(recipe, *calibrated), learn, seed) | {
        "constancy": constancy_entries(network, recipe.spec),
        "results": list(unseen_rows(recipe, *calibrated)),
    }
    guarded, rule = fit_guard(network, recipe, images, dicom, seed, say)
    write(out / name, in_order(manifest | {"abstention": rule.model_dump()}), guarded)
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


@dataclass
class Workshop:
    """Trains networks on the same examples; a teacher serves all that leave out the same folds."""

    recipe: Recipe
    examples: Examples
    say: Say
    device: torch.device = field(
        default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    _taught: dict[frozenset[str], NDArray[np.float32]] = field(default_factory=dict)

    def member(self, member: Member) -> Pyramid:
        """The one that is served."""
        return self._learned(member, {self.recipe.held_out, member.left_out} - {""})

    def unseen(self, cases: list[Case], members: list[nn.Module]) -> NDArray[np.float32]:
        """Logits [n] of the cases, each the mean of networks that never saw its patient."""
        logits = np.empty(len(cases), np.float32)
        for fold in self.recipe.calibrated:
            strangers = [
                member
                for made, member in zip(self.recipe.members, members, strict=True)
                if made.left_out == fold
            ]
            twins = (Member(seed, fold, taught=True) for seed in self.recipe.twins)
            strangers += [self._learned(twin, {fold}) for twin in twins]
            mine = prepare_plain([case for case in cases if case.fold == fold], self.recipe.spec)
            asked = np.array([case.fold == fold for case in cases])
            logits[asked] = np.mean([scores(one, mine) for one in strangers], 0)
        return logits

    def _learned(self, member: Member, without: set[str]) -> Pyramid:
        recipe, kept = self.recipe, frozenset(without)
        among = np.flatnonzero(~np.isin(self.examples.fold, sorted(kept)))
        taught = self._logits(kept, among) if member.taught else None
        self.say(f"seed {member.seed} without {sorted(kept)}{' from a teacher' * member.taught}")
        return fit(
            cast(Pyramid, build("pyramid", recipe.spec.channels)),
            self.examples,
            among,
            recipe.taught if member.taught else recipe.course,
            seed=member.seed,
            device=self.device,
            say=self.say,
            taught=taught,
        )

    def _logits(self, without: frozenset[str], among: NDArray[np.intp]) -> NDArray[np.float32]:
        if without not in self._taught:
            self.say(f"a teacher without {sorted(without)}")
            self._taught[without] = taught_logits(
                self.examples, among, TEACHER, seed=1, device=self.device, say=self.say
            )
        return self._taught[without]


def _scales(recipe: Recipe, cases: list[Case], logits: NDArray[np.float32]) -> tuple[Scale, Scale]:
    """Of one image and of a series."""
    image = calibration.calibrate(calibration.singles(cases, logits), recipe.top_k)
    if recipe.top_k == 1:
        return image, image
    return image, calibration.calibrate(calibration.series(cases, logits), recipe.top_k)


def _manifest(
    name: str, recipe: Recipe, scales: tuple[Scale, Scale], learn: list[Case], seed: int
) -> dict[str, Any]:
    """The manifest without results and constancy."""
    words, members = recipe.manifest, len(recipe.members)
    return {
        "name": name,
        "version": VERSION,
        "title": words["title"],
        "intended_use": words["intended_use"],
        "licence": "Apache-2.0",
        "runner": {"kind": "builtin", "architecture": f"pyramid-x{members}"},
        "eligible": words["eligible"],
        "coverage": words.get("coverage", {}),
        **({"body": words["body"]} if "body" in words else {}),
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
            "split": f"by patient: fold {recipe.held_out} held out; scale and threshold from folds "
            f"{', '.join(recipe.calibrated)}, each by networks that never saw it",
            "limits": words["limits"],
        },
    }
