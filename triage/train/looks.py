"""Makes one image look as if it came from another scanner, screen, viewer or file."""

from __future__ import annotations

import io
import string
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from triage.phantoms.images import smooth_noise

Array = npt.NDArray[np.float32]
Random = np.random.Generator


def _grey(image: Array) -> Image.Image:
    return Image.fromarray((np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8))


def _array(picture: Image.Image) -> Array:
    return np.asarray(picture, np.float32) / np.float32(255.0)


def move(
    rng: Random, layers: Sequence[Array], zoom: tuple[float, float], turn: float, squeeze: float
) -> list[Array]:
    """Mirror, rotate (up to `turn` degrees), zoom, stretch and shift, all layers alike: float32
    0..1, on a black canvas.
    """
    size = int(rng.integers(160, 257))
    rows, cols = layers[0].shape
    angle = np.deg2rad(rng.uniform(-turn, turn))
    scale = float(np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]))))
    stretch = float(np.exp(rng.uniform(-squeeze, squeeze)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    a, b = (
        np.cos(angle) / (scale * stretch) * flip * cols / size,
        np.sin(angle) / scale * cols / size,
    )
    c, d = (
        -np.sin(angle) / stretch / scale * flip * rows / size,
        np.cos(angle) / scale * rows / size,
    )
    shift = 0.06 * cols * rng.uniform(-1.0, 1.0, 2)
    half = size / 2.0
    matrix = (
        a,
        b,
        cols / 2 - (a + b) * half + shift[0],
        c,
        d,
        rows / 2 - (c + d) * half + shift[1],
    )
    return [
        _array(
            _grey(x).transform(
                (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
            )
        )
        for x in layers
    ]


def write_on(rng: Random, image: Array, strokes: float) -> Array:
    """Burnt-in letters, and with chance `strokes` lines and arrows."""
    picture = _grey(image)
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    for _ in range(int(rng.integers(1, 6))):
        word = "".join(
            rng.choice(
                list(string.ascii_uppercase + string.digits + " :./"), int(rng.integers(1, 12))
            )
        )
        corner = rng.choice((0.02, 0.8), 2) + rng.uniform(-0.02, 0.15, 2)
        draw.text((corner[0] * width, corner[1] * height), word, fill=int(rng.integers(120, 256)))
    if rng.random() < strokes:
        for _ in range(int(rng.integers(1, 4))):
            points = [(float(x) * width, float(y) * height) for x, y in rng.random((2, 2))]
            draw.line(points, fill=int(rng.integers(150, 256)), width=int(rng.integers(1, 3)))
    return _array(picture)


def wear(rng: Random, image: Array, most: float) -> Array:
    """Blur or sharpening, other resolution, noise, JPEG artefacts; `most` (0 to 1) bounds what
    hides small things.
    """
    picture = _grey(image)
    choice = rng.random()
    if choice < 0.3:
        picture = picture.filter(
            ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.3 + 1.3 * most)))
        )
    elif choice < 0.45:
        picture = picture.filter(
            ImageFilter.UnsharpMask(float(rng.uniform(0.5, 2.5)), int(rng.integers(40, 160)), 0)
        )
    if rng.random() < 0.3:
        size = int(rng.integers(round(180 - 80 * most), 200))
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    image = _array(picture)
    if rng.random() < 0.5:
        grain = rng.standard_normal(image.shape, np.float32) * np.float32(
            rng.uniform(0.0, 0.07 * most)
        )
        image = image + (grain if rng.random() < 0.5 else grain * np.sqrt(np.clip(image, 0.0, 1.0)))
    if rng.random() < 0.3:
        buffer = io.BytesIO()
        _grey(image).save(buffer, "JPEG", quality=int(rng.integers(20, 90)))
        image = _array(Image.open(buffer))
    return np.clip(image, 0.0, 1.0)


def frame_in(rng: Random, image: Array, mask: Array) -> tuple[Array, Array]:
    """A viewer's border around the image: black, grey or white."""
    pads = [(int(a), int(b)) for a, b in rng.integers(0, 40, (2, 2))]
    return np.pad(image, pads, constant_values=float(rng.choice((0.0, 0.0, 0.5, 1.0)))), np.pad(
        mask, pads
    )


def head_look(rng: Random, image: Array, mask: Array) -> tuple[Array, Array]:
    """Another look of a head CT slice that is shown in a brain window, 0..1, and the mask of its
    finding moved with it.
    """
    open_bone = np.where(image > 0.97, np.float32(rng.uniform(1.0, 3.0)), image)
    low, high = rng.uniform(-0.35, 0.18), rng.uniform(0.8, 1.5)
    if rng.random() < 0.3:
        low, high = 0.0, 1.0
    image = np.clip((open_bone - low) / (high - low), 0.0, 1.0)
    if low < 0.0:
        image = np.where(open_bone < 0.02, 0.0, image)
    image = image ** np.float32(np.exp(rng.normal(0.0, 0.2)))
    image, mask = move(rng, (image, mask), (0.75, 2.0), 25.0, 0.12)
    image = wear(rng, image, 0.5)
    if rng.random() < 0.35:
        image = write_on(rng, image, 0.2)
    return frame_in(rng, image, mask) if rng.random() < 0.2 else (image, mask)


def chest_look(rng: Random, image: Array, mask: Array) -> tuple[Array, Array]:
    """Another look of a chest film, 0..1, and the mask of its finding moved with it."""
    if rng.random() < 0.6:
        image = (
            image
            + np.float32(rng.uniform(0.0, 0.2))
            * smooth_noise(rng, image.shape[0], 3)[:, : image.shape[1]]
        )
    image = np.clip(image, 0.0, 1.0) ** np.float32(np.exp(rng.normal(0.0, 0.35)))
    low, high = rng.uniform(-0.1, 0.12), rng.uniform(0.85, 1.15)
    image = np.clip((image - low) / (high - low), 0.0, 1.0)
    image, mask = move(rng, (image, mask), (0.85, 1.4), 12.0, 0.2)
    image = wear(rng, image, 1.0)
    if rng.random() < 0.3:
        image = write_on(rng, image, 0.5)
    if rng.random() < 0.15:
        rows, cols = image.shape
        top, left = int(rng.integers(0, rows - 30)), int(rng.integers(0, cols - 30))
        image[top : top + int(rng.integers(10, 60)), left : left + int(rng.integers(10, 60))] = (
            rng.random()
        )
    return frame_in(rng, image, mask) if rng.random() < 0.25 else (image, mask)
