"""Films with a known truth: chests with and without an opacity, and what is no chest."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from triage.phantoms.shapes import Array, ellipse, grid, smooth_noise, soft

OTHER_FILMS: Final = ("knee", "abdomen")


def _lungs(rng: np.random.Generator, xs: Array, ys: Array) -> tuple[Array, Array]:
    """Membership 0..1 of the lungs as (left of the image, right of the image)."""
    width, height, top = rng.uniform(0.26, 0.34), rng.uniform(0.56, 0.72), rng.uniform(-0.16, -0.04)
    bend = 0.03 * smooth_noise(rng, xs.shape[0], 4)
    one = soft(ellipse(xs, ys, -0.4, top, width, height, 0.08) + bend, 0.1)
    two = soft(ellipse(xs, ys, 0.4, top, width * rng.uniform(0.9, 1.0), height, -0.08) + bend, 0.1)
    domes = (ys < top + height * 0.72 + 0.5 * (np.abs(xs) - 0.4) ** 2).astype(np.float32)
    return one * domes, two * domes


def opacity_field(
    rng: np.random.Generator, xs: Array, ys: Array, lungs: tuple[Array, Array]
) -> Array:
    """Density 0..1 of a pneumonia-like opacity: lobar, patchy or diffuse, inside the lungs.

    Args:
        xs, ys: coordinates [rows, cols], -1 to 1.
        lungs: memberships 0..1 of the left and the right one.
    """
    size, lung = xs.shape[0], lungs[0] + lungs[1]
    rough = smooth_noise(rng, size, 8) + 0.5 * smooth_noise(rng, size, 20)
    kind = rng.integers(3)
    if kind == 0:
        side = lungs[int(rng.integers(2))]
        level = rng.uniform(-0.2, 0.25)
        return side * np.clip((ys - level) * 5.0 + 0.5 + 0.4 * rough, 0.0, 1.0)
    if kind == 1:
        field = np.zeros_like(xs)
        for _ in range(int(rng.integers(2, 6))):
            cx, cy, radius = (
                rng.choice((-1, 1)) * rng.uniform(0.22, 0.52),
                rng.uniform(-0.45, 0.4),
                rng.uniform(0.12, 0.28),
            )
            field = np.maximum(
                field,
                soft(ellipse(xs, ys, float(cx), float(cy), radius, radius) + 0.3 * rough, 0.7),
            )
        found: Array = lung * field
        return found
    hazy: Array = lung * np.clip(0.45 + 0.5 * rough + 0.3 * ys, 0.0, 1.0)
    return hazy


def chest_film(rng: np.random.Generator, opacity: bool, size: int = 256) -> npt.NDArray[np.uint16]:
    """A frontal chest film, uint16 [size, size] of 12 bits (0..4095); white is dense."""
    xs, ys = grid(size)
    xs, ys = xs + float(rng.uniform(-0.05, 0.05)), ys + float(rng.uniform(-0.05, 0.05))
    body = soft(ellipse(xs, ys, 0.0, 0.25, 0.95, 1.35), 0.05)
    image = 0.62 * body + 0.05 * body * smooth_noise(rng, size, 5)
    left, right = _lungs(rng, xs, ys)
    lung = left + right
    aerated = rng.uniform(0.36, 0.44) * lung
    marks = np.abs(smooth_noise(rng, size, 26)) < 0.12
    image = (
        image
        - aerated
        + 0.06 * lung * marks * np.clip(1.0 - 1.6 * np.abs(np.abs(xs) - 0.2), 0.0, 1.0)
    )
    heart = soft(
        ellipse(xs, ys, 0.12, 0.25, rng.uniform(0.27, 0.34), rng.uniform(0.26, 0.34), 0.5), 0.25
    )
    spine = soft(ellipse(xs, ys, 0.0, 0.1, 0.1, 1.4), 0.4)
    image = np.maximum(image, 0.66 * heart) + 0.14 * spine
    image = image + 0.06 * body * smooth_noise(rng, size, 3)
    pitch = rng.uniform(9.0, 12.0)
    ribs = np.clip(np.cos(2 * np.pi * (ys + 0.45 * xs * xs) * pitch / 2.0) - 0.45, 0.0, 1.0)
    image = image + 0.13 * ribs * (lung > 0.3)
    clavicle = ellipse(np.abs(xs), ys + 0.66 + 0.25 * np.abs(xs), 0.4, 0.0, 0.36, 0.03) < 1.0
    image = image + 0.1 * clavicle
    if opacity:
        image = image + rng.uniform(0.26, 0.36) * opacity_field(rng, xs, ys, (left, right)) * (
            1.0 - 0.8 * heart
        )
    image = np.clip(image + rng.normal(0.0, 0.012, image.shape), 0.0, 1.0)
    return np.asarray(image * 4095.0, np.uint16)


def other_film(rng: np.random.Generator, kind: str, size: int = 256) -> npt.NDArray[np.uint16]:
    """A film that no chest model may read: uint16 [size, size], 12 bits.

    Raises ValueError for a `kind` that is not in OTHER_FILMS.
    """
    xs, ys = grid(size)
    if kind == "knee":
        leg = soft(np.abs(xs) / (0.45 + 0.08 * ys * ys), 0.1)
        femur = (np.abs(xs) < 0.2 + 0.16 * np.exp(-(((ys + 0.12) / 0.2) ** 2))) & (ys < -0.05)
        tibia = (np.abs(xs) < 0.17 + 0.18 * np.exp(-(((ys - 0.1) / 0.2) ** 2))) & (ys > 0.03)
        fibula = (np.abs(xs - 0.32) < 0.05) & (ys > 0.2)
        image = 0.35 * leg + 0.4 * (femur | tibia | fibula)
    elif kind == "abdomen":
        image = 0.55 * soft(ellipse(xs, ys, 0.0, 0.0, 0.9, 1.3), 0.05) + 0.08 * smooth_noise(
            rng, size, 5
        )
        for _ in range(int(rng.integers(4, 9))):
            cx, cy = rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.6)
            image = image - 0.2 * soft(
                ellipse(
                    xs, ys, float(cx), float(cy), rng.uniform(0.06, 0.2), rng.uniform(0.05, 0.12)
                ),
                0.3,
            )
        pelvis = np.abs(ellipse(xs, ys, 0.0, 0.75, 0.55, 0.35) - 1.0) < 0.12
        image = image + 0.2 * soft(np.abs(xs) / 0.12, 0.3) + 0.2 * pelvis
    else:
        raise ValueError(f"unknown film {kind!r}: choose one of {', '.join(OTHER_FILMS)}")
    image = np.clip(image + rng.normal(0.0, 0.012, image.shape), 0.0, 1.0)
    return np.asarray(image * 4095.0, np.uint16)
