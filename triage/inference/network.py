"""One package's network, loaded and warm: a batch of prepared images in, one score each out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from triage import metrics
from triage.inference.batch import BUCKETS
from triage.inference.cpu import NotCompiled, load_compiled
from triage.inference.cuda import GraphedNetwork
from triage.inference.devices import EagerNetwork, has_bf16, pick_device


class Loadable(Protocol):
    """What of a package is needed to run it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> str:
        """Its version."""

    def load_network(self) -> torch.nn.Module:
        """The network: float32 [n, c, h, w] to logits [n]."""


class Screener:
    """A network on its device, warm, in bfloat16 where the hardware has it.

    On CUDA it runs as graphs, on a CPU compiled. Nothing is compiled here or later: where
    `vigie models compile` has not been, a CPU runs it eagerly, and `mode` says so.

    Args:
        package: where the network comes from.
        shape: (channels, height, width) of a prepared image.
        device: as `pick_device`.
        compiled: folder of compiled networks; None: eager.

    Attributes:
        mode: how it runs, for the log and the metrics.
        concurrent_batches: batches that are worth having under way.
    """

    def __init__(
        self,
        package: Loadable,
        shape: tuple[int, int, int],
        *,
        device: str = "auto",
        compiled: Path | None = None,
    ) -> None:
        chosen = pick_device(device)
        self.shape = shape
        self.concurrent_batches = GraphedNetwork.SLOTS if chosen.type == "cuda" else 1
        self._package = package.name
        bf16 = has_bf16(chosen)
        self._run, how = make_runner(package, shape, chosen, compiled, bf16=bf16)
        self.mode = f"{chosen.type}, {'bfloat16' if bf16 else 'float32'}, {how}"
        for count in (1, BUCKETS[-1]):
            self.scores(np.zeros((count, *shape), dtype=np.float32))
        metrics.model_info.labels(package.name, package.version, self.mode).set(1)

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits [n] of `batch` [n, channels, height, width]; not finite where the network
        failed.

        When memory runs out, the batch goes in halves. Raises ValueError for another shape.
        """
        if batch.shape[1:] != self.shape:
            raise ValueError(f"images are {batch.shape[1:]}, the network takes {self.shape}")
        begun = time.monotonic()
        out = np.concatenate(
            [
                self._halving(batch[at : at + BUCKETS[-1]])
                for at in range(0, len(batch), BUCKETS[-1])
            ]
        )
        metrics.forward_seconds.labels(self._package).observe(time.monotonic() - begun)
        return out

    def _halving(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return self._run(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                return np.full(1, np.nan, dtype=np.float32)
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return np.concatenate([self._halving(batch[:half]), self._halving(batch[half:])])


def make_runner(
    package: Loadable,
    shape: tuple[int, int, int],
    device: torch.device,
    compiled: Path | None,
    *,
    bf16: bool,
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], str]:
    """What runs the network, and the words for how."""
    network = package.load_network()
    if device.type == "cuda":
        return GraphedNetwork(network, shape, device, BUCKETS, bf16=bf16), "graphs"
    why = ""
    if compiled is not None:
        try:
            return load_compiled(compiled, package.name, network, shape), "compiled"
        except NotCompiled as error:
            why = f" ({error})"
    return EagerNetwork(network, device, bf16=bf16), f"eager{why}"
