"""Trains a network on examples, on CPU in bf16 where it has it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from triage.packages.architectures import Pyramid
from triage.train.examples import NORMAL, PAINTED, REAL, Examples

Array = NDArray[np.float32]
_BATCH = 64
_SMOOTH = 0.04  # of a label: nobody is sure of every slice


@dataclass(frozen=True)
class Course:
    """How a network is trained.

    Attributes:
        steps: batches of 64.
        shares: of each batch with a patient's finding, and with one that we painted.
        place_weight: of the loss of where a finding is, beside 1 for whether there is one.
    """

    steps: int
    shares: tuple[float, float]
    place_weight: float


def fit(
    network: Pyramid,
    examples: Examples,
    among: NDArray[np.intp],
    course: Course,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Pyramid:
    """The network, trained on those `among` the `examples`, in eval mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = network.to(memory_format=torch.channels_last)
    groups = [among[examples.shown[among] == kind] for kind in (REAL, PAINTED, NORMAL)]
    counts = [round(_BATCH * share) for share in course.shares]
    counts.append(_BATCH - sum(counts))
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=course.steps, pct_start=0.15
    )
    began, mean = time.monotonic(), 0.0
    for step in range(course.steps):
        chosen = np.concatenate(
            [rng.choice(group, count) for group, count in zip(groups, counts, strict=True)]
        )
        loss = _loss(network, examples[chosen], course.place_weight)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(network)
        mean += (float(loss.detach()) - mean) / min(step + 1, 100)
        if (step + 1) % 200 == 0:
            took = time.monotonic() - began
            say(f"step {step + 1} of {course.steps}, loss {mean:.3f}, {took:.0f} s")
    return cast(Pyramid, averaged.module).eval()


def _loss(network: Pyramid, examples: Examples, place_weight: float) -> Tensor:
    """Whether there is a finding, and where it is if that is known."""
    truth = torch.from_numpy((examples.shown != NORMAL).astype(np.float32))
    images, masks = _jitter(
        torch.from_numpy(examples.images.astype(np.float32)),
        torch.from_numpy(examples.masks.astype(np.float32) / 255),
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits, where = network.mapped(images.to(memory_format=torch.channels_last))
    whether = functional.binary_cross_entropy_with_logits(
        logits.float(), truth * (1 - 2 * _SMOOTH) + _SMOOTH
    )
    known = torch.from_numpy(examples.shown != REAL)
    rows, cols = where.shape[1:]
    target = functional.adaptive_avg_pool2d(masks[:, None], (rows, cols))[:, 0]
    target = (target * 1.5).clamp(0, 1)
    place = functional.binary_cross_entropy_with_logits(
        where[known].float(), target[known], pos_weight=torch.tensor(4.0)
    )
    return whether + place_weight * place


def _jitter(batch: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Cheap variety beyond the examples': mirror, shift, gain, a hidden patch."""
    count, _, height, width = batch.shape
    mirror = (torch.rand(count) < 0.5)[:, None, None, None]
    batch = torch.where(mirror, batch.flip(3), batch)
    masks = torch.where(mirror[:, 0], masks.flip(2), masks)
    down, right = int(torch.randint(-3, 4, ())), int(torch.randint(-3, 4, ()))
    batch, masks = batch.roll((2 * down, 2 * right), (2, 3)), masks.roll((down, right), (1, 2))
    batch = batch * (1 + 0.15 * torch.randn(count, 1, 1, 1)) + 0.08 * torch.randn(count, 1, 1, 1)
    if float(torch.rand(())) < 0.5:
        side = height // 5
        top, left = (
            int(torch.randint(0, height - side, ())),
            int(torch.randint(0, width - side, ())),
        )
        hidden = (torch.rand(count) < 0.3)[:, None, None, None]
        patch = batch.clone()
        patch[:, :, top : top + side, left : left + side] = 0.0
        batch = torch.where(hidden, patch, batch)
    return batch, masks


def scores(network: nn.Module, images: Array) -> Array:
    """Logits [n] of prepared images [n, c, h, w], fp32."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(images[start : start + 64].astype(np.float32)).to(
                memory_format=torch.channels_last
            )
            found.append(network(batch).float().numpy())
    return np.concatenate(found)
