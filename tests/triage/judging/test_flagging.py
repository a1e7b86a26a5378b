"""From logits to a probability and a flag: an image and a series each on a scale of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from triage.judging.flagging import highest, judge, probability
from triage.packages.load import Package, find_packages, load_package
from triage.packages.manifest import Scale
from triage.settings import shipped_models

logits = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=24).map(
    lambda some: np.array(some, np.float32)
)


@pytest.fixture(scope="module", params=[folder.name for folder in find_packages(shipped_models())])
def package(request: pytest.FixtureRequest) -> Package:
    return load_package(shipped_models() / request.param)


@settings(max_examples=60)
@given(some=logits, more=st.floats(0, 4), at=st.integers(0, 23))
def test_a_higher_image_never_makes_a_series_less_probable(
    package: Package, some: NDArray[np.float32], more: float, at: int
) -> None:
    raised = some.copy()
    raised[at % len(some)] += np.float32(more)
    scale, top_k = package.manifest.scale(len(some)), package.manifest.operating.top_k
    before, after = (probability(highest(logits, top_k), scale) for logits in (some, raised))
    assert 0 <= before <= after <= 1


def test_one_image_and_a_series_are_judged_on_their_own_scales(package: Package) -> None:
    one, several = (
        Scale(slope=1, intercept=0, threshold=0.4),
        Scale(slope=1, intercept=0, threshold=0.6),
    )
    told = replace(
        package, manifest=package.manifest.model_copy(update={"image": one, "series": several})
    )
    shape = (package.input.channels, package.input.height, package.input.width)
    images = np.broadcast_to(package.training_distribution.mean.mean(), (2, *shape)).astype(
        np.float32
    )
    near = replace(
        told, training_distribution=replace(told.training_distribution, scale=1e6)
    )  # whatever they look like
    zero = np.zeros(2, np.float32)  # a probability of a half
    assert judge(near, zero[:1], images[:1]).outcome == "flagged"
    assert judge(near, zero, images).outcome == "not_flagged"
