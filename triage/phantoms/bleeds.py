"""Where a haemorrhage lies in a head, for each of five kinds."""

from __future__ import annotations

from typing import Final

import numpy as np

from triage.phantoms.shapes import Array, ellipse, smooth_noise, soft

BLEEDS: Final = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")


def bleed_mask(
    rng: np.random.Generator, kind: str, xs: Array, ys: Array, brain: Array, ventricles: Array
) -> Array:
    """Membership 0..1 of a haemorrhage, [rows, cols].

    Args:
        xs, ys: coordinates [rows, cols], -1 to 1 inside the head.
        brain: distance field [rows, cols], below 1 inside the skull's inner table.
        ventricles: their membership [rows, cols].

    Raises:
        ValueError: `kind` is not in BLEEDS.
    """
    size = xs.shape[0]
    rough = smooth_noise(rng, size, 9)
    inside = (brain < 1.0).astype(np.float32)
    side = rng.uniform(0.0, 2.0 * np.pi)
    angle = np.arctan2(ys, xs)
    away = np.abs((angle - side + np.pi) % (2.0 * np.pi) - np.pi)
    if kind == "epidural":
        span, depth = rng.uniform(0.35, 0.8), rng.uniform(0.12, 0.34)
        thick = depth * np.clip(1.0 - (away / span) ** 2, 0.0, 1.0)
        return inside * soft(1.0 + (1.0 - thick) - brain + 0.02 * rough, 0.05) * (thick > 0.02)
    if kind == "subdural":
        span, depth = rng.uniform(0.9, 1.6), rng.uniform(0.06, 0.2)
        thick = depth * np.clip(1.0 - (away / span) ** 4, 0.0, 1.0)
        return inside * soft(1.0 + (1.0 - thick) - brain + 0.03 * rough, 0.05) * (thick > 0.02)
    if kind == "intraparenchymal":
        reach, turn = rng.uniform(0.15, 0.62), rng.uniform(0.0, np.pi)
        scale = float(np.sqrt(max(float(inside.mean()), 1e-3)))
        radius = rng.uniform(0.09, 0.34) * scale
        place = ellipse(
            xs,
            ys,
            reach * scale * np.cos(side),
            reach * scale * np.sin(side),
            radius,
            radius * rng.uniform(0.6, 1.0),
            turn,
        )
        return inside * soft(place + 0.18 * rough, 0.12)
    if kind == "intraventricular":
        fill = soft(1.0 - (ys + rng.uniform(-0.1, 0.15)) * rng.uniform(3.0, 9.0), 0.6)
        return np.asarray(ventricles * np.maximum(fill, (rough > 0.25) * 0.8), np.float32)
    if kind == "subarachnoid":
        folds = np.abs(smooth_noise(rng, size, 14)) < 0.13
        rim = (brain > 0.72) & (brain < 0.985) & (away < rng.uniform(0.7, 1.6))
        middle = (np.abs(xs) < 0.02) & (ys < 0.0) & (rng.random() < 0.5)
        return inside * ((folds & rim) | middle | (rim & (brain > 0.95))).astype(np.float32)
    raise ValueError(f"unknown bleed {kind!r}: choose one of {', '.join(BLEEDS)}")
