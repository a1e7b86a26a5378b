"""A trained network becomes a package: what it learned from, its references, its weights."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

from triage.inputs.prepare import prepare
from triage.packages.architectures import Ensemble, build
from triage.packages.input_spec import InputSpec
from triage.packages.manifest import MANIFEST, WEIGHTS
from triage.packages.manifest_text import to_toml
from triage.phantoms.series import phantom_series
from triage.train.fit import scores

_REFERENCES = (11, 12, 13, 14)


def constancy_entries(network: nn.Module, spec: InputSpec) -> list[dict[str, Any]]:
    """Reference phantoms and their raw scores.

    The tolerance holds for other processors and bf16, not for other weights.
    """
    found = []
    for seed in _REFERENCES:
        frames, _ = phantom_series(np.random.default_rng(seed), spec.kind)
        found.append(
            {
                "seed": seed,
                "expected": round(float(scores(network, prepare(frames, spec)).mean()), 4),
                "tolerance": 0.25,
            }
        )
    return found


def as_stored(network: nn.Module) -> nn.Module:
    """The network with its kernels rounded to half precision, as they are stored.

    So what is measured is what is shipped.
    """
    for weights in network.parameters():
        if weights.ndim > 1:
            weights.data = weights.data.half().float()
    return network


def in_order(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with its tables of tables last, as manifests have them."""
    last = ("abstention", "foreign", "training", "results", "constancy", "files")
    first = {name: value for name, value in document.items() if name not in last}
    return first | {name: document[name] for name in last if name in document}


def write(folder: Path, manifest: Mapping[str, Any], network: nn.Module) -> None:
    """Writes `model.toml` and the weights; `manifest` lacks only `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    content = save(tensors)
    (folder / WEIGHTS).write_bytes(content)
    full = {**manifest, "files": {WEIGHTS: hashlib.sha256(content).hexdigest()}}
    (folder / MANIFEST).write_text(to_toml(full), encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, Any], Ensemble]:
    """The manifest of a package of ours as it stands, of any version, and its ensemble.

    Raises KeyError or RuntimeError where it is none of ours.
    """
    document = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    network = build(document["runner"]["architecture"], document["input"]["channels"])
    tensors = load((folder / WEIGHTS).read_bytes())
    network.load_state_dict(
        {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
    )
    return document, cast(Ensemble, network.eval().to(memory_format=torch.channels_last))
