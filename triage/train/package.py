"""A trained network becomes a package: what it learned from, its references, its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from triage.inputs.prepare import prepare
from triage.judging.flagging import thumbnails
from triage.packages.load import TrainingDistribution
from triage.packages.manifest import MANIFEST, WEIGHTS, InputSpec
from triage.phantoms.series import phantom_series
from triage.train.fit import scores
from triage.train.manifest_text import to_toml

Array = NDArray[np.float32]
_BASIS = 32
_REFERENCES = (11, 12, 13, 14)


def training_distribution(images: Array) -> tuple[TrainingDistribution, float]:
    """Where the training images lie, and the largest distance at which an image is judged.

    99.5 of 100 training images stay within that, with room.
    """
    small = thumbnails(images)
    mean = small.mean(0)
    basis = np.linalg.svd(small - mean, full_matrices=False)[2][:_BASIS].astype(np.float32)
    rest = small - mean
    rest = rest - (rest @ basis.T) @ basis
    far = np.sqrt((rest**2).mean(1))
    scale = float(np.median(far))
    return TrainingDistribution(mean, basis, scale), float(np.quantile(far / scale, 0.995) * 1.3)


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


def write(
    folder: Path,
    manifest: Mapping[str, Any],
    network: nn.Module,
    distribution: TrainingDistribution,
) -> None:
    """Writes `model.toml` and the weights; `manifest` lacks only `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"network.{name}": (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    for name, part in (
        ("mean", distribution.mean),
        ("basis", distribution.basis),
        ("scale", np.array([distribution.scale])),
    ):
        tensors[f"typical.{name}"] = torch.from_numpy(np.ascontiguousarray(part, np.float32))
    content = save(tensors)
    (folder / WEIGHTS).write_bytes(content)
    full = {**manifest, "files": {WEIGHTS: hashlib.sha256(content).hexdigest()}}
    (folder / MANIFEST).write_text(to_toml(full))
