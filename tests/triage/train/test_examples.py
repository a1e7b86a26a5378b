"""Examples to learn from: what happens to an image happens to its mask."""

from __future__ import annotations

import numpy as np

from triage.packages.input_spec import InputSpec
from triage.phantoms.heads import head_ct
from triage.train.examples import prepare_with

HEAD = InputSpec(kind="head_ct", channels=2, height=96, width=96)


def test_a_mask_goes_where_its_image_goes() -> None:
    head = head_ct(np.random.default_rng(5), "epidural", slices=1, size=256)[0]
    image = np.clip((head.astype(np.float32) + 20) / 120, 0.0, 1.0)
    spot = np.zeros_like(image)
    spot[120:140, 150:170] = 1.0
    bright = np.where(spot > 0, 1.0, image * 0.6).astype(np.float32)
    planes, mask = prepare_with(np.pad(bright, 20), np.pad(spot, 20), HEAD)
    inside = np.kron(mask > 128, np.ones((2, 2), bool))
    assert inside.any()
    assert planes[0][inside].mean() > planes[0][~inside & (planes[0] > -1)].mean() + 0.5
