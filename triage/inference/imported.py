"""A builtin network of several outputs, or of volumes, run operator by operator in float32."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from triage import metrics
from triage.inference.cuda import Watched, probe
from triage.inference.devices import pick_device
from triage.inference.queue import Scores
from triage.packages.load import Package

Array = NDArray[np.float32]


class ImportedNetwork:
    """The network on its device: neither compiled nor captured, which our own networks are.

    Attributes:
        mode: how it runs, for the log and the metrics.
    """

    concurrent_batches = 1

    def __init__(self, package: Package, *, device: str = "auto") -> None:
        self._device = pick_device(device)
        self.shape, self._package = package.input.shape, package.name
        self._outputs = len(package.manifest.outputs)
        self._network = package.load_network().to(self._device)
        self._run: Scores = self._forward
        if self._device.type == "cuda":
            self._run = Watched(self._forward, partial(probe, self._device))
        self.mode = f"{self._device.type}, float32, eager"
        self.scores(np.zeros((1, *self.shape), np.float32))
        metrics.model_info.labels(package.name, package.version, self.mode).set(1)

    def scores(self, images: Array) -> Array:
        """The logits of the outputs, [n, outputs], or [n] of one; not finite where it failed.

        When memory runs out, the images go in halves. Raises ValueError for another shape.
        """
        if images.shape[1:] != self.shape:
            raise ValueError(f"images are {images.shape[1:]}, the network takes {self.shape}")
        begun = time.monotonic()
        out = self._halving(images)
        metrics.forward_seconds.labels(self._package).observe(time.monotonic() - begun)
        return out

    def _halving(self, images: Array) -> Array:
        try:
            return self._run(images)
        except torch.OutOfMemoryError:
            if len(images) == 1:
                shape = (1,) if self._outputs == 1 else (1, self._outputs)
                return np.full(shape, np.nan, np.float32)
        torch.cuda.empty_cache()
        half = len(images) // 2
        return np.concatenate([self._halving(images[:half]), self._halving(images[half:])])

    @torch.inference_mode()
    def _forward(self, images: Array) -> Array:
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
        made: Array = self._network(given).float().cpu().numpy()
        return made
