"""Whatever frame comes, the network sees finite numbers, or the frame is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from triage.decoding.frames import Frame
from triage.inputs.prepare import prepare
from triage.packages.input_spec import InputSpec

HEAD = InputSpec(kind="head_ct", channels=2, height=96, width=96)
CHEST = InputSpec(kind="chest_film", channels=2, height=96, width=96)
Array = NDArray[np.float32]


@pytest.mark.slow
@settings(deadline=None, max_examples=3 * settings.default.max_examples // 5)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=90),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.sampled_from(["hu", "display"]),
)
def test_whatever_comes_the_network_sees_finite_numbers(pixels: Array, unit: str) -> None:
    for spec in (HEAD, CHEST):
        if unit == "hu" and spec is CHEST:
            continue
        assert np.isfinite(prepare([Frame(pixels, unit)], spec)).all()  # type: ignore[arg-type]


def test_a_frame_that_is_no_plane_is_refused() -> None:
    for shape in ((7, 200), (4, 16, 16)):
        with pytest.raises(ValueError, match="not an image plane"):
            prepare([Frame(np.zeros(shape, np.float32), "display")], HEAD)


def test_a_shape_that_would_take_gigabytes_to_square_takes_none() -> None:
    strip = np.random.default_rng(1).random((8, 65_535), np.float32)
    for spec in (HEAD, CHEST):
        tracemalloc.start()
        assert np.isfinite(prepare([Frame(strip, "display")], spec)).all()
        assert tracemalloc.get_traced_memory()[1] < 400_000_000
        tracemalloc.stop()
