"""Drawn bodies and noise: every kind can be drawn, is reproducible, and no kind is another."""

from __future__ import annotations

import numpy as np
import pytest

from triage.phantoms.bodies import BODIES, body_ct
from triage.phantoms.noises import NOISES, noise


@pytest.mark.parametrize("kind", NOISES)
def test_noise_is_a_picture_and_the_same_seed_draws_it_again(kind: str) -> None:
    one, again, other = (noise(np.random.default_rng(seed), kind, 96) for seed in (1, 1, 2))
    assert (one.shape, one.dtype) == ((96, 96), np.float32)
    assert one.min() >= 0
    assert one.max() <= 1
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_has_air_around_and_tissue_inside(kind: str) -> None:
    one, again = (body_ct(np.random.default_rng(seed), kind, 96) for seed in (1, 1))
    assert (one.shape, one.dtype) == ((96, 96), np.int16)
    assert np.array_equal(one, again)
    assert (one < -800).mean() > 0.1
    assert (one > -200).mean() > 0.02


def test_a_kind_that_nobody_draws_is_told() -> None:
    with pytest.raises(ValueError, match="choose one of white"):
        noise(np.random.default_rng(1), "silence")
    with pytest.raises(ValueError, match="choose one of thorax"):
        body_ct(np.random.default_rng(1), "head")
