"""Frames to network input: the one preprocessing of training, evaluation and serving.

Sources differ in framing, window, contrast and resolution more than patients do. So geometry is
normalised (constant borders cut, head cropped and turned upright) and intensity is anchored in the
image itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from triage.decoding.frames import Frame
from triage.inputs.chest import chest_planes
from triage.inputs.common import SHORTEST, Array, finite, within_bounds
from triage.inputs.head import head_planes
from triage.inputs.recipe import recipe_images
from triage.packages.input_spec import AnyInput, InputSpec, RecipeSpec

_MIN_SIDE_PX = 512  # that the short side of a large picture keeps at least


def prepare(frames: Sequence[Frame], spec: AnyInput) -> Array:
    """Network input float32 [n, *spec.shape], finite; of ours about zero mean and unit spread.

    Raises ValueError for a frame that is not a plane of at least 8 x 8 pixels, or for a unit that
    the kind of input cannot read.
    """
    if isinstance(spec, RecipeSpec):
        return recipe_images([_bounded(frame) for frame in frames], spec)
    batch = np.empty((len(frames), *spec.shape), np.float32)
    for index, frame in enumerate(frames):
        batch[index] = _planes(frame, spec)
    return batch


def _planes(frame: Frame, spec: InputSpec) -> Array:
    if frame.pixels.ndim != 2 or min(frame.pixels.shape) < SHORTEST:
        raise ValueError(f"a frame of shape {frame.pixels.shape} is not an image plane")
    pixels = within_bounds(finite(frame.pixels))
    if frame.unit == "display":
        pixels = _reduced(pixels)
    match spec.kind, frame.unit:
        case "head_ct", unit:
            return head_planes(pixels, unit, spec)
        case "chest_film", "display":
            return chest_planes(pixels, spec)
        case _:
            raise ValueError("a chest film has no Hounsfield units")


def _bounded(frame: Frame) -> Frame:
    """A film as large as any decoder hands it over; slices keep their sides."""
    if frame.unit == "hu" or frame.pixels.ndim != 2 or min(frame.pixels.shape) < SHORTEST:
        return frame
    return replace(frame, pixels=_reduced(within_bounds(finite(frame.pixels))))


def _reduced(image: Array) -> Array:
    """As the decoder hands a large picture over (`InputSpec.min_side_px`).

    What counts as a border must not depend on who decoded it.
    """
    factor = min(image.shape) // _MIN_SIDE_PX
    if factor < 2:
        return image
    return np.asarray(Image.fromarray(image).reduce(factor), np.float32)
