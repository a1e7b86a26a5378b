"""Noise, ellipses and soft edges: what phantoms are drawn of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Smooth random field [size, size] in -1..1, with about `cells` bumps along each side."""
    grid = rng.uniform(-1.0, 1.0, (cells + 1, cells + 1))
    at = np.linspace(0.0, cells - 1e-6, size)
    low = at.astype(int)
    part = at - low
    ease = part * part * (3.0 - 2.0 * part)
    rows = grid[low] * (1.0 - ease)[:, None] + grid[low + 1] * ease[:, None]
    field = rows[:, low] * (1.0 - ease) + rows[:, low + 1] * ease
    return np.asarray(field, np.float32)


def grid(size: int) -> tuple[Array, Array]:
    """Coordinates (x to the right, y downwards) in -1..1, each [size, size]."""
    line = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    return np.meshgrid(line, line, indexing="xy")[0], np.meshgrid(line, line, indexing="xy")[1]


def ellipse(
    xs: Array, ys: Array, cx: float, cy: float, rx: float, ry: float, tilt: float = 0.0
) -> Array:
    """Distance field of an ellipse: below 1 inside, 1 on the line, above 1 outside."""
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    along = ((xs - cx) * cos + (ys - cy) * sin) / rx
    across = ((ys - cy) * cos - (xs - cx) * sin) / ry
    distance: Array = np.hypot(along, across)
    return distance


def soft(field: Array, width: float = 0.04) -> Array:
    """Membership 0..1 of the inside (< 1) of a distance field, with a soft edge."""
    inside: Array = np.clip((1.0 - field) / width + 0.5, 0.0, 1.0)
    return inside
