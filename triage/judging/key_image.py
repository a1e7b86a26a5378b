"""The key image of a flag: what the network read, and in colour where it saw it. Informational."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
SIDE = 320  # pixels of the longer side
#: Of the map's range only its upper part is coloured, and the image stays visible under it.
_FROM, _OPAQUE = 0.5, 0.55
_COLOUR = np.array([255, 140, 0], np.float32)  # the orange of flags on the list


def draw(image: Array, where: Array | None) -> bytes:
    """The picture of one prepared image, PNG; of a volume its most telling plane.

    It is what the network read, of a film a picture of a few hundred pixels: letters that somebody
    wrote on it are not legible. No header goes into it.

    Args:
        image: [channels, h, w], or [channels, planes, h, w]; the first channel is shown.
        where: the map, [h', w'] or [planes', h', w']; None: without colours.
    """
    if image.ndim == 4:
        plane = _telling_plane(where)
        image = image[:, round(plane * (image.shape[1] - 1))]
        where = None if where is None else where[round(plane * (len(where) - 1))]
    grey = _sized(_stretched(image[0]))
    rgb = np.repeat(grey[..., None] * np.float32(255), 3, axis=2)
    if where is not None:
        heat = np.clip((_stretched(where) - _FROM) / (1 - _FROM), 0, 1) * _OPAQUE
        share = np.clip(_resized(heat, grey.shape[0], grey.shape[1]), 0, 1)[..., None]
        rgb = rgb * (1 - share) + _COLOUR * share
    file = BytesIO()
    Image.fromarray(rgb.round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _telling_plane(where: Array | None) -> float:
    """Where the map is highest; the middle without one."""
    if where is None or len(where) < 2:
        return 0.5
    return float(where.reshape(len(where), -1).max(1).argmax()) / (len(where) - 1)


def _stretched(plane: Array) -> Array:
    """To 0..1; single bright pixels do not count."""
    low, high = np.percentile(plane, (0.5, 99.5))
    return np.asarray(np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1), np.float32)


def _sized(plane: Array) -> Array:
    scale = SIDE / max(plane.shape)
    rows, columns = (max(1, round(side * scale)) for side in plane.shape)
    return np.clip(_resized(plane, rows, columns), 0, 1)


def _resized(plane: Array, rows: int, columns: int) -> Array:
    made = Image.fromarray(plane).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(made, np.float32)
