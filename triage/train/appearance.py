"""One image as if it came from another scanner, screen, viewer or file."""

from __future__ import annotations

import io
import string
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from triage.phantoms.shapes import smooth_noise

Array = npt.NDArray[np.float32]
Random = np.random.Generator


def _picture(image: Array) -> Image.Image:
    return Image.fromarray((np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8))


def _array(picture: Image.Image) -> Array:
    return np.asarray(picture, np.float32) / np.float32(255.0)


def move(
    rng: Random, layers: Sequence[Array], zoom: tuple[float, float], turn: float, squeeze: float
) -> list[Array]:
    """Mirror, rotate (up to `turn` degrees), zoom, stretch and shift, all layers alike.

    float32 0..1, on a black canvas.
    """
    size = int(rng.integers(160, 257))
    rows, cols = layers[0].shape
    angle = np.deg2rad(rng.uniform(-turn, turn))
    scale = float(np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]))))
    stretch = float(np.exp(rng.uniform(-squeeze, squeeze)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    # Where in a layer each pixel comes from: a row each for x and y.
    x_by_x = np.cos(angle) / (scale * stretch) * flip * cols / size
    x_by_y = np.sin(angle) / scale * cols / size
    y_by_x = -np.sin(angle) / stretch / scale * flip * rows / size
    y_by_y = np.cos(angle) / scale * rows / size
    shift = 0.06 * cols * rng.uniform(-1.0, 1.0, 2)
    half = size / 2.0
    matrix = (
        *(x_by_x, x_by_y, cols / 2 - (x_by_x + x_by_y) * half + shift[0]),
        *(y_by_x, y_by_y, rows / 2 - (y_by_x + y_by_y) * half + shift[1]),
    )
    return [_moved(layer, size, matrix) for layer in layers]


def _moved(layer: Array, size: int, matrix: tuple[float, ...]) -> Array:
    moved = _picture(layer).transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return _array(moved)


def burn_in(rng: Random, image: Array, strokes: float) -> Array:
    """Burnt-in letters, and with chance `strokes` lines and arrows."""
    picture = _picture(image)
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
            points = [(float(layer) * width, float(y) * height) for layer, y in rng.random((2, 2))]
            draw.line(points, fill=int(rng.integers(150, 256)), width=int(rng.integers(1, 3)))
    return _array(picture)


def degrade(rng: Random, image: Array, strength: float) -> Array:
    """Blur or sharpening, other resolution, noise, JPEG artefacts.

    `strength` (0 to 1) bounds what hides small things.
    """
    picture = _picture(image)
    choice = rng.random()
    if choice < 0.3:
        picture = picture.filter(
            ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.3 + 1.3 * strength)))
        )
    elif choice < 0.45:
        picture = picture.filter(
            ImageFilter.UnsharpMask(float(rng.uniform(0.5, 2.5)), int(rng.integers(40, 160)), 0)
        )
    if rng.random() < 0.3:
        size = int(rng.integers(round(180 - 80 * strength), 200))
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    image = _array(picture)
    if rng.random() < 0.5:
        grain = rng.standard_normal(image.shape, np.float32) * np.float32(
            rng.uniform(0.0, 0.07 * strength)
        )
        image = image + (grain if rng.random() < 0.5 else grain * np.sqrt(np.clip(image, 0.0, 1.0)))
    if rng.random() < 0.3:
        buffer = io.BytesIO()
        _picture(image).save(buffer, "JPEG", quality=int(rng.integers(20, 90)))
        image = _array(Image.open(buffer))
    return np.clip(image, 0.0, 1.0)


def add_border(rng: Random, image: Array, mask: Array) -> tuple[Array, Array]:
    """A viewer's border around the image: black, grey or white."""
    pads = [(int(before), int(after)) for before, after in rng.integers(0, 40, (2, 2))]
    grey = float(rng.choice((0.0, 0.0, 0.5, 1.0)))
    return np.pad(image, pads, constant_values=grey), np.pad(mask, pads)


def vary_head(rng: Random, image: Array, mask: Array) -> tuple[Array, Array]:
    """A head CT slice that is shown in a brain window, 0..1, of another appearance.

    The mask of its finding is moved with it.
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
    image = degrade(rng, image, 0.5)
    if rng.random() < 0.35:
        image = burn_in(rng, image, 0.2)
    return add_border(rng, image, mask) if rng.random() < 0.2 else (image, mask)


def vary_chest(rng: Random, image: Array, mask: Array) -> tuple[Array, Array]:
    """A chest film, 0..1, of another appearance, and the mask of its finding moved with it."""
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
    image = degrade(rng, image, 1.0)
    if rng.random() < 0.3:
        image = burn_in(rng, image, 0.5)
    if rng.random() < 0.15:
        rows, cols = image.shape
        top, left = int(rng.integers(0, rows - 30)), int(rng.integers(0, cols - 30))
        image[top : top + int(rng.integers(10, 60)), left : left + int(rng.integers(10, 60))] = (
            rng.random()
        )
    return add_border(rng, image, mask) if rng.random() < 0.25 else (image, mask)
