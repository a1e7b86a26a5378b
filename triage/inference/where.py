"""Where a network saw what it flagged: the map that it has before it pools."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray

from triage.packages.load import Package

Array = NDArray[np.float32]


class Where:
    """The map of one image at a time, on the CPU; nothing of a network from elsewhere.

    The network is loaded a second time, when it is first asked: the one that serves is compiled,
    or captured, and gives its logits alone.
    """

    def __init__(self, package: Package) -> None:
        self._package = package
        self._lock = threading.Lock()
        self._network: torch.nn.Module | None = None

    def __call__(self, image: Array, output: int) -> Array | None:
        """The logits of the map behind `output`, [(planes,) h, w], of an image of `input.shape`;
        None where the network has no map.
        """
        if self._package.manifest.runner.kind != "builtin":
            return None
        with self._lock:
            self._network = self._network or self._package.load_network()
        if not hasattr(self._network, "mapped"):
            return None
        with torch.inference_mode():
            _, where = self._network.mapped(torch.from_numpy(image[np.newaxis].copy()))  # type: ignore[operator]
        # Of one output ours gives [n, h, w], one of several [n, outputs, …].
        found: Array = where.float().numpy()
        mine: Array = found[0, output] if found.ndim > image.ndim else found[0]
        return mine
