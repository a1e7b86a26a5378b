"""Findings of known truth painted into real images that have none, and what only looks like one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triage.inputs.common import box_mean
from triage.phantoms.bleeds import BLEEDS, bleed_mask
from triage.phantoms.films import opacity_field
from triage.phantoms.shapes import smooth_noise

Array = npt.NDArray[np.float32]
ANGLES = 180


@dataclass(frozen=True)
class SkullInside:
    """The inside of a skull on a brain-window slice [rows, cols].

    Attributes:
        xs, ys: coordinates, -1 to 1 inside.
        brain: distance field, below 1 inside the inner table.
        grey: the brain's own grey level.
    """

    xs: Array
    ys: Array
    brain: Array
    grey: float


def inside_skull(image: Array) -> SkullInside | None:
    """The inner table, by rays from the middle.

    None where the bone is no closed ring (face, base, neck).
    """
    rows, cols = image.shape
    bone = image > 0.95
    where = np.argwhere(bone)
    if len(where) < 200:
        return None
    cy, cx = (where.min(0) + where.max(0)) / 2.0
    theta = np.linspace(-np.pi, np.pi, ANGLES, endpoint=False)
    reach = np.arange(4, min(rows, cols) // 2)
    at_y = np.clip((cy + np.outer(np.sin(theta), reach)).astype(int), 0, rows - 1)
    at_x = np.clip((cx + np.outer(np.cos(theta), reach)).astype(int), 0, cols - 1)
    rays = bone[at_y, at_x]
    rays = rays[:, :-1] & rays[:, 1:]
    found = rays.any(1)
    radius = reach[np.argmax(rays, 1)].astype(np.float32)
    if found.mean() < 0.97 or np.median(radius) < 0.14 * rows:
        return None
    ring = np.stack([np.roll(radius, shift) for shift in range(-5, 6)])
    smooth = np.median(ring, 0)
    if np.mean(np.abs(radius - smooth) / smooth > 0.12) > 0.06:
        return None
    dx, dy = np.meshgrid(np.arange(cols) - cx, np.arange(rows) - cy)
    limit = np.interp(np.arctan2(dy, dx), theta, smooth, period=2 * np.pi)
    brain = (np.hypot(dx, dy) / limit).astype(np.float32)
    tissue = image[brain < 0.9]
    tissue = tissue[(tissue > 0.15) & (tissue < 0.85)]
    if tissue.size < 400:
        return None
    wide = float(smooth.mean())
    return SkullInside(
        (dx / wide).astype(np.float32),
        (dy / wide).astype(np.float32),
        brain,
        float(np.median(tissue)),
    )


def clot_mask(rng: np.random.Generator, image: Array, inside: SkullInside) -> Array:
    """Membership 0..1 of a painted bleed [rows, cols].

    All zeros where its place does not exist on this slice.
    """
    dark = ((image < inside.grey - 0.12) & (inside.brain < 0.6)).astype(np.float32)
    kinds = [kind for kind in BLEEDS if kind != "intraventricular" or dark.sum() > 150]
    weights = np.array(
        [
            {"intraparenchymal": 3.0, "subdural": 2.0, "subarachnoid": 1.5}.get(shift, 1.0)
            for shift in kinds
        ]
    )
    kind = str(rng.choice(kinds, p=weights / weights.sum()))
    # In the brain patients bleed more than phantoms do.
    small = (
        np.float32(np.exp(rng.uniform(np.log(0.22), 0.0)))
        if kind == "intraparenchymal"
        else np.float32(1.0)
    )
    mask = bleed_mask(rng, kind, inside.xs * small, inside.ys * small, inside.brain, dark)
    return np.clip(box_mean(np.asarray(mask, np.float32), 1), 0.0, 1.0)


def paint_clot(rng: np.random.Generator, image: Array, mask: Array, grey: float) -> Array:
    """The slice with fresh blood (12 to 45 HU above brain) in the mask.

    At times it has a dark rim of oedema.
    """
    if rng.random() < 0.4:
        rim = np.clip(box_mean(mask, 6) - mask, 0.0, 1.0)
        image = image - np.float32(rng.uniform(0.05, 0.15)) * rim * (image < 0.9)
    texture = 0.04 * smooth_noise(rng, image.shape[0], 30)[:, : image.shape[1]]
    blood = np.maximum(image, np.float32(grey + rng.uniform(0.15, 0.55)) + texture)
    return np.asarray(np.clip(image + mask * (blood - image), 0.0, 1.0), np.float32)


def add_calcifications(rng: np.random.Generator, image: Array, inside: SkullInside) -> Array:
    """Bright things that are no bleed: calcified plexus, pineal gland or falx."""
    image = image.copy()
    for _ in range(int(rng.integers(1, 4))):
        px, py, radius = rng.uniform(-0.35, 0.35), rng.uniform(-0.4, 0.5), rng.uniform(0.015, 0.04)
        image[np.hypot(inside.xs - px, inside.ys - py) < radius] = np.float32(
            rng.uniform(0.75, 1.0)
        )
    return image


def lung_field(image: Array) -> tuple[Array, Array, Array, float]:
    """What looks like lung on a chest film [rows, cols], as membership 0..1.

    Then the coordinates -1..1, and the body's own grey.
    """
    line_y, line_x = (np.linspace(-1.0, 1.0, size, dtype=np.float32) for size in image.shape)
    xs, ys = np.meshgrid(line_x, line_y)
    rows, cols = image.shape
    low, high = np.quantile(image[rows // 8 : -rows // 8, cols // 8 : -cols // 8], (0.05, 0.85))
    lung = np.clip((high - box_mean(image, 3)) / max(float(high - low), 1e-3) * 1.6, 0.0, 1.0)
    near = box_mean(
        ((np.abs(np.abs(xs) - 0.4) < 0.36) & (np.abs(ys + 0.05) < 0.68)).astype(np.float32),
        rows // 20,
    )
    return box_mean(np.asarray(lung * near, np.float32), 2), xs, ys, float(high)


def paint_opacity(rng: np.random.Generator, image: Array) -> tuple[Array, Array]:
    """The chest film with a pneumonia-like opacity in what looks like lung, and its mask 0..1."""
    lung, xs, ys, high = lung_field(image)
    field = opacity_field(rng, xs, ys, (lung * (xs < 0), lung * (xs >= 0)))
    amount = np.float32(rng.uniform(0.45, 0.95)) * field
    painted = np.clip(image + amount * np.maximum(np.float32(high) - image, 0.0), 0.0, 1.0)
    return np.asarray(painted, np.float32), np.asarray(np.clip(amount, 0.0, 1.0), np.float32)


def add_adult_features(rng: np.random.Generator, image: Array) -> Array:
    """What adults' films show and is no finding: soft tissue on both sides, wires, a device."""
    rows, cols = image.shape
    ys, xs = np.meshgrid(
        np.linspace(-1, 1, rows, dtype=np.float32),
        np.linspace(-1, 1, cols, dtype=np.float32),
        indexing="ij",
    )
    high = np.float32(np.quantile(image, 0.9))
    if rng.random() < 0.5:
        wide, tall, top, apart = (
            rng.uniform(0.22, 0.4),
            rng.uniform(0.25, 0.45),
            rng.uniform(0.1, 0.5),
            rng.uniform(0.35, 0.6),
        )
        inside = np.hypot((np.abs(xs) - apart) / wide, (ys - top) / tall)
        veil = np.clip((1.0 - inside) * rng.uniform(2.0, 8.0), 0.0, 1.0)
        image = image + np.float32(rng.uniform(0.05, 0.3)) * veil * np.maximum(high - image, 0.0)
    for _ in range(int(rng.integers(0, 4))):
        start, bend, slope = rng.uniform(-0.9, 0.9), rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.6)
        line = np.abs(xs - (start + slope * ys + bend * ys * ys)) < rng.uniform(0.006, 0.014)
        image = np.where(
            line & (ys < rng.uniform(0.0, 1.2)),
            np.minimum(image + np.float32(rng.uniform(0.1, 0.4)), 1.0),
            image,
        )
    if rng.random() < 0.15:
        at_x, at_y = rng.choice((-1, 1)) * rng.uniform(0.35, 0.65), rng.uniform(-0.6, -0.2)
        image = np.where(
            np.hypot(xs - at_x, (ys - at_y) * 1.2) < rng.uniform(0.07, 0.13),
            np.float32(rng.uniform(0.8, 1.0)),
            image,
        )
    return np.asarray(np.clip(image, 0.0, 1.0), np.float32)
