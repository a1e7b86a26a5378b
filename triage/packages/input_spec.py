"""What a network reads: our own kinds of input, and the closed vocabulary for anybody else's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Pair = tuple[float, float]


class Strict(BaseModel):
    """Unknown fields, infinities and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Size(Strict):
    channels: int = Field(ge=1, le=64)
    height: int = Field(ge=16, le=1024)
    width: int = Field(ge=16, le=1024)

    @property
    def min_side_px(self) -> int:
        """Pixels that the short side of a larger frame keeps: twice the network's, 512 at least."""
        return max(512, 2 * self.height, 2 * self.width)


class InputSpec(_Size):
    """Input of a shipped package: float32 [n, channels, height, width], by `inputs.prepare`."""

    kind: Literal["head_ct", "chest_film"]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def slab_mm(self) -> float:
        """Thin slices are averaged to slabs of about so much; 0: each image stays as it is."""
        return 5.0 if self.axial else 0.0

    @property
    def axial(self) -> bool:
        """Whether only axial slices are read."""
        return self.kind == "head_ct"


class RecipeSpec(_Size):
    """Input in words of a closed vocabulary, for a model that was trained elsewhere.

    A frame is cut at each window, brought linearly into `range`, fitted to height and width, and
    normalised: (value - mean) / std, by channel. Frames are upright, with square pixels; thin
    slices may be averaged to slabs first.

    Attributes:
        kind: "2d": each frame alone, [n, channels, h, w]; "2.5d": each slab with its neighbours as
            channels, [n, windows x planes, h, w]; "3d": each stack resampled to `planes`,
            [stacks, windows, planes, h, w].
        windows: (low, high) each: Hounsfield units for CT, 0 (black) to 1 (white) for the rest. A
            2d input with one window and several channels repeats it.
        fit: "stretch" to the size, "crop" to the middle square first, or "pad" with `range`'s low
            end to a square.
        slab_mm: thin slices are averaged to slabs of about so much; 0: each stays as it is.
        axial: only axial slices that are no scouts and not from a bone kernel are read.
    """

    kind: Literal["2d", "2.5d", "3d"]
    windows: tuple[Pair, ...] = Field(default=((0.0, 1.0),), min_length=1, max_length=16)
    range: Pair = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Field(gt=0.0)], ...] = ()
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    planes: int = Field(default=1, ge=1, le=512)
    slab_mm: float = Field(default=0.0, ge=0.0, le=50.0)
    axial: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (channels, height, width), with planes after channels for "3d"."""
        plane = (self.height, self.width)
        return self.channels, *((self.planes,) if self.kind == "3d" else ()), *plane

    @model_validator(mode="after")
    def _fits_together(self) -> RecipeSpec:
        windows = len(self.windows)
        if any(low >= high for low, high in (*self.windows, self.range)):
            raise ValueError("a window, and range, go from a lower to a higher number")
        if self.kind == "2d" and self.planes != 1:
            raise ValueError("2d reads one plane")
        if self.kind == "2.5d" and self.planes % 2 == 0:
            raise ValueError("2.5d reads an odd number of planes")
        wanted = windows * self.planes if self.kind == "2.5d" else windows
        if self.channels != wanted and not (self.kind == "2d" and windows == 1):
            raise ValueError(f"{self.kind} of these windows and planes has {wanted} channels")
        if {len(self.mean), len(self.std)} - {0, self.channels}:
            raise ValueError("mean and std have one number for each channel")
        return self


AnyInput = InputSpec | RecipeSpec
