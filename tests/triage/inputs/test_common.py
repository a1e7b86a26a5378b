"""Any frame is brought between the smallest and the largest side."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.inputs.common import LONGEST, SHORTEST, within_bounds


@settings(max_examples=2 * settings.default.max_examples // 5, deadline=None)
@given(rows=st.integers(1, 9000), columns=st.integers(1, 12))
def test_any_shape_fits(rows: int, columns: int) -> None:
    for image in (
        np.full((rows, columns), 0.5, np.float32),
        np.full((columns, rows), 0.5, np.float32),
    ):
        fitted = within_bounds(image)
        assert min(fitted.shape) >= SHORTEST
        assert max(fitted.shape) <= LONGEST
        assert np.allclose(fitted, 0.5)


def test_a_picture_that_fits_is_left_alone() -> None:
    image = np.random.default_rng(1).random((96, 64), np.float32)
    assert within_bounds(image) is image
