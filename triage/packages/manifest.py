"""What a package says of itself: the content of model.toml, field by field."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MANIFEST = "model.toml"
WEIGHTS = "weights.safetensors"
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Interval = tuple[Share, Share]


class Strict(BaseModel):
    """Unknown fields, infinities and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EligibilityRule(Strict):
    """Which series the model may look at. Empty lists mean: any."""

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...] = ()
    description_words: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    age_years: tuple[float, float] | None = None


class InputSpec(Strict):
    """What the network reads: float32 [n, channels, height, width], made by `inputs.prepare`."""

    kind: Literal["head_ct", "chest_film"]
    channels: int = Field(ge=1, le=8)
    height: int = Field(ge=16, le=1024)
    width: int = Field(ge=16, le=1024)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def max_frames(self) -> int:
        """Frames of one series that this kind of input reads, at most."""
        return 24 if self.axial else 2

    @property
    def axial(self) -> bool:
        """Whether only axial slices are read."""
        return self.kind == "head_ct"

    @property
    def min_side_px(self) -> int:
        """Pixels that the short side of a larger frame keeps: twice the network's, 512 at least."""
        return max(512, 2 * self.height, 2 * self.width)


class FindingCodes(Strict):
    """What a flag of this model means, with its codes."""

    code: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    label: str
    radlex: str = Field(pattern=r"^RID[0-9]+$")
    snomed: str = Field(pattern=r"^[0-9]{6,18}$")


class Scale(Strict):
    """Probability = sigmoid(slope x logit + intercept); flagged from `threshold` on."""

    slope: float = Field(gt=0.0)
    intercept: float
    threshold: float = Field(gt=0.0, lt=1.0)


class Operating(Strict):
    """How the images of a series become one logit, and how the thresholds were chosen."""

    top_k: int = Field(ge=1, description="the logit of several images is the mean of the k highest")
    chosen: str


class Abstention(Strict):
    """A slice farther than `max_distance` from the training images is not judged."""

    max_distance: float = Field(gt=0.0)
    min_share: Share = Field(
        description="share of slices that must be judgeable, else the series is not"
    )


class ConstancyEntry(Strict):
    """A phantom by its seed, and the mean raw score that it had when the package was made."""

    seed: int = Field(ge=0)
    expected: float
    tolerance: float = Field(gt=0.0)


class Training(Strict):
    """What the model learned from."""

    data: str
    cases: int = Field(ge=0)
    positives: int = Field(ge=0)
    seed: int
    split: str
    limits: str
    held_out: str = Field(
        default="", description="fold of the first result's source that the model never saw"
    )


class Result(Strict):
    """Measured on people the model never saw; 95 % intervals by bootstrap over patients.

    Attributes:
        reliability: for each filled bin mean probability, observed share, cases.
        roc: points (1 - specificity, sensitivity).
    """

    source: str
    unit: Literal["image", "series"]
    n: int = Field(ge=1)
    positives: int = Field(ge=0)
    patients: int = Field(ge=1)
    abstained: int = Field(ge=0)
    auroc: Share | None = None
    auroc_ci95: Interval | None = None
    sensitivity: Share | None = None
    sensitivity_ci95: Interval | None = None
    specificity: Share | None = None
    specificity_ci95: Interval | None = None
    ece: Share | None = None
    ece_ci95: Interval | None = None
    reliability: tuple[tuple[Share, Share, Annotated[int, Field(ge=1)]], ...] = ()
    roc: tuple[Interval, ...] = ()


class Manifest(Strict):
    """The content of model.toml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    title: str
    intended_use: str
    licence: str
    architecture: str
    eligible: EligibilityRule
    input: InputSpec
    findings: tuple[FindingCodes, ...] = Field(min_length=1)
    operating: Operating
    image: Scale = Field(description="of one image alone")
    series: Scale = Field(
        description="of several images of one series: more often than one image it has the finding"
    )
    abstention: Abstention
    training: Training
    results: tuple[Result, ...] = ()
    constancy: tuple[ConstancyEntry, ...] = ()
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    def scale(self, images: int) -> Scale:
        """The one for a series of so many images."""
        return self.image if images == 1 else self.series

    @model_validator(mode="after")
    def _weights_are_listed(self) -> Manifest:
        if WEIGHTS not in self.files:
            raise ValueError(f"[files] does not list {WEIGHTS}")
        for name in self.files:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"[files] has a name that is not a plain file name: {name!r}")
        return self
