"""One phantom as decoded frames: to check, to train on, to compile with."""

from __future__ import annotations

from typing import Literal

import numpy as np

from triage.decoding.frames import Frame
from triage.phantoms.bleeds import BLEEDS
from triage.phantoms.films import chest_film
from triage.phantoms.heads import head_ct


def phantom_series(
    rng: np.random.Generator, kind: Literal["head_ct", "chest_film"]
) -> tuple[list[Frame], int]:
    """One phantom as decoded frames, and whether it has the finding (1) or not (0)."""
    positive = bool(rng.random() < 0.5)
    if kind == "head_ct":
        volume = head_ct(rng, str(rng.choice(BLEEDS)) if positive else None, slices=8)
        return [Frame(plane.astype(np.float32), "hu") for plane in volume], int(positive)
    film = chest_film(rng, positive, 384)
    return [Frame(film.astype(np.float32) / np.float32(4095), "display")], int(positive)
