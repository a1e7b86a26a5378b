"""A film's grey levels are ranks: any monotone curve gives the same image."""

from __future__ import annotations

import numpy as np

from triage.decoding.frames import Frame
from triage.inputs.prepare import prepare
from triage.packages.input_spec import InputSpec
from triage.phantoms.films import chest_film

CHEST = InputSpec(kind="chest_film", channels=2, height=96, width=96)


def test_a_monotone_curve_changes_no_film() -> None:
    film = (chest_film(np.random.default_rng(3), True) / 4095).astype(np.float32)
    brighter = np.asarray(0.05 + 0.9 * film**0.6, np.float32)
    first, second = (prepare([Frame(image, "display")], CHEST)[0] for image in (film, brighter))
    # Means of squares of 8 pixels.
    coarse = (plane[0].reshape(12, 8, 12, 8).mean((1, 3)) for plane in (first, second))
    assert float(np.abs(np.subtract(*coarse)).mean()) < 0.1
