"""Each package's network as it is served, beside eager float32 and beside the processor's limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from triage.bench.limits import operations, product
from triage.bench.pair import Pair
from triage.inference.batch import BUCKETS
from triage.inference.devices import EagerNetwork, fastest_precision, pick_device
from triage.inference.drift import logits_of, phantom_images
from triage.inference.network import Screener
from triage.inference.queue import Scores
from triage.packages.load import Package, find_packages, load_package
from triage.settings import TriageSettings


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
    device = pick_device(settings.device)
    exact = EagerNetwork(package.load_network(), device)
    seen = phantom_images(package)
    drift = float(np.abs(logits_of(served.scores(seen)) - logits_of(exact(seen))).max())
    batch = seen[np.arange(BUCKETS[-1]) % len(seen)]

    def rate(network: Scores) -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            network(batch)
        return rounds * len(batch) / (time.perf_counter() - started)

    work = operations(exact, seen[:1])
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
            lambda: product(device, fastest_precision(device)) / 1e9,
        ),
    ]
