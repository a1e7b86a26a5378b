"""Axial CT slices of what is no head: thorax, abdomen, pelvis, limb, and bodies of no anatomy."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from triage.phantoms.shapes import Array, ellipse, grid, smooth_noise

BODIES: Final = ("thorax", "abdomen", "pelvis", "limb", "shapes")
Random = np.random.Generator
_AIR, _FAT, _MUSCLE, _LUNG = -1000.0, -100.0, 55.0, -830.0


def body_ct(rng: Random, kind: str, size: int = 256) -> npt.NDArray[np.int16]:
    """An axial slice, int16 HU [size, size].

    Raises ValueError for a `kind` that is not in BODIES.
    """
    if kind not in BODIES:
        raise ValueError(f"unknown body {kind!r}: choose one of {', '.join(BODIES)}")
    xs, ys = grid(size)
    xs, ys = xs + float(rng.uniform(-0.1, 0.1)), ys + float(rng.uniform(-0.1, 0.1))
    image: Array = np.full((size, size), _AIR, np.float32)
    match kind:
        case "limb":
            image = _limb(rng, image, xs, ys)
        case "shapes":
            image = _shapes(rng, image, xs, ys)
        case _:
            image = _trunk(rng, image, xs, ys, kind)
    image = image + rng.uniform(0.0, 12.0) * smooth_noise(rng, size, 40)
    image = image + rng.normal(0.0, rng.uniform(2.0, 15.0), image.shape)
    return np.asarray(np.clip(image, -1024, 3071), np.int16)


def _trunk(rng: Random, image: Array, xs: Array, ys: Array, kind: str) -> Array:
    wide, deep = rng.uniform(0.7, 0.97), rng.uniform(0.42, 0.7)
    outer = ellipse(xs, ys, 0.0, 0.0, wide, deep) * (1 + 0.03 * smooth_noise(rng, len(xs), 5))
    inner = outer / rng.uniform(0.78, 0.93)
    image = np.where(outer < 1.0, _FAT, image)
    image = np.where(inner < 1.0, rng.uniform(20, 70), image)
    if kind == "thorax":
        for side in (-1, 1):
            lung = ellipse(xs, ys, side * 0.42 * wide, 0.0, 0.36 * wide, 0.68 * deep)
            image = np.where(lung < 1.0, _LUNG + 60.0 * smooth_noise(rng, len(xs), 30), image)
        heart = ellipse(xs, ys, 0.1, -0.1 * deep, 0.3 * wide, 0.4 * deep, 0.4)
        image = np.where(heart < 1.0, rng.uniform(35, 220), image)
        ribs = (np.abs(inner - 0.95) < 0.04) & (np.sin(np.arctan2(ys, xs) * 14) > 0.3)
        image = np.where(ribs, rng.uniform(300, 900), image)
    for _ in range(int(rng.integers(3, 9)) if kind == "abdomen" else 0):
        at_x, at_y = rng.uniform(-0.6, 0.6) * wide, rng.uniform(-0.6, 0.4) * deep
        across, down = rng.uniform(0.06, 0.35, 2)
        organ = ellipse(xs, ys, at_x, at_y, across, down, float(rng.uniform(0, 3)))
        tone = rng.choice((_FAT, 0.0, 60.0, 110.0, 180.0, -700.0)) + rng.uniform(-20, 20)
        image = np.where((organ < 1.0) & (inner < 0.97), tone, image)
    if kind == "pelvis":
        for side in (-1, 1):
            wing = ellipse(xs, ys, side * 0.5 * wide, 0.0, 0.22 * wide, 0.5 * deep, side * 0.6)
            image = np.where(np.abs(wing - 1.0) < 0.18, rng.uniform(300, 1000), image)
            image = np.where(wing < 0.82, rng.uniform(80, 300), image)
    spine = ellipse(xs, ys, 0.0, 0.55 * deep, 0.13, 0.12)
    image = np.where(spine < 1.0, rng.uniform(200, 600), image)
    return np.where(ellipse(xs, ys, 0.0, 0.55 * deep + 0.17, 0.05, 0.04) < 1.0, 25.0, image)


def _limb(rng: Random, image: Array, xs: Array, ys: Array) -> Array:
    """One or two legs or arms: soft tissue about one or two hollow bones."""
    limbs = int(rng.integers(1, 3))
    for number in range(limbs):
        middle = 0.0 if limbs == 1 else (number - 0.5) * 0.95
        wide = rng.uniform(0.3, 0.9) if limbs == 1 else rng.uniform(0.28, 0.45)
        outer = ellipse(xs, ys, middle, 0.0, wide, wide * rng.uniform(0.85, 1.15))
        image = np.where(outer < 1.0, _FAT, image)
        image = np.where(outer < rng.uniform(0.7, 0.92), _MUSCLE, image)
        for _ in range(int(rng.integers(1, 3))):
            radius = wide * rng.uniform(0.12, 0.5)
            bone = ellipse(xs, ys, middle + wide * rng.uniform(-0.3, 0.3), 0.1, radius, radius)
            image = np.where(bone < 1.0, rng.uniform(700, 1500), image)
            image = np.where(bone < rng.uniform(0.4, 0.85), rng.uniform(-80, 200), image)
    return image


def _shapes(rng: Random, image: Array, xs: Array, ys: Array) -> Array:
    """Ellipses, rings and boxes of any density."""
    for _ in range(int(rng.integers(2, 14))):
        at_x, at_y = rng.uniform(-0.8, 0.8, 2)
        sides = rng.uniform(0.05, 0.8, 2)
        shape = ellipse(xs, ys, float(at_x), float(at_y), sides[0], sides[1], rng.uniform(0, 3))
        if rng.random() < 0.3:
            shape = np.maximum(np.abs(xs - at_x) / sides[0], np.abs(ys - at_y) / sides[1])
        inside = np.abs(shape - 0.9) < 0.1 if rng.random() < 0.3 else shape < 1.0
        image = np.where(inside, rng.choice((-800, -100, 0, 40, 60, 300, 1000)), image)
    return image
