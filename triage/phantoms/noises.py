"""Pictures of nothing: noise, patterns and pages of text, for a model that must not judge them."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from triage.phantoms.shapes import Array, grid, smooth_noise

Random = np.random.Generator


def noise(rng: Random, kind: str, size: int = 256) -> Array:
    """A picture [size, size] in 0..1 with nothing of a patient in it.

    Raises ValueError for a `kind` that is not in NOISES.
    """
    if kind not in _DRAWN:
        raise ValueError(f"unknown noise {kind!r}: choose one of {', '.join(NOISES)}")
    return np.asarray(np.clip(_DRAWN[kind](rng, size), 0.0, 1.0), np.float32)


def _white(rng: Random, size: int) -> Array:
    """Grains of one pixel or of some, uniform or normal."""
    grain = int(rng.choice((1, 1, 2, 4)))
    small = -(-size // grain)
    values = rng.random((small, small))
    if rng.random() < 0.5:
        values = rng.normal(rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.4), (small, small))
    return np.kron(values, np.ones((grain, grain)))[:size, :size]


def _pink(rng: Random, size: int) -> Array:
    """As strong in each octave: clouds."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    strength = 1.0 / np.maximum(np.hypot(rows, columns), 1.0 / size) ** rng.uniform(0.6, 2.0)
    phases = rng.normal(size=strength.shape) + 1j * rng.normal(size=strength.shape)
    field = np.fft.irfft2(phases * strength, (size, size))
    made: Array = 0.5 + field / (4.0 * float(field.std()))
    return made


def _smooth(rng: Random, size: int) -> Array:
    return 0.5 + rng.uniform(0.2, 0.7) * smooth_noise(rng, size, int(rng.integers(2, 24)))


def _blobs(rng: Random, size: int) -> Array:
    field = smooth_noise(rng, size, int(rng.integers(3, 20)))
    dark, bright = sorted(rng.random(2))
    return np.asarray(np.where(field > rng.uniform(-0.3, 0.4), bright, dark), np.float64)


def _salt(rng: Random, size: int) -> Array:
    picture = np.full((size, size), rng.random())
    drawn, share = rng.random((size, size)), rng.uniform(0.02, 0.4)
    picture[drawn < share] = 1.0
    picture[drawn > 1.0 - share * rng.random()] = 0.0
    return picture


def _stripes(rng: Random, size: int) -> Array:
    xs, ys = grid(size)
    turn, waves = rng.uniform(0.0, np.pi), rng.uniform(2.0, 40.0)
    wave = np.sin(np.pi * waves * (xs * np.cos(turn) + ys * np.sin(turn)) + rng.uniform(0, 6))
    wave = np.sign(wave) if rng.random() < 0.5 else wave
    return np.asarray(0.5 + 0.5 * wave * rng.uniform(0.3, 1.0))


def _checks(rng: Random, size: int) -> Array:
    cells = int(rng.integers(2, 24))
    at = np.arange(size) * cells // size
    tones = rng.random((cells, cells))
    if rng.random() < 0.5:
        tones = (np.add.outer(np.arange(cells), np.arange(cells)) % 2) * rng.uniform(0.3, 1.0)
    return np.asarray(tones[np.ix_(at, at)])


def _constant(rng: Random, size: int) -> Array:
    return np.full((size, size), rng.random()) + rng.normal(0.0, 1e-3, (size, size))


def _gradient(rng: Random, size: int) -> Array:
    xs, ys = grid(size)
    if rng.random() < 0.4:
        return 1.0 - rng.uniform(0.4, 1.0) * np.hypot(xs, ys)
    return 0.5 + 0.5 * (rng.uniform(-1, 1) * xs + rng.uniform(-1, 1) * ys)


def _text(rng: Random, size: int) -> Array:
    """A page: lines of words, dark on bright or bright on dark."""
    page = Image.new("L", (size, size), 0)
    pen, step = ImageDraw.Draw(page), int(rng.integers(10, 22))
    letters = list(string.ascii_letters + string.digits + "     .,:-/")
    left = int(rng.integers(2, size // 4))
    for line in range(int(rng.integers(2, step)), size, step):
        words = "".join(rng.choice(letters, int(rng.integers(4, size // 7))))
        pen.text((left, line), words, fill=int(rng.integers(120, 256)))
    picture = np.asarray(page, np.float32) / 255
    return 1.0 - picture if rng.random() < 0.5 else picture


_DRAWN: dict[str, Callable[[Random, int], Array]] = {
    "white": _white,
    "pink": _pink,
    "smooth": _smooth,
    "blobs": _blobs,
    "salt": _salt,
    "stripes": _stripes,
    "checks": _checks,
    "constant": _constant,
    "gradient": _gradient,
    "text": _text,
}
NOISES: Final = tuple(_DRAWN)
