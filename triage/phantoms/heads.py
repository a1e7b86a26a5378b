"""Axial head CT series with a known truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triage.phantoms.bleeds import BLEEDS, bleed_mask
from triage.phantoms.shapes import Array, Mask, ellipse, grid, smooth_noise, soft


def _head_slice(
    rng: np.random.Generator,
    look: dict[str, float],
    level: float,
    size: int,
    bleed: str | None,
    seed: int,
) -> Array:
    """One axial slice in HU; `level` runs from 0 (skull base) to 1 (vertex)."""
    xs, ys = grid(size)
    taper = float(np.sqrt(max(1.0 - (1.25 * (level - 0.35)) ** 2, 0.05)))
    rx, ry = look["rx"] * taper, look["ry"] * taper
    x0, y0 = xs - look["cx"], ys - look["cy"]
    wave = 1.0 + 0.02 * smooth_noise(np.random.default_rng(seed), size, 4)
    outer = ellipse(x0, y0, 0.0, 0.0, rx, ry, look["tilt"]) * wave
    table = look["skull"] * (1.0 + 0.9 * max(level - 0.75, 0.0) * 4.0)
    skull_out, brain = outer / (1.0 - look["scalp"]), outer / (1.0 - look["scalp"] - table)
    image = np.full((size, size), -1000.0, np.float32)
    image = np.where(outer < 1.0, 25.0 + 45.0 * (smooth_noise(rng, size, 6) - 0.6), image)
    image = np.where(skull_out < 1.0, look["bone"], image)
    cos, sin = np.cos(look["tilt"]), np.sin(look["tilt"])
    bx, by = (x0 * cos + y0 * sin) / rx, (y0 * cos - x0 * sin) / ry
    texture = 3.0 * smooth_noise(rng, size, 22)
    white = soft(ellipse(np.abs(bx) - 0.33, by, 0.0, 0.0, 0.26, 0.52) + 0.25 * texture / 3.0, 0.2)
    tissue = look["grey"] - 8.0 * white + texture
    sulci = (np.abs(smooth_noise(rng, size, 18)) < look["sulci"]) & (brain > 0.8)
    tissue = np.where(
        sulci | (brain > 0.975) | ((np.abs(bx) < 0.012) & (brain < 1)), tissue - 16.0, tissue
    )
    openness = max(1.0 - abs(level - 0.55) * 4.0, 0.0) * look["ventricle"]
    horns = soft(
        ellipse(
            np.abs(bx) - 0.13,
            by + 0.08,
            0.0,
            0.0,
            0.07 * openness + 1e-3,
            0.33 * openness + 1e-3,
            0.3,
        ),
        0.3,
    )
    tissue = tissue * (1.0 - horns) + 8.0 * horns
    if bleed is not None:
        clot = bleed_mask(np.random.default_rng(seed), bleed, bx, by, brain, horns)
        tissue = tissue * (1.0 - clot) + (look["clot"] + texture) * clot
    image = np.where(brain < 1.0, tissue, image)
    if level < 0.2:
        sinus = ellipse(bx, by, 0.0, -0.62, 0.3, 0.2) < 1.0
        petrous = ellipse(np.abs(bx) - 0.55, by, 0.0, 0.12, 0.36, 0.1, 0.5) < 1.0
        image = np.where(
            petrous & (brain < 1.0), look["bone"], np.where(sinus & (outer < 1.0), -900.0, image)
        )
    return image


def _head_look(rng: np.random.Generator) -> dict[str, float]:
    """One patient's and scanner's look: sizes in -1..1 coordinates, densities in HU."""
    span = {
        "rx": (0.5, 0.72),
        "ry": (0.64, 0.86),
        "cx": (-0.06, 0.06),
        "cy": (-0.06, 0.06),
        "tilt": (-0.25, 0.25),
        "scalp": (0.04, 0.08),
        "skull": (0.06, 0.11),
        "bone": (700.0, 1400.0),
        "grey": (34.0, 40.0),
        "sulci": (0.02, 0.09),
        "ventricle": (0.7, 1.6),
        "clot": (58.0, 78.0),
        "noise": (2.0, 6.0),
        "table": (0.0, 1.0),
    }
    return {name: float(rng.uniform(low, high)) for name, (low, high) in span.items()}


def slice_levels(slices: int) -> npt.NDArray[np.float64]:
    """Heights of the slices of `head_ct`, 0 (skull base) to 1 (vertex)."""
    return np.linspace(0.08, 0.95, slices) if slices > 1 else np.array([0.55])


def bleeding_slices(bleed: str | None, slices: int) -> Mask:
    """Which slices of `head_ct(rng, bleed, slices)` show the bleed: bool [slices].

    None of them where `bleed` is None.
    """
    if bleed is None:
        return np.zeros(slices, np.bool_)
    away = np.abs(slice_levels(slices) - 0.55)
    hit = away < (0.14 if bleed == "intraventricular" else 0.24)
    hit[int(np.argmin(away))] = True
    return hit


def head_ct(
    rng: np.random.Generator, bleed: str | None, slices: int = 12, size: int = 256
) -> npt.NDArray[np.int16]:
    """An axial head CT, skull base first: int16 HU [slices, size, size].

    `bleed` is None or one of BLEEDS; it is seen on the middle slices, always on at least one.
    Raises ValueError for another name, or for less than one slice or 32 pixels.
    """
    if bleed is not None and bleed not in BLEEDS:
        raise ValueError(f"unknown bleed {bleed!r}: choose one of {', '.join(BLEEDS)}")
    if slices < 1 or size < 32:
        raise ValueError("a head needs at least one slice and 32 pixels")
    look, seed = _head_look(rng), int(rng.integers(2**31))
    levels, hit = slice_levels(slices), bleeding_slices(bleed, slices)
    xs, ys = grid(size)
    rest = np.abs(np.hypot(xs, ys + 0.35) - 1.28) < 0.012
    series = np.empty((slices, size, size), np.int16)
    for index, level in enumerate(levels):
        image = _head_slice(rng, look, float(level), size, bleed if hit[index] else None, seed)
        if look["table"] > 0.4:
            image = np.where(rest & (ys > 0.3) & (image < -500.0), 250.0, image)
        noisy = image + rng.normal(0.0, look["noise"], image.shape)
        series[index] = np.clip(noisy, -1024, 3071).astype(np.int16)
    return series
