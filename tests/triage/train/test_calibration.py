"""From logits to a threshold: it has its specificity on the cases that it was chosen on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.judging.flagging import highest, probability
from triage.train.calibration import SPECIFICITY, Group, calibrate


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), apart=st.floats(0, 4), size=st.integers(1, 6))
def test_the_threshold_has_its_specificity_and_the_scale_rises(
    seed: int, apart: float, size: int
) -> None:
    rng = np.random.default_rng(seed)
    truths = [0, 1] * 40
    groups = [
        Group(rng.normal(apart * truth, 1, size).astype(np.float32), truth, str(i))
        for i, truth in enumerate(truths)
    ]
    scale = calibrate(groups, top_k=2)
    told = np.array([probability(highest(group.logits, 2), scale) for group in groups])
    assert scale.slope > 0
    assert (
        told[::2] < scale.threshold + 1e-4
    ).mean() >= SPECIFICITY  # it is rounded to four digits
