"""A package's folder becomes a `Package`, once every check has passed."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from triage.decoding.protocol import Wanted
from triage.eligibility.rule import Rule
from triage.packages.input_spec import AnyInput
from triage.packages.manifest import MANIFEST, WEIGHTS, Manifest

if TYPE_CHECKING:
    import torch


class PackageError(Exception):
    """A model package that must not be used; the text says why."""


@dataclass(frozen=True)
class Package:
    """A checked model package.

    Attributes:
        stated: model.toml, byte for byte.
    """

    folder: Path
    stated: bytes = field(repr=False)
    manifest: Manifest
    site_scales: frozenset[str] = frozenset()  # "image", "series": with the site's threshold

    @property
    def name(self) -> str:
        """The package's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The package's version, x.y.z."""
        return self.manifest.version

    @property
    def input(self) -> AnyInput:
        """What the network reads."""
        return self.manifest.input

    @property
    def wanted(self) -> Wanted:
        """What it reads of any series."""
        spec = self.input
        return Wanted(spec.slab_mm, spec.axial, spec.min_side_px, self.rule)

    @cached_property
    def rule(self) -> Rule:
        """Which images it is meant for."""
        return self.manifest.eligible.rule()

    @property
    def network_sha256(self) -> str:
        """SHA-256 of the file that holds the network."""
        return self.manifest.files[self.manifest.network_file]

    def looking_for(self, code: str) -> Package:
        """The same package with one output alone, by its code. Raises PackageError."""
        for output in self.manifest.outputs:
            if output.code == code:
                return replace(
                    self, manifest=self.manifest.model_copy(update={"outputs": (output,)})
                )
        there = ", ".join(output.code for output in self.manifest.outputs)
        raise PackageError(f"{self.name}: looks for no {code!r} (it looks for: {there})")

    def flagging_at(self, series: float | None = None, image: float | None = None) -> Package:
        """The same package with other thresholds, 0 to 1: of several images, and of one alone.

        None leaves its own. Raises PackageError where it has several outputs.
        """
        changes = {"series": series, "image": image}
        changes = {scale: value for scale, value in changes.items() if value is not None}
        if not changes:
            return self
        if len(self.manifest.outputs) > 1:
            raise PackageError(f"{self.name}: one threshold cannot be that of several outputs")
        output = self.manifest.output
        output = output.model_copy(
            update={
                scale: getattr(output, scale).model_copy(update={"threshold": value})
                for scale, value in changes.items()
            }
        )
        operating = self.manifest.operating.model_copy(update={"chosen": "the site's own"})
        manifest = self.manifest.model_copy(update={"operating": operating, "outputs": (output,)})
        return replace(self, manifest=manifest, site_scales=frozenset(changes))

    def at_prevalence(self, share: float) -> Package:
        """The same package where `share` of the cases, above 0 and below 1, have the finding.

        Probabilities move by the odds (Saerens et al. 2002), and thresholds with them: what is
        flagged stays. Raises PackageError where the package does not say the share among its own.
        """
        training, output = self.manifest.training, self.manifest.output
        known = 0 < training.positives < training.cases and output.image == output.series
        if not known or len(self.manifest.outputs) > 1:
            raise PackageError(
                f"{self.name}.prevalence: the package does not say at which it was calibrated"
            )
        own = training.positives / training.cases
        more = log(share / (1 - share)) - log(own / (1 - own))
        scale = output.image
        at = log(scale.threshold / (1 - scale.threshold)) + more
        moved = scale.model_copy(
            update={"intercept": scale.intercept + more, "threshold": 1 / (1 + exp(-at))}
        )
        output = output.model_copy(update={"image": moved, "series": moved})
        return replace(self, manifest=self.manifest.model_copy(update={"outputs": (output,)}))

    def threshold_source(self, images: int) -> Literal["package", "site"]:
        """Whose threshold a series of so many images is flagged by."""
        scale = "image" if images == 1 else "series"
        return "site" if scale in self.site_scales else "package"

    def load_network(self) -> torch.nn.Module:
        """The builtin network, fp32, in eval mode: images [n, *input.shape] to logits.

        Those are [n, outputs], or [n] of one output; [n, 3] of a package that abstains (`Guarded`).

        Raises PackageError where the weights do not fit the architecture or are not finite.
        """
        import torch
        from safetensors.torch import load

        from triage.packages.architectures import Ensemble, Selected, build
        from triage.packages.guard import Guarded

        runner, dimensions = self.manifest.runner, len(self.input.shape) - 1
        try:
            network = build(runner.architecture, self.input.channels, runner.classes, dimensions)
        except (KeyError, ValueError) as error:
            raise PackageError(
                f"{self.name}: no architecture {runner.architecture!r} of {runner.classes} classes "
                f"in {dimensions} dimensions"
            ) from error
        state = load(self.read(WEIGHTS))
        if self.manifest.abstention:
            assert isinstance(network, Ensemble)  # the manifest's own check
            network = Guarded(network)
        else:
            state = {
                key.removeprefix("network."): tensor
                for key, tensor in state.items()
                if key.startswith("network.")
            }
        for key, tensor in state.items():
            if not bool(torch.isfinite(tensor).all()):
                raise PackageError(f"{self.name}: {key} holds numbers that are not finite")
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise PackageError(
                f"{self.name}: weights do not fit {runner.architecture}: {error}"
            ) from error
        outputs = self.manifest.outputs
        if runner.classes > 1 or outputs[0].gives != "logit":
            network = Selected(network, [(one.index, one.gives) for one in outputs])
        network = network.eval()
        return network.to(memory_format=torch.channels_last) if dimensions == 2 else network

    def read(self, name: str) -> bytes:
        """The content of one of its files. Raises PackageError where it is not what it was."""
        return _read(self.folder / name, self.manifest.files[name])


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
        stated = (folder / MANIFEST).read_bytes()
        manifest = Manifest.model_validate(tomllib.loads(stated.decode()))
    except OSError as error:
        raise PackageError(f"{folder.name}: {MANIFEST} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"{folder.name}: {MANIFEST} is not TOML: {error}") from error
    except ValidationError as error:
        raise PackageError(f"{folder.name}: {_explain(error)}") from error
    if manifest.name != folder.resolve().name:
        raise PackageError(f"{folder.name}: the manifest calls itself {manifest.name!r}")
    content = {name: _read(folder / name, sha256) for name, sha256 in manifest.files.items()}
    if manifest.runner.kind != "builtin":
        return Package(folder, stated, manifest)
    try:
        tensors = load(content[WEIGHTS])
    except SafetensorError as error:
        raise PackageError(
            f"{folder.name}: {WEIGHTS} is not a safetensors file: {error}"
        ) from error
    if manifest.abstention and not any(name.startswith("guard.") for name in tensors):
        raise PackageError(f"{folder.name}: abstains, but {WEIGHTS} has no tensors of a guard")
    return Package(folder, stated, manifest)


def find_packages(folder: Path) -> list[Path]:
    """The package folders directly inside `folder`, by name; they are not opened."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
