"""Model packages: folders of a model.toml and weights, believed only after every check has passed."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    import torch

MANIFEST = "model.toml"
WEIGHTS = "weights.safetensors"
SHIPPED = Path(__file__).parents[1] / "models"

Ineligible = Literal[
    "outside_intended_use_modality",
    "outside_intended_use_body_part",
    "outside_intended_use_age",
    "outside_intended_use_view",
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Interval = tuple[Share, Share]


class PackageError(Exception):
    """A model package that must not be used; the text says why."""


class Strict(BaseModel):
    """Unknown fields, infinities and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Eligible(Strict):
    """Which series the model may look at. Empty lists mean: any."""

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...] = ()
    description_words: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    age_years: tuple[float, float] | None = None


class InputSpec(Strict):
    """What the network reads: float32 [n, channels, height, width], made by `prepare` in the way of
    `kind`.
    """

    kind: Literal["head_ct", "chest_film"]
    channels: int = Field(ge=1, le=8)
    height: int = Field(ge=16, le=1024)
    width: int = Field(ge=16, le=1024)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def side(self) -> int:
        """Pixels that the short side of a larger frame must keep: twice what the network reads, and
        512 at least.
        """
        return max(512, 2 * self.height, 2 * self.width)


class Finding(Strict):
    """What a flag of this model means, with its codes."""

    code: str = Field(pattern=r"^[a-z0-9-]{1,64}$")
    label: str
    radlex: str = Field(pattern=r"^RID[0-9]+$")
    snomed: str = Field(pattern=r"^[0-9]{6,18}$")


class Scale(Strict):
    """Probability = sigmoid(slope x logit + intercept), and from which probability on it is
    flagged.
    """

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


class Reference(Strict):
    """A phantom by its seed, and the raw score (mean over its images) that it had when the package
    was made.
    """

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

    `reliability`: for each filled bin mean probability, observed share, cases. `roc`: (1 -
        specificity, sensitivity).
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
    eligible: Eligible
    input: InputSpec
    findings: tuple[Finding, ...] = Field(min_length=1)
    operating: Operating
    image: Scale = Field(description="of one image alone")
    series: Scale = Field(
        description="of several images of one series: it has the finding more often than one of them"
    )
    abstention: Abstention
    training: Training
    results: tuple[Result, ...] = ()
    constancy: tuple[Reference, ...] = ()
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


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of a series before its pixels are read."""

    modality: str
    body_part: str = ""
    description: str = ""
    age_years: float | None = None
    view: str | None = None
    sop_class: str = ""
    frames: int = 1


@dataclass(frozen=True)
class Typical:
    """Where the training images lie: thumbnails [n, p] are explained by `mean` [p] and `basis` [k,
    p].

    Distance is the root mean square of what the basis does not explain, divided by `scale`.
    """

    mean: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float32]
    scale: float


@dataclass(frozen=True)
class Package:
    """A checked model package."""

    folder: Path
    manifest: Manifest
    typical: Typical = field(repr=False)

    @property
    def name(self) -> str:
        """The package's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The package's version, x.y.z."""
        return self.manifest.version

    @property
    def input(self) -> InputSpec:
        """What the network reads."""
        return self.manifest.input

    def flagging_at(self, threshold: float | None) -> Package:
        """The same package with another threshold, 0 to 1, for one image and for several; None
        leaves its own.
        """
        if threshold is None:
            return self
        m, new = self.manifest, {"threshold": threshold}
        changed = {
            "operating": m.operating.model_copy(update={"chosen": "the site's own"}),
            "image": m.image.model_copy(update=new),
            "series": m.series.model_copy(update=new),
        }
        return replace(self, manifest=m.model_copy(update=changed))

    def eligible(self, series: SeriesFacts) -> Ineligible | None:
        """Why this series is outside the intended use, or None if the model may look at it."""
        rule = self.manifest.eligible
        if series.modality.upper() not in rule.modalities:
            return "outside_intended_use_modality"
        if rule.sop_classes and series.sop_class and series.sop_class not in rule.sop_classes:
            return "outside_intended_use_modality"
        if not _right_body_part(rule, series):
            return "outside_intended_use_body_part"
        if rule.age_years is not None:
            low, high = rule.age_years
            # "5 years" lasts until the sixth birthday.
            if series.age_years is None or not low <= series.age_years < high + 1.0:
                return "outside_intended_use_age"
        if rule.views and series.view and series.view.upper() not in rule.views:
            return "outside_intended_use_view"
        return None

    def load_network(self) -> torch.nn.Module:
        """The network, fp32, channels_last, in eval mode: [n, channels, height, width] -> logits
        [n].

        Raises PackageError where the weights do not fit the architecture or are not finite.
        """
        import torch
        from safetensors.torch import load

        from triage.packages.architectures import build

        try:
            network = build(self.manifest.architecture, self.input.channels)
        except KeyError as error:
            raise PackageError(
                f"{self.name}: no architecture called {self.manifest.architecture!r}"
            ) from error
        tensors = load(_read(self.folder / WEIGHTS, self.manifest.files[WEIGHTS]))
        state = {
            k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")
        }
        for key, tensor in state.items():
            if not bool(torch.isfinite(tensor).all()):
                raise PackageError(f"{self.name}: {key} holds numbers that are not finite")
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise PackageError(
                f"{self.name}: weights do not fit {self.manifest.architecture}: {error}"
            ) from error
        return network.eval().to(memory_format=torch.channels_last)


def _right_body_part(rule: Eligible, series: SeriesFacts) -> bool:
    if not rule.body_parts:
        return True
    if series.body_part.strip():
        return series.body_part.strip().upper() in rule.body_parts
    text = series.description.lower()
    return any(word in text for word in rule.description_words)


def _read(path: Path, sha256: str) -> bytes:
    """The file's bytes, if they are the ones that model.toml vouches for."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(
            f"{path.parent.name}: {path.name} cannot be read: {error.strerror}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PackageError(
            f"{path.parent.name}: {path.name} has sha256 {found[:12]}…, model.toml says {sha256[:12]}…"
        )
    return content


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or MANIFEST
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}"


def load_package(folder: Path) -> Package:
    """Read and check a package: manifest, every file's hash, tensors' names and shapes.

    Raises PackageError with the reason. The network itself is built by `Package.load_network`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        document = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(document)
    except OSError as error:
        raise PackageError(f"{folder.name}: {MANIFEST} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"{folder.name}: {MANIFEST} is not TOML: {error}") from error
    except ValidationError as error:
        raise PackageError(f"{folder.name}: {_explain(error)}") from error
    if manifest.name != folder.resolve().name:
        raise PackageError(f"{folder.name}: the manifest calls itself {manifest.name!r}")
    content = {name: _read(folder / name, sha256) for name, sha256 in manifest.files.items()}
    try:
        tensors = load(content[WEIGHTS])
    except SafetensorError as error:
        raise PackageError(
            f"{folder.name}: {WEIGHTS} is not a safetensors file: {error}"
        ) from error
    return Package(folder, manifest, _typical(folder.name, tensors))


def _typical(name: str, tensors: dict[str, npt.NDArray[np.float32]]) -> Typical:
    try:
        mean, basis, scale = (tensors[f"typical.{part}"] for part in ("mean", "basis", "scale"))
    except KeyError as error:
        raise PackageError(f"{name}: {WEIGHTS} has no tensor {error.args[0]}") from error
    if mean.ndim != 1 or basis.ndim != 2 or basis.shape[1] != mean.shape[0] or scale.shape != (1,):
        raise PackageError(
            f"{name}: typical.* have the wrong shapes {mean.shape}, {basis.shape}, {scale.shape}"
        )
    if (
        not all(bool(np.isfinite(part).all()) for part in (mean, basis, scale))
        or float(scale[0]) <= 0.0
    ):
        raise PackageError(f"{name}: typical.* hold numbers that are not finite")
    return Typical(mean, basis, float(scale[0]))


def find_packages(folder: Path) -> list[Path]:
    """The package folders directly inside `folder`, by name; they are not opened. Empty if there is
    none.
    """
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
