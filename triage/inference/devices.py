"""What a network runs on, and how it runs there as it is: eager, channels last."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from streams.errors import Misconfigured


def pick_device(wanted: str) -> torch.device:
    """`wanted`: cpu, cuda, cuda:N, or auto: CUDA where there is one.

    Raises Misconfigured for a CUDA device that is not here.
    """
    count = torch.cuda.device_count()
    if wanted == "auto":
        wanted = "cuda" if count else "cpu"
    if wanted == "cpu":
        return torch.device(wanted)
    index = int(wanted.partition(":")[2] or 0)
    if index >= count:
        raise Misconfigured(f"VIGIE_DEVICE is {wanted}, but CUDA devices here: {count}")
    return torch.device("cuda", index)


def fastest_precision(device: torch.device) -> torch.dtype:
    """bfloat16 or float16 where the hardware computes in it; elsewhere float32 is faster.

    CUDA emulates bfloat16 before compute capability 8.0 (T4, V100), and has tensor cores for
    float16 from 7.0 on (CUDA C++ Programming Guide, compute capabilities).
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return torch.bfloat16
            return torch.float16 if torch.cuda.get_device_capability() >= (7, 0) else torch.float32
    avx512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.bfloat16 if avx512 and "avx512_bf16" in cpu_flags() else torch.float32


def name_of(precision: torch.dtype) -> str:
    """As bfloat16."""
    return str(precision).removeprefix("torch.")


@cache
def cpu_flags() -> frozenset[str]:
    """What this processor's cores can do, in the kernel's words; empty where it does not say."""
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def to_device(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """`network` on `device`, channels last, in eval mode."""
    return network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class Autocast(torch.nn.Module):
    """A network with its precision inside: float32 [n, c, h, w] to float32 [n], or [n, columns]."""

    def __init__(
        self, network: torch.nn.Module, device: torch.device, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.network, self.kind = network, device.type
        self.precision, self.lower = precision, precision != torch.float32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the network gives; of one column, [n]."""
        # Cached casts of weights would be allocated in one CUDA graph and freed in the next.
        with torch.autocast(
            self.kind,
            dtype=self.precision if self.lower else torch.bfloat16,
            enabled=self.lower,
            cache_enabled=self.kind == "cpu",
        ):
            made: torch.Tensor = self.network(images)
        made = made.float()
        return made.squeeze(1) if made.ndim == 2 and made.shape[1] == 1 else made


class EagerNetwork:
    """A network run operator by operator: float32 [n, c, h, w] to float32 [n], or [n, columns]."""

    def __init__(
        self,
        network: torch.nn.Module,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self._network = Autocast(to_device(network, device), device, precision)
        self._device = device

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it gives. Raises torch.OutOfMemoryError."""
        images = (
            torch.from_numpy(np.ascontiguousarray(batch))
            .to(self._device)
            .contiguous(memory_format=torch.channels_last)
        )
        logits: NDArray[np.float32] = self._network(images).cpu().numpy()
        return logits
