"""Turns a trained network into a package: calibration, operating point, typical images, references,
measured results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from triage.evaluation.figures import Figures, measure, reliability, roc
from triage.inputs.prepare import prepare
from triage.judging.flagging import highest, probability, thumbnails
from triage.packages.load import MANIFEST, WEIGHTS, InputSpec, Scale, Typical
from triage.train.fit import scores
from triage.train.pool import Case
from triage.worker.constancy import reference_series

Array = NDArray[np.float32]
_BASIS = 32
#: Share of those without the finding that must not be flagged. On people whom no member knows it
#: will be more: the mean scatters less.
SPECIFICITY = 0.75
SENSITIVITY = 0.95
CHOSEN = (
    f"where the specificity is {SPECIFICITY:g}, or more while the sensitivity is {SENSITIVITY:g}: of an image for the member that left "
    "its patient out, of a series for all members"
)
_REFERENCES = (11, 12, 13, 14)


@dataclass(frozen=True)
class Group:
    """Cases that are judged as one: one image, or a patient's slices. `logits` [k]."""

    logits: Array
    truth: int
    patient: str


def singles(cases: Sequence[Case], logits: Array) -> list[Group]:
    """Each image for itself."""
    return [Group(logits[i : i + 1], case.truth, case.patient) for i, case in enumerate(cases)]


def series(cases: Sequence[Case], logits: Array) -> list[Group]:
    """Each patient's slices as one series; it has the finding when one slice has it."""
    found = []
    for patient in sorted({case.patient for case in cases}):
        mine = [i for i, case in enumerate(cases) if case.patient == patient]
        found.append(Group(logits[mine], max(cases[i].truth for i in mine), patient))
    return found


def calibrate(groups: Sequence[Group], top_k: int) -> Scale:
    """Platt scaling, and the threshold: where those without the finding have SPECIFICITY, or more
    while SENSITIVITY holds.
    """
    logits, truths = (
        np.array([highest(g.logits, top_k) for g in groups]),
        np.array([g.truth for g in groups]),
    )
    slope, intercept = _platt(logits, truths)
    limit = max(
        np.quantile(logits[truths == 0], SPECIFICITY),
        np.quantile(logits[truths == 1], 1 - SENSITIVITY),
    )
    unset = Scale(slope=slope, intercept=intercept, threshold=0.5)
    return unset.model_copy(update={"threshold": round(probability(float(limit), unset), 4)})


def _platt(logits: NDArray[Any], truths: NDArray[Any]) -> tuple[float, float]:
    y = np.where(
        truths == 1, (truths.sum() + 1) / (truths.sum() + 2), 1 / ((1 - truths).sum() + 2)
    )  # Platt's own smoothing
    a, b = 1.0, 0.0
    for _ in range(5000):
        wrong = 1 / (1 + np.exp(-(a * logits + b))) - y
        b -= 1.0 * float(wrong.mean())
        a = max(0.05, a - 0.3 * float((wrong * logits).mean()))
    return float(a), float(b)


def result(
    source: str, unit: str, groups: Sequence[Group], scale: Scale, top_k: int, abstained: int
) -> dict[str, Any]:
    """One row of the card's table, and its curves. Those of which it would not judge are
    `abstained`, and are in the figures.
    """
    p = [probability(highest(g.logits, top_k), scale) for g in groups]
    figures: Figures = measure(
        [g.truth for g in groups], p, [g.patient for g in groups], scale.threshold
    )
    truths, given = np.array([g.truth for g in groups], np.float64), np.array(p, np.float64)
    return {
        "source": source,
        "unit": unit,
        "abstained": abstained,
        **{k: v for k, v in asdict(figures).items() if v is not None},
        "reliability": reliability(truths, given),
        "roc": roc(truths, given),
    }


def typical(images: Array) -> tuple[Typical, float]:
    """Mean, basis and scale of the training images' thumbnails, and the distance that 99.5 of 100
    stay within, with room.
    """
    small = thumbnails(images)
    mean = small.mean(0)
    basis = np.linalg.svd(small - mean, full_matrices=False)[2][:_BASIS].astype(np.float32)
    rest = small - mean
    rest = rest - (rest @ basis.T) @ basis
    far = np.sqrt((rest**2).mean(1))
    scale = float(np.median(far))
    return Typical(mean, basis, scale), float(np.quantile(far / scale, 0.995) * 1.3)


def constancy(network: nn.Module, spec: InputSpec) -> list[dict[str, Any]]:
    """Reference phantoms and their raw scores. The tolerance holds for other processors and bf16,
    not for other weights.
    """
    found = []
    for seed in _REFERENCES:
        frames, _ = reference_series(np.random.default_rng(seed), spec.kind)
        found.append(
            {
                "seed": seed,
                "expected": round(float(scores(network, prepare(frames, spec)).mean()), 4),
                "tolerance": 0.25,
            }
        )
    return found


def as_stored(network: nn.Module) -> nn.Module:
    """The network with its kernels rounded to half precision, as they are stored: what is measured
    is what is shipped.
    """
    for weights in network.parameters():
        if weights.ndim > 1:
            weights.data = weights.data.half().float()
    return network


def write(folder: Path, manifest: Mapping[str, Any], network: nn.Module, typical: Typical) -> None:
    """Writes ``model.toml`` and the weights; `manifest` lacks only ``files``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"network.{k}": (v.half() if v.ndim > 1 else v).contiguous()
        for k, v in network.state_dict().items()
    }
    for name, part in (
        ("mean", typical.mean),
        ("basis", typical.basis),
        ("scale", np.array([typical.scale])),
    ):
        tensors[f"typical.{name}"] = torch.from_numpy(np.ascontiguousarray(part, np.float32))
    content = save(tensors)
    (folder / WEIGHTS).write_bytes(content)
    full = {**manifest, "files": {WEIGHTS: hashlib.sha256(content).hexdigest()}}
    (folder / MANIFEST).write_text(_toml(full))


def _toml(document: Mapping[str, Any]) -> str:
    plain = [f"{key} = {_value(value)}" for key, value in document.items() if not _is_table(value)]
    lines = [*plain]
    for key, value in document.items():
        if isinstance(value, Mapping):
            lines += [
                "",
                f"[{key}]",
                *(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None),
            ]
        elif _is_table(value):
            for item in value:
                lines += [
                    "",
                    f"[[{key}]]",
                    *(f"{k} = {_value(v)}" for k, v in item.items() if v is not None),
                ]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    )


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else json.dumps(name)


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    return json.dumps(
        value if not isinstance(value, float) else round(value, 6), ensure_ascii=False
    )
