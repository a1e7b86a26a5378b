"""One package's network, resident and warm: a batch of prepared images in, one score each out."""

from __future__ import annotations

import threading
import time
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from triage import metrics
from triage.batching import BUCKETS, bucket_for


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


def pick_device(wanted: str) -> torch.device:
    """`wanted`: cpu, cuda, or auto: CUDA where there is one."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.backends.cpu.get_cpu_capability().startswith("AVX512")) and _cpu_flag("avx512_bf16")


def _cpu_flag(flag: str) -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return any(line.startswith("flags") and f" {flag} " in f"{line.rstrip()} " for line in file)
    except OSError:
        return False


class Screener:
    """A network on its device, channels last, in bfloat16 autocast where the hardware has it; loaded and warm.

    Batches go through one at a time: a lock keeps two threads apart.

    Args:
        package: where the network comes from.
        shape: (channels, height, width) of a prepared image.
        device: as `pick_device`.
        compiled: `torch.compile` with one graph for each bucket, all made here, none while serving.
    """

    def __init__(self, package: Loadable, shape: tuple[int, int, int], *, device: str = "auto", compiled: bool = False) -> None:
        self.device = pick_device(device)
        self.shape = shape
        self._package = package.name
        self._bf16 = has_bf16(self.device)
        self._lock = threading.Lock()
        # A graph per bucket wants exactly these sizes; eager on a CPU would only compute the padding.
        self._padded = compiled or self.device.type == "cuda"
        network = package.load_network().eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = torch.compile(network, dynamic=False) if compiled else network
        self.mode = f"{self.device.type}, {'bfloat16' if self._bf16 else 'float32'}, {'compiled' if compiled else 'eager'}"
        for bucket in BUCKETS if self._padded else BUCKETS[:1]:
            self.scores(np.zeros((bucket, *shape), dtype=np.float32))
        metrics.model_info.labels(package.name, package.version, self.mode).set(1)

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits [n] of `batch` [n, channels, height, width]; not finite where the network failed.

        When CUDA memory runs out, the batch goes in halves. Raises ValueError for another shape.
        """
        if batch.shape[1:] != self.shape:
            raise ValueError(f"images are {batch.shape[1:]}, the network takes {self.shape}")
        with self._lock:
            begun = time.monotonic()
            out = np.concatenate([self._halving(batch[at : at + BUCKETS[-1]]) for at in range(0, len(batch), BUCKETS[-1])])
            metrics.forward_seconds.labels(self._package).observe(time.monotonic() - begun)
        return out

    def _halving(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return self._forward(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                return np.full(1, np.nan, dtype=np.float32)
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return np.concatenate([self._halving(batch[:half]), self._halving(batch[half:])])

    @torch.inference_mode()
    def _forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(batch)
        if self._padded and (short := bucket_for(count) - count):
            batch = np.concatenate([batch, np.zeros((short, *self.shape), dtype=np.float32)])
        images = torch.from_numpy(np.ascontiguousarray(batch))
        if self.device.type == "cuda":
            images = images.pin_memory().to(self.device, non_blocking=True)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            logits = self._network(images)
        flat: NDArray[np.float32] = logits.float().reshape(-1)[:count].cpu().numpy()
        return flat
