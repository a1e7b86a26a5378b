"""Each package's network as it is served, beside eager float32 and beside the processor's limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from triage.bench.pair import Pair
from triage.inference.batch import BUCKETS
from triage.inference.compile import phantom_images
from triage.inference.devices import EagerNetwork, has_bf16, pick_device
from triage.inference.network import Screener
from triage.inference.queue import Scores
from triage.packages.load import Package, find_packages, load_package
from triage.settings import TriageSettings

_MATRIX_SIDE, _PRODUCTS = 2048, 4


@contextmanager
def model(*, quick: bool) -> Iterator[list[Pair]]:
    """Two pairs for each package of the site.

    Beside itself in eager float32 (how far apart they are is said), and beside a bare matrix
    product in the same precision: the processor's limit. Raises LookupError when there is no
    package.
    """
    settings = TriageSettings()
    torch.set_num_threads(settings.torch_threads)
    packages = [load_package(folder) for folder in find_packages(settings.models)]
    if not packages:
        raise LookupError(
            f"no model package is in {settings.models}: VIGIE_MODELS names another folder"
        )
    yield [pair for package in packages for pair in _model(package, settings, 1 if quick else 2)]


def _model(package: Package, settings: TriageSettings, rounds: int) -> list[Pair]:
    served = Screener(
        package, package.input.shape, device=settings.device, compiled=settings.compiled
    )
    exact = EagerNetwork(package.load_network(), pick_device(settings.device), bf16=False)
    seen = phantom_images(package)
    drift = float(np.abs(served.scores(seen) - exact(seen)).max())
    batch = seen[np.arange(BUCKETS[-1]) % len(seen)]

    def rate(network: Scores) -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            network(batch)
        return rounds * len(batch) / (time.perf_counter() - started)

    work = _operations(exact, seen[:1])
    what = f"{package.name}: served ({served.mode}) beside"
    return [
        Pair(
            f"{what} eager float32, batches of {len(batch)}; logits within {drift:.2g}",
            "images/s",
            lambda: rate(served.scores),
            lambda: rate(exact),
        ),
        Pair(
            f"{what} a bare matrix product of that precision, {work / 1e9:.3g} GFLOP each image",
            "GFLOP/s",
            lambda: rate(served.scores) * work / 1e9,
            lambda: _product(pick_device(settings.device)) / 1e9,
        ),
    ]


def _operations(network: Scores, image: NDArray[np.float32]) -> int:
    """Floating-point operations of convolutions and products for one image.

    A multiplication with its addition counts as two.
    """
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


@torch.inference_mode()
def _product(device: torch.device) -> float:
    """Floating-point operations a second."""
    precision = torch.bfloat16 if has_bf16(device) else torch.float32
    sides = (_MATRIX_SIDE, _MATRIX_SIDE)
    left, right = torch.randn(2, *sides, device=device, dtype=precision)
    started = time.perf_counter()
    for _ in range(_PRODUCTS):
        left = left @ right
        left *= 1 / _MATRIX_SIDE  # stays finite
    if device.type == "cuda":
        torch.cuda.synchronize()
    return _PRODUCTS * 2 * _MATRIX_SIDE**3 / (time.perf_counter() - started)
