"""Draws head CT series and films with a known truth, so that tests and the demo need no patient."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

BLEEDS: Final = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")
OTHER_FILMS: Final = ("knee", "abdomen")


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
    x: Array, y: Array, cx: float, cy: float, rx: float, ry: float, tilt: float = 0.0
) -> Array:
    """Distance field of an ellipse: below 1 inside, 1 on the line, above 1 outside."""
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    u = ((x - cx) * cos + (y - cy) * sin) / rx
    v = ((y - cy) * cos - (x - cx) * sin) / ry
    distance: Array = np.hypot(u, v)
    return distance


def soft(field: Array, width: float = 0.04) -> Array:
    """Membership 0..1 of the inside (< 1) of a distance field, with a soft edge."""
    inside: Array = np.clip((1.0 - field) / width + 0.5, 0.0, 1.0)
    return inside


def bleed_mask(
    rng: np.random.Generator, kind: str, x: Array, y: Array, brain: Array, ventricles: Array
) -> Array:
    """Membership 0..1 of a haemorrhage.

    `brain` is a distance field (< 1 inside the skull's inner table), `ventricles` a membership; all
    [rows, cols]. Raises ValueError for a kind that is not in BLEEDS.
    """
    size = x.shape[0]
    rough = smooth_noise(rng, size, 9)
    inside = (brain < 1.0).astype(np.float32)
    side = rng.uniform(0.0, 2.0 * np.pi)
    angle = np.arctan2(y, x)
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
            x,
            y,
            reach * scale * np.cos(side),
            reach * scale * np.sin(side),
            radius,
            radius * rng.uniform(0.6, 1.0),
            turn,
        )
        return inside * soft(place + 0.18 * rough, 0.12)
    if kind == "intraventricular":
        fill = soft(1.0 - (y + rng.uniform(-0.1, 0.15)) * rng.uniform(3.0, 9.0), 0.6)
        return np.asarray(ventricles * np.maximum(fill, (rough > 0.25) * 0.8), np.float32)
    if kind == "subarachnoid":
        folds = np.abs(smooth_noise(rng, size, 14)) < 0.13
        rim = (brain > 0.72) & (brain < 0.985) & (away < rng.uniform(0.7, 1.6))
        middle = (np.abs(x) < 0.02) & (y < 0.0) & (rng.random() < 0.5)
        return inside * ((folds & rim) | middle | (rim & (brain > 0.95))).astype(np.float32)
    raise ValueError(f"unknown bleed {kind!r}: choose one of {', '.join(BLEEDS)}")


def _head_slice(
    rng: np.random.Generator,
    look: dict[str, float],
    level: float,
    size: int,
    bleed: str | None,
    seed: int,
) -> Array:
    """One axial slice in HU; `level` runs from 0 (skull base) to 1 (vertex)."""
    x, y = grid(size)
    taper = float(np.sqrt(max(1.0 - (1.25 * (level - 0.35)) ** 2, 0.05)))
    rx, ry = look["rx"] * taper, look["ry"] * taper
    x0, y0 = x - look["cx"], y - look["cy"]
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
    """Which slices of `head_ct(rng, bleed, slices)` show the bleed: bool [slices], none where there
    is none.
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
    x, y = grid(size)
    rest = np.abs(np.hypot(x, y + 0.35) - 1.28) < 0.012
    series = np.empty((slices, size, size), np.int16)
    for index, level in enumerate(levels):
        image = _head_slice(rng, look, float(level), size, bleed if hit[index] else None, seed)
        if look["table"] > 0.4:
            image = np.where(rest & (y > 0.3) & (image < -500.0), 250.0, image)
        noisy = image + rng.normal(0.0, look["noise"], image.shape)
        series[index] = np.clip(noisy, -1024, 3071).astype(np.int16)
    return series


def _lungs(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array]:
    """Membership 0..1 of the lungs as (left of the image, right of the image)."""
    width, height, top = rng.uniform(0.26, 0.34), rng.uniform(0.56, 0.72), rng.uniform(-0.16, -0.04)
    bend = 0.03 * smooth_noise(rng, x.shape[0], 4)
    one = soft(ellipse(x, y, -0.4, top, width, height, 0.08) + bend, 0.1)
    two = soft(ellipse(x, y, 0.4, top, width * rng.uniform(0.9, 1.0), height, -0.08) + bend, 0.1)
    domes = (y < top + height * 0.72 + 0.5 * (np.abs(x) - 0.4) ** 2).astype(np.float32)
    return one * domes, two * domes


def opacity_field(
    rng: np.random.Generator, x: Array, y: Array, lungs: tuple[Array, Array]
) -> Array:
    """Density 0..1 of a pneumonia-like opacity: lobar, patchy or diffuse, inside the lungs'
    memberships.
    """
    size, lung = x.shape[0], lungs[0] + lungs[1]
    rough = smooth_noise(rng, size, 8) + 0.5 * smooth_noise(rng, size, 20)
    kind = rng.integers(3)
    if kind == 0:
        side = lungs[int(rng.integers(2))]
        level = rng.uniform(-0.2, 0.25)
        return side * np.clip((y - level) * 5.0 + 0.5 + 0.4 * rough, 0.0, 1.0)
    if kind == 1:
        field = np.zeros_like(x)
        for _ in range(int(rng.integers(2, 6))):
            cx, cy, radius = (
                rng.choice((-1, 1)) * rng.uniform(0.22, 0.52),
                rng.uniform(-0.45, 0.4),
                rng.uniform(0.12, 0.28),
            )
            field = np.maximum(
                field, soft(ellipse(x, y, float(cx), float(cy), radius, radius) + 0.3 * rough, 0.7)
            )
        found: Array = lung * field
        return found
    hazy: Array = lung * np.clip(0.45 + 0.5 * rough + 0.3 * y, 0.0, 1.0)
    return hazy


def chest_film(rng: np.random.Generator, opacity: bool, size: int = 256) -> npt.NDArray[np.uint16]:
    """A frontal chest film, uint16 [size, size] of 12 bits (0..4095), MONOCHROME2: white is dense."""
    x, y = grid(size)
    x, y = x + float(rng.uniform(-0.05, 0.05)), y + float(rng.uniform(-0.05, 0.05))
    body = soft(ellipse(x, y, 0.0, 0.25, 0.95, 1.35), 0.05)
    image = 0.62 * body + 0.05 * body * smooth_noise(rng, size, 5)
    left, right = _lungs(rng, x, y)
    lung = left + right
    aerated = rng.uniform(0.36, 0.44) * lung
    marks = np.abs(smooth_noise(rng, size, 26)) < 0.12
    image = (
        image
        - aerated
        + 0.06 * lung * marks * np.clip(1.0 - 1.6 * np.abs(np.abs(x) - 0.2), 0.0, 1.0)
    )
    heart = soft(
        ellipse(x, y, 0.12, 0.25, rng.uniform(0.27, 0.34), rng.uniform(0.26, 0.34), 0.5), 0.25
    )
    spine = soft(ellipse(x, y, 0.0, 0.1, 0.1, 1.4), 0.4)
    image = np.maximum(image, 0.66 * heart) + 0.14 * spine
    image = image + 0.06 * body * smooth_noise(rng, size, 3)
    pitch = rng.uniform(9.0, 12.0)
    ribs = np.clip(np.cos(2 * np.pi * (y + 0.45 * x * x) * pitch / 2.0) - 0.45, 0.0, 1.0)
    image = image + 0.13 * ribs * (lung > 0.3)
    clavicle = ellipse(np.abs(x), y + 0.66 + 0.25 * np.abs(x), 0.4, 0.0, 0.36, 0.03) < 1.0
    image = image + 0.1 * clavicle
    if opacity:
        image = image + rng.uniform(0.26, 0.36) * opacity_field(rng, x, y, (left, right)) * (
            1.0 - 0.8 * heart
        )
    image = np.clip(image + rng.normal(0.0, 0.012, image.shape), 0.0, 1.0)
    return np.asarray(image * 4095.0, np.uint16)


def other_film(rng: np.random.Generator, kind: str, size: int = 256) -> npt.NDArray[np.uint16]:
    """A film that no chest model may read: `kind` is one of OTHER_FILMS; uint16 [size, size], 12
    bits.

    Raises ValueError for another kind.
    """
    x, y = grid(size)
    if kind == "knee":
        leg = soft(np.abs(x) / (0.45 + 0.08 * y * y), 0.1)
        femur = (np.abs(x) < 0.2 + 0.16 * np.exp(-(((y + 0.12) / 0.2) ** 2))) & (y < -0.05)
        tibia = (np.abs(x) < 0.17 + 0.18 * np.exp(-(((y - 0.1) / 0.2) ** 2))) & (y > 0.03)
        fibula = (np.abs(x - 0.32) < 0.05) & (y > 0.2)
        image = 0.35 * leg + 0.4 * (femur | tibia | fibula)
    elif kind == "abdomen":
        image = 0.55 * soft(ellipse(x, y, 0.0, 0.0, 0.9, 1.3), 0.05) + 0.08 * smooth_noise(
            rng, size, 5
        )
        for _ in range(int(rng.integers(4, 9))):
            cx, cy = rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.6)
            image = image - 0.2 * soft(
                ellipse(
                    x, y, float(cx), float(cy), rng.uniform(0.06, 0.2), rng.uniform(0.05, 0.12)
                ),
                0.3,
            )
        pelvis = np.abs(ellipse(x, y, 0.0, 0.75, 0.55, 0.35) - 1.0) < 0.12
        image = image + 0.2 * soft(np.abs(x) / 0.12, 0.3) + 0.2 * pelvis
    else:
        raise ValueError(f"unknown film {kind!r}: choose one of {', '.join(OTHER_FILMS)}")
    image = np.clip(image + rng.normal(0.0, 0.012, image.shape), 0.0, 1.0)
    return np.asarray(image * 4095.0, np.uint16)
