"""What a network runs on, and how it runs there as it is: eager, channels last."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray


def pick_device(wanted: str) -> torch.device:
    """`wanted`: cpu, cuda, or auto: CUDA where there is one."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return (
        bool(torch.backends.cpu.get_cpu_capability().startswith("AVX512"))
        and "avx512_bf16" in cpu_flags()
    )


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
    """A network with its precision inside: float32 [n, c, h, w] to float32 logits [n]."""

    def __init__(self, network: torch.nn.Module, device: torch.device, *, bf16: bool) -> None:
        super().__init__()
        self.network, self.kind, self.bf16 = network, device.type, bf16

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The logits [n]."""
        # Cached casts of weights would be allocated in one CUDA graph and freed in the next.
        with torch.autocast(
            self.kind, dtype=torch.bfloat16, enabled=self.bf16, cache_enabled=self.kind == "cpu"
        ):
            logits: torch.Tensor = self.network(images)
        return logits.float().reshape(-1)


class EagerNetwork:
    """A network run operator by operator: float32 [n, c, h, w] to float32 [n]."""

    def __init__(self, network: torch.nn.Module, device: torch.device, *, bf16: bool) -> None:
        self._network, self._device = (
            Autocast(to_device(network, device), device, bf16=bf16),
            device,
        )

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits. Raises torch.OutOfMemoryError."""
        images = (
            torch.from_numpy(np.ascontiguousarray(batch))
            .to(self._device)
            .contiguous(memory_format=torch.channels_last)
        )
        logits: NDArray[np.float32] = self._network(images).cpu().numpy()
        return logits
