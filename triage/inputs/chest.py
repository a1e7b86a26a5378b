"""One chest film as the network reads it: grey by rank, and contrast against its surround."""

from __future__ import annotations

import numpy as np

from triage.decoding.reduction import body_box
from triage.inputs.common import Array, box_mean, resize
from triage.packages.input_spec import InputSpec


def equalise(image: Array) -> Array:
    """Grey levels by rank, -1..1, learned from the middle 80 %.

    Any monotone curve gives the same image.
    """
    rows, cols = image.shape
    middle = image[rows // 10 : rows - rows // 10, cols // 10 : cols - cols // 10]
    knots, first = np.unique(np.quantile(middle, np.linspace(0.0, 1.0, 65)), return_index=True)
    levels = np.linspace(-1.0, 1.0, 65)[first]
    return np.interp(image, knots, levels).astype(np.float32)


def chest_planes(pixels: Array, spec: InputSpec) -> Array:
    """One chest film [rows, cols] in 0..1 as [channels, height, width].

    The first channel is grey by rank, the second contrast against its surround.
    """
    image = np.clip(pixels, 0.0, 1.0)
    image = resize(image[body_box(image)], spec.height, spec.width)
    ranked = equalise(image)
    planes = np.broadcast_to(ranked * 1.7, spec.shape).copy()
    if spec.channels > 1:
        flat = ranked - box_mean(ranked, spec.height // 8)
        planes[1] = np.clip(
            flat / np.sqrt(box_mean(flat * flat, spec.height // 6) + 0.01), -3.0, 3.0
        )
    return planes
