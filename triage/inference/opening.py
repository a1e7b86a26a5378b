"""A package's network, opened the way its manifest asks for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from triage.inference.drift import phantom_images
from triage.inference.imported import ImportedNetwork
from triage.inference.network import Screener
from triage.packages.load import Package
from triage.runners.outside import OutsideNetwork
from triage.sandbox import RunnerLimits


class Opened(Protocol):
    """A network that is loaded and warm."""

    @property
    def mode(self) -> str:
        """How it runs."""

    @property
    def concurrent_batches(self) -> int:
        """Batches that are worth having under way."""

    def scores(self, batch: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Logits [n, outputs], or [n] of one output; not finite where the network failed."""


def open_network(
    package: Package,
    *,
    device: str = "auto",
    compiled: Path | None = None,
    limits: RunnerLimits | None = None,
) -> Opened:
    """The package's network, loaded and warm.

    Args:
        device: as `pick_device`; a network from elsewhere runs on the CPU.
        compiled: folder of compiled networks; None: eager.
        limits: of a network from elsewhere.

    Raises PackageError.
    """
    if package.manifest.runner.kind != "builtin":
        return OutsideNetwork(package, limits or RunnerLimits())
    if len(package.manifest.outputs) > 1 or len(package.input.shape) != 3:
        return ImportedNetwork(package, device=device)
    return Screener(
        package,
        package.input.shape,
        device=device,
        compiled=compiled,
        seen=partial(phantom_images, package),
    )
