"""What a package says of itself: the content of model.toml, field by field."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from triage.eligibility.rule import Rule
from triage.eligibility.words import entry, vocabulary
from triage.packages.input_spec import AnyInput, InputSpec, Strict

MANIFEST = "model.toml"
WEIGHTS = "weights.safetensors"
#: Where each kind of runner finds its network.
NETWORK_FILE = {"builtin": WEIGHTS, "pt2": "model.pt2", "onnx": "model.onnx"}
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Interval = tuple[Share, Share]
Millimetres = Annotated[float, Field(gt=0.0)]
Aspect = Annotated[float, Field(gt=0.0)]
Years = Annotated[float, Field(ge=0.0, le=150.0)]
Gives = Literal["logit", "probability", "softmax"]
#: A probability, rounded, lies no farther from a half: what does is a logit, or worse.
MOST_FROM_HALF = 0.501
#: As headers write it: no header says "ct" or "computed tomography".
Modality = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,16}$")]
Uid = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)+$")]
_BODY_MM = (10.0, 3000.0)  # what is written in cm or m lies outside


class EligibilityRule(Strict):
    """Which images the model may look at. Empty lists mean: any."""

    modalities: tuple[Modality, ...]
    anatomy: Literal["", "head", "chest"] = Field(
        default="", description="whose words of triage/eligibility/vocabulary.toml are meant"
    )
    body_parts: tuple[str, ...] = Field(default=(), description="further words of the body part")
    description_words: tuple[str, ...] = Field(default=(), description="and of the descriptions")
    refused_words: tuple[str, ...] = Field(default=(), description="words of what is not meant")
    sop_classes: tuple[Uid, ...] = ()
    views: tuple[Literal["AP", "PA", "FRONTAL", "LATERAL", "TILTED"], ...] = ()
    age_years: tuple[Years, Years] | None = None
    age_absent: Literal["read", "refuse"] = "refuse"
    contrast: Literal["any", "without"] = "any"
    kernels: Literal["any", "soft"] = "any"

    @field_validator("age_years")
    @classmethod
    def _from_young_to_old(cls, ages: tuple[float, float] | None) -> tuple[float, float] | None:
        if ages is not None and ages[0] > ages[1]:
            raise ValueError("age_years goes from the youngest to the oldest")
        return ages

    def rule(self) -> Rule:
        """This with the words of the vocabulary."""
        words = vocabulary()[self.anatomy] if self.anatomy else {}

        def of(name: str, *own: str) -> tuple[str, ...]:
            return (*words.get(name, ()), *map(entry, own))

        return Rule(
            self.modalities,
            self.sop_classes,
            self.views,
            of("body_parts", *self.body_parts),
            of("words", *self.description_words),
            of("refused", *self.refused_words),
            of("elsewhere"),
            self.age_years,
            self.age_absent,
            self.contrast,
            self.kernels,
        )


class CoverageRule(Strict):
    """What must have been read for *not flagged* to be said of a series."""

    unreadable: int = Field(default=0, ge=0, description="slices that may be missing of those here")
    max_gap: float = Field(
        default=1.5,
        ge=1.0,
        description="widest gap, in spacings that are usual there and in slice thicknesses",
    )
    max_spacing_mm: float = Field(
        default=7.5, gt=0.0, description="widest gap where no slice thickness is stated"
    )
    min_extent_mm: float = Field(default=0.0, ge=0.0, description="of the stack that was read")
    max_extent_mm: float | None = Field(
        default=None, gt=0.0, description="what is longer is no such part of a body"
    )
    aspect: tuple[Aspect, Aspect] | None = Field(
        default=None, description="width over height of a film that is whole, least and most"
    )
    min_announced: Share = Field(
        default=0.95, description="share that is here of the images that were announced"
    )

    @model_validator(mode="after")
    def _can_be(self) -> CoverageRule:
        if self.max_extent_mm is not None and self.max_extent_mm < self.min_extent_mm:
            raise ValueError("max_extent_mm is less than min_extent_mm")
        if self.aspect is not None and self.aspect[0] >= self.aspect[1]:
            raise ValueError("aspect goes from a smaller to a larger one")
        return self


class BodyRule(Strict):
    """What the body must be like in images in Hounsfield units; else the series is *out of
    distribution*. A flag of what the guard knows needs no skull.

    Attributes:
        size_mm: the longer side of the box around it is so long, at least and at most, in half of
            the images that show it. Asked where the header states a pixel's size.
        skull_mm: in so much of a stack, or in a quarter of a shorter one, a skull is seen around a
            brain; 0: none need be.
    """

    size_mm: tuple[Millimetres, Millimetres] | None = None
    skull_mm: float = Field(default=0.0, ge=0.0)

    @field_validator("size_mm")
    @classmethod
    def _from_small_to_large(cls, sizes: tuple[float, float] | None) -> tuple[float, float] | None:
        if sizes is not None and sizes[0] >= sizes[1]:
            raise ValueError("size_mm goes from a smaller to a larger size")
        if sizes is not None and not _BODY_MM[0] <= sizes[0] < sizes[1] <= _BODY_MM[1]:
            raise ValueError("size_mm is in millimetres: between 10 and 3000")
        return sizes


class Runner(Strict):
    """What runs the network: code of ours, or a file from elsewhere in a process of its own.

    Attributes:
        architecture: one of `architectures`; of a builtin runner alone.
        classes: numbers that the network gives of one image.
        batch: images that it takes at once; of an outside runner alone.
    """

    kind: Literal["builtin", "pt2", "onnx"]
    architecture: str = ""
    classes: int = Field(default=1, ge=1, le=4096)
    batch: int = Field(default=8, ge=1, le=64)

    @model_validator(mode="after")
    def _architecture_of_ours(self) -> Runner:
        if (self.kind == "builtin") != bool(self.architecture):
            raise ValueError("a builtin runner names an architecture, and no other does")
        return self


class Scale(Strict):
    """Probability = sigmoid(slope x logit + intercept); flagged from `threshold` on."""

    slope: float = Field(gt=0.0)
    intercept: float
    threshold: float = Field(gt=0.0, lt=1.0)


class Output(Strict):
    """One number that the network gives: what a flag of it means, and from where on it is one.

    Attributes:
        index: its place among the network's numbers.
        gives: what the network says: a logit; a probability; or, with "softmax", one of several
            logits of classes that exclude each other. Of the last two the logit of the
            probability is taken.
        image: scale of one image alone.
        series: scale of several images of one series: it has the finding more often than one
            image.
    """

    index: int = Field(default=0, ge=0)
    code: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    label: str
    radlex: str = Field(pattern=r"^RID[0-9]+$")
    snomed: str = Field(pattern=r"^[0-9]{6,18}$")
    gives: Gives = "logit"
    image: Scale
    series: Scale


class Operating(Strict):
    """How the images of a series become one logit, and how the thresholds were chosen."""

    top_k: int = Field(ge=1, description="the logit of several images is the mean of the k highest")
    chosen: str


class Abstention(Strict):
    """What a series must be like to be judged, by the guard in the weights (`packages/guard.py`).

    Attributes:
        max_foreign: an image that is foreign with this probability or more is unlike those that
            the members learned from.
        min_share: of the images that must be like them, else the series is *out of distribution*.
        max_spread: where the members' logits of the images that count have a larger standard
            deviation, a series that is not flagged is *unsure*.
    """

    max_foreign: float = Field(gt=0.0, lt=1.0)
    min_share: float = Field(gt=0.0, le=1.0)
    max_spread: float = Field(gt=0.0)


class ForeignKind(Strict):
    """Images of one kind that are not to be judged, and how many of them were not.

    Attributes:
        learned: the guard learned from such images, though not from these; else it never saw any.
    """

    kind: str
    learned: bool
    n: int = Field(ge=1)
    abstained: int = Field(ge=0)


class ConstancyEntry(Strict):
    """A reference series, and what it gave when the package was made.

    It is a phantom by its seed, or DICOM files of the package.

    Attributes:
        phantom: what is drawn; by default what the package's kind of input reads.
        expected: the raw score of each output, mean over the images.
        tolerance: how far each may be from it.
        outcome: the verdict, threshold and abstention included; None: not compared.
    """

    seed: int | None = Field(default=None, ge=0)
    phantom: Literal["head_ct", "chest_film"] | None = None
    files: tuple[str, ...] = ()
    expected: tuple[float, ...] = Field(min_length=1)
    tolerance: float = Field(gt=0.0)
    outcome: Literal["flagged", "not_flagged", "not_analysed"] | None = None

    @field_validator("expected", mode="before")
    @classmethod
    def _one_output(cls, value: object) -> object:
        return [value] if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _drawn_or_kept(self) -> ConstancyEntry:
        if (self.seed is None) != bool(self.files):
            raise ValueError("a reference has a seed, or files")
        return self


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
        group: of which cases, where not of all: a subtype, a sex, an age band.
        shown: as the source's pictures, or as series in Hounsfield units made of them, through the
            decoders and the whole judgement.
        ece_bound95: the ECE that 95 % of calibrated models stay below by chance.
        slope: of the calibration; 1 of a calibrated model.
        reliability: for each filled bin mean probability, observed share, cases.
        roc: points (1 - specificity, sensitivity).
    """

    source: str
    unit: Literal["image", "series"]
    group: str = ""
    shown: Literal["pictures", "hounsfield"] = "pictures"
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
    ece_bound95: Share | None = None
    slope: float | None = None
    slope_ci95: tuple[float, float] | None = None
    reliability: tuple[tuple[Share, Share, Annotated[int, Field(ge=1)]], ...] = ()
    roc: tuple[Interval, ...] = ()


class Manifest(Strict):
    """The content of model.toml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    title: str
    intended_use: str
    licence: str
    runner: Runner
    eligible: EligibilityRule
    coverage: CoverageRule = CoverageRule()
    body: BodyRule | None = None
    input: AnyInput = Field(discriminator="kind")
    outputs: tuple[Output, ...] = Field(min_length=1)
    operating: Operating
    abstention: Abstention | None = None
    foreign: tuple[ForeignKind, ...] = ()
    training: Training
    results: tuple[Result, ...] = ()
    constancy: tuple[ConstancyEntry, ...] = Field(min_length=1)
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    @property
    def output(self) -> Output:
        """The first: what is measured, and the only one of a shipped package."""
        return self.outputs[0]

    @property
    def network_file(self) -> str:
        """Name of the file that holds the network."""
        return NETWORK_FILE[self.runner.kind]

    def scale(self, images: int) -> Scale:
        """That of `output` for a series of so many images."""
        return self.output.image if images == 1 else self.output.series

    @model_validator(mode="after")
    def _whole(self) -> Manifest:
        if self.network_file not in self.files:
            raise ValueError(f"[files] does not list {self.network_file}")
        for name in self.files:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"[files] has a name that is not a plain file name: {name!r}")
        for reference in self.constancy:
            if missing := set(reference.files) - set(self.files):
                raise ValueError(f"[files] does not list {', '.join(sorted(missing))}")
            if len(reference.expected) != len(self.outputs):
                raise ValueError("a reference expects one score of each output")
            if reference.seed is not None and not (
                reference.phantom or isinstance(self.input, InputSpec)
            ):
                raise ValueError("a reference of this input says which phantom it is")
        return self

    @model_validator(mode="after")
    def _body_can_be_measured(self) -> Manifest:
        modalities = self.eligible.modalities
        if self.body is not None and modalities and "CT" not in modalities:
            raise ValueError("[body] is measured on CT, which eligible.modalities does not name")
        return self

    @model_validator(mode="after")
    def _outputs_are_there(self) -> Manifest:
        for values in ([one.index for one in self.outputs], [one.code for one in self.outputs]):
            if len(set(values)) != len(values):
                raise ValueError("two outputs have the same index or code")
        if max(one.index for one in self.outputs) >= self.runner.classes:
            raise ValueError(f"the network gives {self.runner.classes} numbers: an index is beyond")
        if self.runner.classes < 2 and any(one.gives == "softmax" for one in self.outputs):
            raise ValueError("softmax is of several classes: runner.classes says 1")
        if self.abstention and not self.runner.architecture.startswith("pyramid-x"):
            raise ValueError("abstention needs an ensemble of ours, and its guard")
        return self
