"""What a device allows: operations of a bare matrix product, bytes of a bare copy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from triage.inference.queue import Scores

_COPIED = 1 << 29  # bytes
_PRODUCTS = 4


def operations(network: Scores, image: NDArray[np.float32]) -> int:
    """Floating-point operations of convolutions and products for one image.

    A multiplication with its addition counts as two.
    """
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


@torch.inference_mode()
def product(device: torch.device, precision: torch.dtype) -> float:
    """Floating-point operations a second of a bare matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = torch.randn(2, side, side, device=device, dtype=precision)
    started = _now(device)
    for _ in range(_PRODUCTS):
        left = left @ right
        left *= 1 / side  # stays finite
    return _PRODUCTS * 2 * side**3 / (_now(device) - started)


def copied(device: torch.device) -> float:
    """Bytes a second of a bare copy on `device`, read and written ones together."""
    given = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
    made = torch.empty_like(given)
    made.copy_(given)
    started = _now(device)
    for _ in range(_PRODUCTS):
        made.copy_(given)
    return _PRODUCTS * 2 * _COPIED / (_now(device) - started)


class MovedBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that the operators of a network read and write, as if nothing were cached.

    Views move nothing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs `func`, and counts."""
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            touched = [*tree_leaves((args, kwargs)), *tree_leaves(made)]
            self.total += sum(one.nbytes for one in touched if isinstance(one, torch.Tensor))
        return made


def moved(network: Scores, images: NDArray[np.float32]) -> float:
    """Bytes that the operators of an eager `network` read and write for each of `images`."""
    with MovedBytes() as counter:
        network(images)
    return float(counter.total / len(images))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
