"""Trains a network on examples, in bf16: on a GPU, or on a CPU in hours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from triage.train.examples import NORMAL, PAINTED, REAL, Examples

Array = NDArray[np.float32]
_SMOOTH = 0.04  # of a label: nobody is sure of every slice


@dataclass(frozen=True)
class Course:
    """How a network is trained.

    Attributes:
        steps: batches.
        batch: images of each.
        shares: of each batch with a patient's finding, and with one that we painted.
        place_weight: of the loss of where a finding is, beside 1 for whether there is one; 0 of a
            network that does not tell.
        rate: the highest learning rate.
        decay: of the mean over the steps' weights, which is what is kept.
    """

    steps: int
    batch: int
    shares: tuple[float, float]
    place_weight: float
    rate: float = 3e-3
    weight_decay: float = 3e-2
    decay: float = 0.995


Network = TypeVar("Network", bound=nn.Module)


def fit(
    network: Network,
    examples: Examples,
    among: NDArray[np.intp],
    course: Course,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    taught: Array | None = None,
) -> Network:
    """The network, trained on those `among` the `examples`, in eval mode, on the CPU.

    Args:
        taught: a teacher's logits [n] of the examples: half of what is learned of each.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = network.to(device).to(memory_format=torch.channels_last)
    groups = [among[examples.shown[among] == kind] for kind in (REAL, PAINTED, NORMAL)]
    counts = [round(course.batch * share) for share in course.shares]
    counts.append(course.batch - sum(counts))
    mean_of = get_ema_multi_avg_fn(course.decay)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(network, multi_avg_fn=mean_of, use_buffers=True)
    optimiser = torch.optim.AdamW(
        network.parameters(), course.rate, weight_decay=course.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, course.rate, total_steps=course.steps, pct_start=0.15
    )
    began, mean = time.monotonic(), 0.0
    for step in range(course.steps):
        chosen = np.concatenate(
            [rng.choice(group, count) for group, count in zip(groups, counts, strict=True)]
        )
        soft = None if taught is None else torch.from_numpy(taught[chosen]).to(device)
        loss = _loss(network, examples[chosen], soft, course.place_weight, device)
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
    return cast(Network, averaged.module).cpu().eval()


class _Mapped(Protocol):
    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]: ...


def _loss(
    network: nn.Module,
    examples: Examples,
    taught: Tensor | None,
    place_weight: float,
    device: torch.device,
) -> Tensor:
    """Whether there is a finding, and where it is if that is known."""
    truth = torch.from_numpy((examples.shown != NORMAL).astype(np.float32)).to(device)
    images, masks = _jitter(
        torch.from_numpy(examples.images).to(device).float(),
        torch.from_numpy(examples.masks).to(device).float() / 255,
    )
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        if place_weight == 0.0:
            logits = network(images)
        else:
            logits, where = cast(_Mapped, network).mapped(images)
    logits = logits.float()
    whether = functional.binary_cross_entropy_with_logits(
        logits, truth * (1 - 2 * _SMOOTH) + _SMOOTH
    )
    if taught is not None:
        said = functional.binary_cross_entropy_with_logits(logits, torch.sigmoid(taught))
        whether = (whether + said) / 2
    if place_weight == 0.0:
        return whether
    known = torch.from_numpy(examples.shown != REAL).to(device)
    rows, cols = where.shape[1:]
    target = functional.adaptive_avg_pool2d(masks[:, None], (rows, cols))[:, 0]
    target = (target * 1.5).clamp(0, 1)
    place = functional.binary_cross_entropy_with_logits(
        where[known].float(), target[known], pos_weight=torch.tensor(4.0, device=device)
    )
    return whether + place_weight * place


def _jitter(batch: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Cheap variety beyond the examples': mirror, shift, gain, a hidden patch."""
    count, _, height, width = batch.shape
    device = batch.device
    mirror = (torch.rand(count, device=device) < 0.5)[:, None, None, None]
    batch = torch.where(mirror, batch.flip(3), batch)
    masks = torch.where(mirror[:, 0], masks.flip(2), masks)
    down, right = int(torch.randint(-3, 4, ())), int(torch.randint(-3, 4, ()))
    batch, masks = batch.roll((2 * down, 2 * right), (2, 3)), masks.roll((down, right), (1, 2))
    gain, lift = (torch.randn(count, 1, 1, 1, device=device) for _ in range(2))
    batch = batch * (1 + 0.15 * gain) + 0.08 * lift
    if float(torch.rand(())) < 0.5:
        side = height // 5
        top, left = (
            int(torch.randint(0, height - side, ())),
            int(torch.randint(0, width - side, ())),
        )
        hidden = (torch.rand(count, device=device) < 0.3)[:, None, None, None]
        patch = batch.clone()
        patch[:, :, top : top + side, left : left + side] = 0.0
        batch = torch.where(hidden, patch, batch)
    return batch, masks


_CPU = torch.device("cpu")


def scores(network: nn.Module, images: NDArray[np.floating], device: torch.device = _CPU) -> Array:
    """Logits [n] of prepared images [n, c, h, w]; fp32."""
    network, found = network.to(device), []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(images[start : start + 64]).to(device).float()
            given = network(batch.contiguous(memory_format=torch.channels_last))
            found.append(given.float().cpu().numpy())
    network.cpu()
    return np.concatenate(found)
