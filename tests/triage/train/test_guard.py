"""A guard learns what is foreign, and the networks that it guards stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from triage.packages.guard import Guarded
from triage.packages.manifest import WEIGHTS
from triage.settings import shipped_models
from triage.train.foreign import foreign_examples
from triage.train.guard import Known, fitted
from triage.train.package import read, write
from triage.train.recipes import RECIPES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_package_that_is_guarded_anew_keeps_its_networks_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    document, network = read(shipped_models() / name)
    write(tmp_path / name, document, Guarded(network))
    before, after = (load_file(folder / name / WEIGHTS) for folder in (shipped_models(), tmp_path))
    kept = [key for key in before if key.startswith("network.")]
    assert len(kept) > 100
    assert all(torch.equal(before[key], after[key]) for key in kept)
    assert before.keys() == after.keys()


def known(count: int = 300, features: int = 40) -> Known:
    """Foreign ones have some features that are unusual, each one of them others."""
    rng = np.random.default_rng(3)
    values = rng.normal(5.0, 2.0, (2 * count, features)).astype(np.float32)
    foreign = np.arange(2 * count) >= count
    values[foreign] += 6.0 * (rng.random((count, features)) < 0.4)
    fold = np.array(["0", "1"])[np.arange(2 * count) % 2]
    return Known(values, foreign, np.ones(2 * count), ~foreign, fold)


def test_a_guard_knows_foreign_features_that_it_never_saw_and_the_seed_decides_it() -> None:
    every = known()
    seen = every.fold == "0"
    guard, again = fitted(every[seen], 1), fitted(every[seen], 1)
    asked = torch.from_numpy(every.features[~seen])
    with torch.inference_mode():
        logits = guard(asked).numpy()
        assert np.array_equal(logits, again(asked).numpy())
    foreign = every.foreign[~seen]
    assert (logits[foreign] > 0).mean() > 0.95
    assert (logits[~foreign] < 0).mean() > 0.95


def test_the_same_seed_shows_the_same_foreign_images() -> None:
    spec, kinds = RECIPES["head-ct-ich"].spec, ("film/knee", "body/limb", "noise/text")
    one, again = (foreign_examples(spec, {}, kinds, 2, 5) for _ in range(2))
    assert list(one.kinds) == [kind for kind in kinds for _ in range(2)]
    assert np.array_equal(one.images, again.images)
    assert len({image.tobytes() for image in one.images}) == 6
