"""Draft and model become a package: weights, manifest, and references as they are served."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save
from torch import Tensor

from triage.evaluation.references import record
from triage.importing import monai, torchxrayvision
from triage.importing.checkpoint import ImportRefused, read_checkpoint
from triage.importing.draft import Draft, DraftOutput
from triage.importing.nameless import nameless_copies
from triage.packages.input_spec import RecipeSpec
from triage.packages.load import Package, load_package
from triage.packages.manifest import MANIFEST, NETWORK_FILE
from triage.packages.manifest_text import to_toml

_SEEDS = (11, 12, 13, 14)
#: How far a reference's score may be from today's: other processors, not other weights.
_TOLERANCE = 0.05


def import_model(
    source: Path, draft: Draft, models: Path, references: Sequence[Path] = ()
) -> Package:
    """Makes the package `models`/NAME; what is there already stays.

    Args:
        source: a TorchXRayVision checkpoint, the folder of a MONAI bundle, an ONNX or a pt2 file.
        references: DICOM files, or folders of one series each; they are copied without what
            names a patient. Without any, phantoms are.

    Raises ImportRefused, and PackageError where what was made does not pass its checks.
    """
    if (models / draft.name).exists():
        raise ImportRefused(f"{models / draft.name}: is there already")
    models.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".importing-", dir=models) as aside:
        folder = Path(aside) / draft.name
        folder.mkdir()
        stated, entries = _stated(source, draft, folder, references)
        unknown = {"expected": [0.0] * len(draft.outputs), "tolerance": _TOLERANCE}
        entries = [entry | unknown for entry in entries]
        (folder / MANIFEST).write_text(to_toml({**stated, "constancy": entries}), encoding="utf-8")
        record(folder)
        load_package(folder)
        folder.rename(models / draft.name)
    return load_package(models / draft.name)


def _stated(
    source: Path, draft: Draft, folder: Path, references: Sequence[Path]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest without [[constancy]], and which references there are; their files and the
    network's are in `folder`.
    """
    runner, spec, classes, content = _read(source, draft)
    network = NETWORK_FILE[str(runner["kind"])]
    (folder / network).write_bytes(content)
    kept = [nameless_copies(one, folder, number) for number, one in enumerate(references, 1)]
    entries: list[dict[str, Any]] = [{"files": names} for names in kept] or [
        {"seed": seed, "phantom": _phantom(draft)} for seed in _SEEDS
    ]
    files = [network, *(name for names in kept for name in names)]
    stated = {
        **draft.model_dump(include={"name", "version", "title", "intended_use", "licence"}),
        "runner": runner,
        "eligible": draft.eligible.model_dump(exclude_none=True),
        "input": spec.model_dump(exclude_none=True),
        "outputs": [_output(one, classes, draft.thresholds) for one in draft.outputs],
        "operating": draft.operating.model_dump(),
        "training": draft.training.model_dump(),
        "files": {name: _sha256(folder / name) for name in files},
    }
    return stated, entries


def _read(source: Path, draft: Draft) -> tuple[dict[str, Any], RecipeSpec, tuple[str, ...], bytes]:
    """What runs it, what it reads, its classes, and the file of its network."""
    if source.suffix in (".onnx", ".pt2"):
        kind = source.suffix.removeprefix(".")
        runner = {"kind": kind, "classes": draft.classes, "batch": draft.batch}
        return runner, _input(draft), tuple(map(str, range(draft.classes))), _bytes(source)
    if monai.is_bundle(source):
        bundle, spec = monai.read_bundle(source), _input(draft)
        monai.fits(bundle, spec)
        state = monai.renamed(read_checkpoint(bundle.weights))
        return _builtin(bundle.architecture, bundle.classes), spec, bundle.classes, _saved(state)
    if source.is_dir():
        raise ImportRefused(f"{source}: is no MONAI bundle (configs/metadata.json)")
    state = read_checkpoint(source)
    if not torchxrayvision.is_checkpoint(state):
        raise ImportRefused(
            f"{source.name}: is no TorchXRayVision DenseNet; export it as ONNX or pt2"
        )
    if draft.input is not None:
        raise ImportRefused("input: what a TorchXRayVision DenseNet reads is known: leave it out")
    classes = torchxrayvision.classes_of(state)
    runner = _builtin(torchxrayvision.ARCHITECTURE, classes)
    return runner, torchxrayvision.INPUT, classes, _saved(state)


def _builtin(architecture: str, classes: Sequence[str]) -> dict[str, Any]:
    return {"kind": "builtin", "architecture": architecture, "classes": len(classes)}


def _input(draft: Draft) -> RecipeSpec:
    if draft.input is None:
        raise ImportRefused("input: is missing: what such a model reads, its users must say")
    return draft.input


def _saved(state: dict[str, Tensor]) -> bytes:
    """As weights.safetensors; what is no weight (op_threshs) stays behind."""
    return save(
        {
            f"network.{name}": tensor
            for name, tensor in state.items()
            if name.startswith(("features.", "classifier."))
        }
    )


def _output(told: DraftOutput, classes: tuple[str, ...], thresholds: str) -> dict[str, Any]:
    if isinstance(told.source, int):
        index = told.source
    elif told.source in classes:
        index = classes.index(told.source)
    else:
        raise ImportRefused(
            f"outputs: {told.source}: no such class (there are: {', '.join(classes)})"
        )
    threshold = told.threshold
    if threshold is None:
        if classes != torchxrayvision.CLASSES:
            raise ImportRefused(f"outputs: {told.source}: a threshold is missing")
        threshold = torchxrayvision.threshold_of(classes[index], thresholds)
    scale = {"slope": told.slope, "intercept": told.intercept, "threshold": threshold}
    codes = told.model_dump(include={"code", "label", "radlex", "snomed", "gives"})
    return {"index": index, **codes, "image": scale, "series": scale}


def _phantom(draft: Draft) -> str:
    return "head_ct" if "CT" in draft.eligible.modalities else "chest_film"


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ImportRefused(f"{file}: {error.strerror}") from None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
