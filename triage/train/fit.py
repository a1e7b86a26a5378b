"""Trains a network on a pool of looks, on CPU in bf16 where it has it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from triage.networks import build
from triage.train.pool import MADE, NORMAL, REAL

Array = NDArray[np.float32]


def fit(
    architecture: str, images: NDArray[np.float16], shown: Array, *, epochs: int, real: float, made: float, seed: int,
    say: Callable[[str], None],
) -> nn.Module:
    """A trained network, in eval mode.

    Args:
        images: [n, c, h, w]; shown: [n], as `pool.looks` says.
        real, made: shares of each batch with a patient's finding, and with one that we made.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = build(architecture, images.shape[1]).to(memory_format=torch.channels_last)
    size = 64
    groups = [np.flatnonzero(shown == kind) for kind in (REAL, MADE, NORMAL)]
    counts = [round(size * real), round(size * made)]
    counts.append(size - sum(counts))
    truths = (shown != NORMAL).astype(np.float32)
    steps = epochs * len(shown) // size
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.15)
    began, mean = time.monotonic(), 0.0
    for step in range(steps):
        chosen = np.concatenate([rng.choice(group, count) for group, count in zip(groups, counts, strict=True)])
        batch = _jitter(torch.from_numpy(images[chosen].astype(np.float32))).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch)
        loss = F.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(truths[chosen]) * 0.92 + 0.04)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(network)
        mean += (float(loss.detach()) - mean) / min(step + 1, 100)
        if (step + 1) % 100 == 0:
            say(f"step {step + 1} of {steps}, loss {mean:.3f}, {time.monotonic() - began:.0f} s")
    found: nn.Module = averaged.module
    return found.eval()


def _jitter(batch: Tensor) -> Tensor:
    """Cheap variety beyond the pool's: mirror, shift, gain, a hidden patch."""
    n, _, height, width = batch.shape
    mirror = (torch.rand(n) < 0.5)[:, None, None, None]
    batch = torch.where(mirror, batch.flip(3), batch)
    batch = batch.roll((int(torch.randint(-6, 7, ())), int(torch.randint(-6, 7, ()))), (2, 3))
    batch = batch * (1 + 0.15 * torch.randn(n, 1, 1, 1)) + 0.08 * torch.randn(n, 1, 1, 1)
    if float(torch.rand(())) < 0.5:
        top, left = int(torch.randint(0, height - 24, ())), int(torch.randint(0, width - 24, ()))
        hidden = (torch.rand(n) < 0.3)[:, None, None, None]
        patch = batch.clone()
        patch[:, :, top : top + 24, left : left + 24] = 0.0
        batch = torch.where(hidden, patch, batch)
    return batch


def scores(network: nn.Module, images: Array) -> Array:
    """Logits [n] of prepared images [n, c, h, w], fp32."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(images[start : start + 64].astype(np.float32)).to(memory_format=torch.channels_last)
            found.append(network(batch).float().numpy())
    return np.concatenate(found)
