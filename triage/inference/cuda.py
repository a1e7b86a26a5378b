"""A network on a CUDA device: one captured graph for each bucket, in two slots.

So one batch is copied while another runs.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from triage.inference.devices import Autocast, to_device


class Slot:
    """Fixed memory for one batch, pinned on our side, and the graphs that read and write it.

    They run on a stream of their own.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        shape: tuple[int, int, int],
        buckets: Sequence[int],
        device: torch.device,
    ) -> None:
        self.given = torch.empty((buckets[-1], *shape), pin_memory=True)
        self.made = torch.empty(buckets[-1], pin_memory=True)
        self._images = torch.empty((buckets[-1], *shape), device=device)
        self._stream, self._network = torch.cuda.Stream(device), network  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # Of a slot's graphs one runs at a time: they share their memory.
        self._pool = torch.cuda.graph_pool_handle()
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        for bucket in buckets:
            try:
                self.graphs[bucket] = self._capture(bucket)
            except torch.OutOfMemoryError:  # smaller batches will do, if there are any
                torch.cuda.empty_cache()
                break
        if not self.graphs:
            raise torch.OutOfMemoryError("not even one image fits on the device")

    @torch.inference_mode()
    def _capture(self, bucket: int) -> torch.cuda.CUDAGraph:
        """Copy in, forward, copy out: all of it is replayed by one launch."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # Before the capture libraries choose their kernels and take their workspaces.
            for _ in range(3):
                self._pass(bucket)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            self._pass(bucket)
        return graph

    def _pass(self, bucket: int) -> None:
        images = self._images[:bucket]
        images.copy_(self.given[:bucket], non_blocking=True)
        self.made[:bucket].copy_(
            self._network(images.contiguous(memory_format=torch.channels_last)), non_blocking=True
        )

    def run(self, bucket: int) -> None:
        """From `given` to `made`, finished when it returns; other threads go on meanwhile."""
        with torch.cuda.stream(self._stream):
            self.graphs[bucket].replay()
            self._done.record()
        self._done.synchronize()


class GraphedNetwork:
    """The network as graphs: float32 [n, c, h, w] to float32 [n].

    Two threads may call at once; each takes a slot.
    """

    SLOTS = 2

    def __init__(
        self,
        network: torch.nn.Module,
        shape: tuple[int, int, int],
        device: torch.device,
        buckets: Sequence[int],
        *,
        bf16: bool,
    ) -> None:
        whole = Autocast(to_device(network, device), device, bf16=bf16)
        slots = [Slot(whole, shape, buckets, device) for _ in range(self.SLOTS)]
        self._buckets = sorted(set.intersection(*(set(slot.graphs) for slot in slots)))
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits; a batch larger than the largest graph goes in parts."""
        largest = self._buckets[-1]
        return np.concatenate(
            [self._part(batch[at : at + largest]) for at in range(0, len(batch), largest)]
        )

    def _part(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        bucket = next(bucket for bucket in self._buckets if len(batch) <= bucket)
        slot = self._free.get()
        try:
            # What pads it is left of an earlier batch, and its scores are not read.
            slot.given.numpy()[: len(batch)] = batch
            slot.run(bucket)
            return slot.made.numpy()[: len(batch)].copy()
        finally:
            self._free.put(slot)
