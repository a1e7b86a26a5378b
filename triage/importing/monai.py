"""A MONAI bundle (specification 1.0): the network that its configuration names, by a closed table.

Nothing in it is evaluated: an argument is a number, a string, a list, or "@name" of such a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from triage.importing.checkpoint import ImportRefused
from triage.packages.densenet import BLOCKS, BOTTLENECK, GROWTH, STEM
from triage.packages.input_spec import RecipeSpec

_METADATA, _WEIGHTS = "configs/metadata.json", "models/model.pt"
_CONFIGURATIONS = ("configs/inference.json", "configs/train.json")
#: By class in `monai.networks.nets`; its other spellings are aliases there.
ARCHITECTURES = {
    spelling: f"densenet{size}"
    for size in (121, 169, 201, 264)
    for spelling in (f"DenseNet{size}", f"Densenet{size}", f"densenet{size}")
}
#: Arguments that change the network: each may only say what our own is.
_FIXED: dict[str, object] = {
    "init_features": STEM,
    "growth_rate": GROWTH,
    "bn_size": BOTTLENECK,
    "act": "relu",
    "norm": "batch",
}
_WITHOUT_EFFECT = {"dropout_prob", "pretrained", "progress"}
_WANTED = ("spatial_dims", "in_channels", "out_channels")


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of its network."""

    architecture: str
    dimensions: int
    channels: int
    classes: tuple[str, ...]
    weights: Path


def is_bundle(folder: Path) -> bool:
    """Whether it looks like one."""
    return (folder / _METADATA).is_file()


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`. Raises ImportRefused."""
    configuration = next(
        (folder / one for one in _CONFIGURATIONS if (folder / one).is_file()), None
    )
    if configuration is None:
        raise ImportRefused(f"{folder.name}: has none of {', '.join(_CONFIGURATIONS)}")
    told = _json(configuration)
    network = told.get("network_def", told.get("network"))
    if not isinstance(network, Mapping):
        raise ImportRefused(f"{configuration.name}: has no network_def")
    arguments = {name: _plain(value, told) for name, value in network.items()}
    target = str(arguments.pop("_target_", "")).rpartition(".")[2]
    if target not in ARCHITECTURES:
        known = ", ".join(sorted({one for one in ARCHITECTURES if one.startswith("DenseNet")}))
        raise ImportRefused(
            f"network_def: {target or 'no _target_'}: not one of {known}; export it as ONNX or pt2"
        )
    dimensions, channels, classes = _numbers(ARCHITECTURES[target], arguments)
    names = _class_names(_json(folder / _METADATA), classes)
    return Bundle(ARCHITECTURES[target], dimensions, channels, names, folder / _WEIGHTS)


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{file.name}: {error}") from None
    if not isinstance(told, dict):
        raise ImportRefused(f"{file.name}: is no JSON object")
    return told


def _plain(value: object, told: Mapping[str, Any]) -> object:
    """The value, or the one that it points to."""
    if isinstance(value, str) and value.startswith("@"):
        value = told.get(value[1:])
    if isinstance(value, list):
        return [_plain(one, {}) for one in value]
    if not isinstance(value, str | int | float | bool):
        raise ImportRefused(f"network_def: an argument is no plain value: {str(value)[:60]}")
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        raise ImportRefused(f"network_def: expressions are not evaluated: {value[:60]}")
    return value


def _numbers(architecture: str, arguments: dict[str, object]) -> tuple[int, int, int]:
    """Dimensions, channels and classes, once no argument asks for another network than ours."""
    fixed = _FIXED | {"block_config": list(BLOCKS[architecture])}
    for name, value in arguments.items():
        if name in fixed and value != fixed[name]:
            raise ImportRefused(f"network_def: {name} is {value}, ours is {fixed[name]}")
        if name not in {*fixed, *_WITHOUT_EFFECT, *_WANTED}:
            raise ImportRefused(f"network_def: {name}: an argument that is not known here")
    found = [arguments.get(name) for name in _WANTED]
    if not all(isinstance(one, int) and one > 0 for one in found) or found[0] not in (2, 3):
        raise ImportRefused(f"network_def: {', '.join(_WANTED)} are not all given as numbers")
    dimensions, channels, classes = (int(str(one)) for one in found)
    return dimensions, channels, classes


def _class_names(metadata: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Of `network_data_format.outputs.pred.channel_def`; their numbers where it does not say."""
    told: Any = metadata
    for key in ("network_data_format", "outputs", "pred", "channel_def"):
        told = told.get(key) if isinstance(told, Mapping) else None
    names = told if isinstance(told, Mapping) else {}
    return tuple(str(names.get(str(index), index)) for index in range(count))


def fits(bundle: Bundle, spec: RecipeSpec) -> None:
    """Raises ImportRefused where the draft's input is not what the network reads."""
    dimensions = len(spec.shape) - 1
    if (dimensions, spec.channels) != (bundle.dimensions, bundle.channels):
        raise ImportRefused(
            f"input: {spec.channels} channels in {dimensions} dimensions; "
            f"the network reads {bundle.channels} in {bundle.dimensions}"
        )


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MONAI's names of a DenseNet's weights as ours."""
    return {
        name.replace(".layers.", ".").replace("class_layers.out.", "classifier."): tensor
        for name, tensor in state.items()
    }
