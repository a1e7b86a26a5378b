"""A package's folder becomes a `Package`, once every check has passed."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from streams.errors import Reason
from triage.packages.eligibility import SeriesFacts, why_ineligible
from triage.packages.manifest import MANIFEST, WEIGHTS, InputSpec, Manifest

if TYPE_CHECKING:
    import torch


class PackageError(Exception):
    """A model package that must not be used; the text says why."""


@dataclass(frozen=True)
class TrainingDistribution:
    """Where the training images lie: what `mean` [p] and `basis` [k, p] say of thumbnails [n, p].

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
    training_distribution: TrainingDistribution = field(repr=False)
    threshold_source: Literal["package", "site"] = "package"

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
        """The same package with another threshold, 0 to 1, for one image and for several.

        None leaves its own.
        """
        if threshold is None:
            return self
        manifest, change = self.manifest, {"threshold": threshold}
        changed = {
            "operating": manifest.operating.model_copy(update={"chosen": "the site's own"}),
            "image": manifest.image.model_copy(update=change),
            "series": manifest.series.model_copy(update=change),
        }
        changed_manifest = manifest.model_copy(update=changed)
        return replace(self, manifest=changed_manifest, threshold_source="site")

    def why_ineligible(self, series: SeriesFacts) -> Reason | None:
        """Why `series` is outside the intended use, or None if the model may look at it."""
        return why_ineligible(self.manifest.eligible, series)

    def load_network(self) -> torch.nn.Module:
        """The network, fp32, channels_last, in eval mode: [n, c, h, w] -> logits [n].

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
            key.removeprefix("network."): tensor
            for key, tensor in tensors.items()
            if key.startswith("network.")
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
            f"{path.parent.name}: {path.name} has sha256 {found[:12]}…, "
            f"{MANIFEST} says {sha256[:12]}…"
        )
    return content


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or MANIFEST
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}"


def load_package(folder: Path) -> Package:
    """Reads and checks a package: manifest, every file's hash, tensors' names and shapes.

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
    return Package(folder, manifest, _training_distribution(folder.name, tensors))


def _training_distribution(
    name: str, tensors: dict[str, npt.NDArray[np.float32]]
) -> TrainingDistribution:
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
    return TrainingDistribution(mean, basis, float(scale[0]))


def find_packages(folder: Path) -> list[Path]:
    """The package folders directly inside `folder`, by name; they are not opened."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
