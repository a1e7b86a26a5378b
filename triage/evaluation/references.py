"""A package's references through the serving path, for check, import and training."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.errors import NotAnalysed
from triage.inference.opening import open_network
from triage.inputs.prepare import prepare
from triage.judging.outputs import judge_stacks
from triage.packages.input_spec import InputSpec
from triage.packages.load import Package, PackageError, load_package
from triage.packages.manifest import MANIFEST, ConstancyEntry
from triage.packages.manifest_text import to_toml
from triage.phantoms.files import write_phantom


@dataclass(frozen=True)
class Measured:
    """What one reference gives: the raw score of each output, mean over its images."""

    entry: ConstancyEntry
    scores: tuple[float, ...]
    outcome: Literal["flagged", "not_flagged", "not_analysed"]

    def difference(self) -> str:
        """In words, how that is not what the manifest says; empty: it is."""
        far = max(abs(a - b) for a, b in zip(self.scores, self.entry.expected, strict=True))
        if far > self.entry.tolerance:
            return f"a reference's score is {far:.3g} from the expected one"
        if self.entry.outcome not in (None, self.outcome):
            return f"a reference is {self.outcome}, expected was {self.entry.outcome}"
        return ""


def write_reference(package: Package, entry: ConstancyEntry, folder: Path) -> Sequence[Path]:
    """The reference's DICOM files, in `folder`. Raises PackageError where one was changed."""
    if entry.seed is None:
        for name in entry.files:
            (folder / name).write_bytes(package.read(name))
        return [folder / name for name in entry.files]
    spec = package.input
    kind = entry.phantom or (spec.kind if isinstance(spec, InputSpec) else None)
    assert kind  # the manifest's own check
    return write_phantom(folder, kind, entry.seed)


def measure_references(package: Package) -> Iterator[Measured]:
    """Each reference through jail, preparation, network and judgement.

    Raises PackageError where one gives no score.
    """
    network, spec = open_network(package, device="cpu"), package.input
    with closing(DecoderPool(1)) as decoders:
        for entry in package.manifest.constancy:
            with TemporaryDirectory(prefix="vigie-reference-") as folder:
                paths = tuple(map(str, write_reference(package, entry, Path(folder))))
                try:
                    # Which series it is meant for is no matter of constancy.
                    wanted = replace(package.wanted, rule=None)
                    frames = decoders.decode(Request(paths, wanted)).frames
                    images = prepare(frames, spec)
                except NotAnalysed as error:
                    raise PackageError(
                        f"{package.name}: a reference cannot be read: {error.reason.value}"
                    ) from None
                except ValueError as error:
                    raise PackageError(
                        f"{package.name}: a reference does not fit the input: {error}"
                    ) from None
            scores = network.scores(images)
            if not np.isfinite(scores).all():
                raise PackageError(f"{package.name}: gives a reference no score")
            outputs = scores.reshape(len(scores), -1)[:, : len(entry.expected)].mean(0)
            outcome = judge_stacks(package, scores, frames)
            yield Measured(entry, tuple(map(float, outputs)), outcome)


def record(folder: Path) -> None:
    """Writes into the manifest what each reference gives today: its scores and its verdict.

    Raises PackageError.
    """
    document = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    measured = measure_references(load_package(folder))
    for entry, one in zip(document["constancy"], measured, strict=True):
        entry["expected"] = [round(score, 4) for score in one.scores]
        entry["outcome"] = one.outcome
    (folder / MANIFEST).write_text(to_toml(document), encoding="utf-8")
