"""Who learns from whom, and who is asked about whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triage.packages.architectures import build
from triage.packages.input_spec import InputSpec
from triage.train.corpus import Case
from triage.train.examples import NORMAL, PAINTED, REAL, Examples
from triage.train.fit import Course, fit, scores
from triage.train.produce import Workshop
from triage.train.recipes import CHEST, Member
from triage.train.teacher import taught_logits

pytestmark = pytest.mark.slow
SPEC = InputSpec(kind="chest_film", channels=2, height=64, width=64)
SHORT = Course(3, 8, (0.3, 0.3), 1.0)
CPU = torch.device("cpu")
FOLDS = ("0", "1", "2")


def make_examples(each: int = 8) -> Examples:
    """So many of each fold: nothing, a real finding and a painted one in turn."""
    rng = np.random.default_rng(0)
    count = each * len(FOLDS)
    shown = np.array([(NORMAL, REAL, PAINTED)[at % 3] for at in range(count)], np.float32)
    return Examples(
        rng.standard_normal((count, *SPEC.shape)).astype(np.float16),
        shown,
        np.zeros((count, SPEC.height // 2, SPEC.width // 2), np.uint8),
        np.repeat(FOLDS, each),
    )


def say(text: str) -> None:
    print(text)


def test_a_pupil_believes_its_teacher_half_as_much_as_the_labels_and_half_more() -> None:
    examples, seen = make_examples(), {}
    course = replace(SHORT, steps=30, decay=0.5)
    for said in (-6.0, 6.0):
        network = build("pyramid", SPEC.channels)
        taught = np.full(len(examples.shown), said, np.float32)
        everyone = np.arange(len(examples.shown))
        fitted = fit(
            network, examples, everyone, course, seed=1, device=CPU, say=say, taught=taught
        )
        seen[said] = scores(fitted, examples.images).mean()
    assert seen[6.0] > seen[-6.0] + 0.5


def test_a_teacher_begins_with_the_weights_of_imagenet_and_says_something_of_each() -> None:
    examples = make_examples()
    course = replace(SHORT, place_weight=0.0)
    logits = taught_logits(examples, np.arange(8), course, seed=1, device=CPU, say=say)
    assert logits.shape == examples.shown.shape
    assert np.isfinite(logits).all()
    assert logits.std() > 0


def test_nobody_is_asked_about_patients_that_it_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = []
    for number, fold in enumerate(FOLDS * 2):
        file = tmp_path / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 255, (96, 96), np.uint8)
        Image.fromarray(pixels).save(file)
        cases.append(Case(file, number % 2, f"p{number}", "drawn", fold))
    members = (Member(1, "1", taught=False), Member(2, "", taught=False))
    monkeypatch.setattr("triage.train.produce.taught_logits", lambda examples, *_, **__: None)
    recipe = replace(CHEST, spec=SPEC, held_out="0", members=members, calibrated=("1", "2"))
    recipe = replace(recipe, course=SHORT, taught=SHORT, twins=(1,))
    learned = list[set[str]]()

    def fitted(network: object, examples: Examples, among: object, *_: object, **__: object):  # type: ignore[no-untyped-def]
        learned.append(set(examples.fold[among]))
        return fit(network, examples, among, *_, **__)  # type: ignore[type-var, arg-type]

    monkeypatch.setattr("triage.train.produce.fit", fitted)
    workshop = Workshop(recipe, make_examples(), say, CPU)
    networks = [workshop.member(member) for member in members]
    assert learned == [{"2"}, {"1", "2"}]
    asked = [case for case in cases if case.fold in recipe.calibrated]
    logits = workshop.unseen(asked, list(networks))
    assert learned[2:] == [{"0", "2"}, {"0", "1"}]  # a twin of each fold
    assert np.isfinite(logits).all()
