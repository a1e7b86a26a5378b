"""The process that reads a PyTorch checkpoint: ``python -m triage.importing.unpickle FILE OUT``.

No code of the file runs: `torch.load` builds tensors and plain containers alone (`weights_only`),
and where a whole module was saved, its classes are stand-ins that hold what they are given. The
tensors leave as safetensors.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from triage.sandbox import RunnerLimits, confine

_MEMORY, _FILE = 8 * 1024**3, 4 * 1024**3  # bytes
#: Where trainers put the state beside their own notes.
_STATES = ("state_dict", "model_state_dict", "model", "network")


class StandIn:
    """In the place of a module's class: it keeps what it is given, and does nothing."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


#: The classes of a saved TorchXRayVision DenseNet.
STAND_INS = (
    *(f"torchxrayvision.models.{name}" for name in ("DenseNet", "_DenseBlock", "_DenseLayer")),
    "torchxrayvision.models._Transition",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.pooling.AvgPool2d",
    "torch.nn.modules.pooling.MaxPool2d",
)


def state_of(loaded: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name. Raises ValueError where there are none."""
    if isinstance(loaded, StandIn):
        return dict(_of_module(loaded, ""))
    if isinstance(loaded, Mapping):
        for name in _STATES:
            if isinstance(loaded.get(name), Mapping | StandIn):
                return state_of(loaded[name])
        tensors = {str(name): one for name, one in loaded.items() if isinstance(one, Tensor)}
        if tensors:
            return {name.removeprefix("module."): one for name, one in tensors.items()}
    raise ValueError("holds no network's weights")


def _of_module(module: StandIn, prefix: str) -> Iterator[tuple[str, Tensor]]:
    held: dict[str, Any] = module.__dict__
    for kind in ("_parameters", "_buffers"):
        for name, tensor in held.get(kind, {}).items():
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor
    for name, inner in held.get("_modules", {}).items():
        if isinstance(inner, StandIn):
            yield from _of_module(inner, f"{prefix}{name}.")


def main(argv: list[str]) -> None:
    """Writes the safetensors; what goes wrong ends it, with its reason in the last line."""
    warnings.simplefilter("ignore")
    confine(RunnerLimits(memory_bytes=_MEMORY), _FILE)
    with torch.serialization.safe_globals([(StandIn, name) for name in STAND_INS]):
        loaded = torch.load(argv[0], map_location="cpu", weights_only=True)
    state = state_of(loaded)
    # A copy each: tensors of a checkpoint may share their memory, which safetensors refuses.
    save_file({name: one.detach().clone().contiguous() for name, one in state.items()}, argv[1])


if __name__ == "__main__":
    main(sys.argv[1:])
