"""A network on a CUDA device: one captured graph for each bucket, in two slots.

So one batch is copied while another runs.
"""

from __future__ import annotations

import copy
import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from streams.errors import Reason, Stop
from triage.inference.devices import Autocast, to_device

log = structlog.get_logger()
Made = TypeVar("Made")
_MOST_FAILURES = 3  # in a row, of a device that still answers


class Slot:
    """Fixed memory for one batch, pinned on our side, and the graphs that read and write it.

    They run on a stream of their own. Raises torch.OutOfMemoryError where not one image fits.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        shape: tuple[int, ...],
        buckets: Sequence[int],
        device: torch.device,
    ) -> None:
        self.given = torch.empty((buckets[-1], *shape), pin_memory=True)
        self._images = torch.empty((buckets[-1], *shape), device=device)
        columns = _columns(network, self._images[:1])
        self.made = torch.empty((buckets[-1], *columns), pin_memory=True)
        self._stream, self._network = torch.cuda.Stream(device), network  # type: ignore[no-untyped-call]
        # Blocking: a thread that waits would else spin on a processor that decoding needs.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        # Of a slot's graphs one runs at a time: they share their memory.
        self._pool = torch.cuda.graph_pool_handle()
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        for bucket in buckets:
            try:
                self.graphs[bucket] = self._capture(bucket)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                torch.cuda.empty_cache()  # smaller batches will do, if there are any
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


@torch.inference_mode()
def _columns(network: torch.nn.Module, image: torch.Tensor) -> torch.Size:
    """What the network gives of one image: () or (columns,)."""
    made: torch.Tensor = network(image.contiguous(memory_format=torch.channels_last))
    return made.shape[1:]


def ran_out(error: BaseException | None) -> bool:
    """Whether memory ran out: to end a capture that it broke off raises an error of its own."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False


def folded(network: torch.nn.Module, precision: torch.dtype) -> torch.nn.Module:
    """A copy whose batch norms are inside the convolutions before them, weights in `precision`.

    Memory is the limit: each norm would read and write its whole map once more. A network that
    cannot be traced stays as it is.
    """
    try:
        made: torch.nn.Module = fuse(network.eval())
    except (TraceError, TypeError):
        made = copy.deepcopy(network)
    for module in made.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.to(precision)
    return made


def as_many_as_fit(make: Callable[[], Made], most: int) -> list[Made]:
    """At most `most`, at least one. Raises torch.OutOfMemoryError when not even that fits."""
    made = [make()]
    with suppress(torch.OutOfMemoryError):
        while len(made) < most:
            made.append(make())
    return made


class GraphedNetwork:
    """The network as graphs: float32 [n, c, h, w] to float32 [n], or [n, columns].

    Two threads may call at once; each takes a slot. `network` itself stays where it is. Raises
    torch.OutOfMemoryError where not one image fits on the device.

    Attributes:
        buckets: sizes of batch for which there is room.
        slots: batches that run at once; one where there is no room for two.
    """

    SLOTS = 2

    def __init__(
        self,
        network: torch.nn.Module,
        shape: tuple[int, ...],
        device: torch.device,
        buckets: Sequence[int],
        precision: torch.dtype,
    ) -> None:
        whole = Autocast(to_device(folded(network, precision), device), device, precision)
        with torch.cuda.device(device):
            slots = as_many_as_fit(lambda: Slot(whole, shape, buckets, device), self.SLOTS)
        self.buckets = sorted(set.intersection(*(set(slot.graphs) for slot in slots)))
        self.slots = len(slots)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it gives; a batch larger than the largest graph goes in parts."""
        largest = self.buckets[-1]
        return np.concatenate(
            [self._part(batch[at : at + largest]) for at in range(0, len(batch), largest)]
        )

    def _part(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        bucket = next(bucket for bucket in self.buckets if len(batch) <= bucket)
        slot = self._free.get()
        try:
            # What pads it is left of an earlier batch, and its scores are not read.
            slot.given.numpy()[: len(batch)] = batch
            slot.run(bucket)
            return slot.made.numpy()[: len(batch)].copy()
        finally:
            self._free.put(slot)


class Watched:
    """A network on a device that can be lost: after some errors CUDA answers nothing any more.

    A batch that failed is the caller's, as before. Once the device is lost, or batches go on to
    fail, `Stop` is raised: in this process no batch would ever succeed, in a new one it may.

    Args:
        run: the network; raises RuntimeError.
        probe: does a little on the device; raises RuntimeError where it is lost.
    """

    def __init__(
        self, run: Callable[[NDArray[np.float32]], NDArray[np.float32]], probe: Callable[[], None]
    ) -> None:
        self._run, self._probe, self._failures = run, probe, 0

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits. Raises RuntimeError, torch.OutOfMemoryError among them, and Stop."""
        try:
            logits = self._run(batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._failures += 1
            if self._failures >= _MOST_FAILURES or not self._answers():
                log.error("device_lost", error=type(error).__name__, failures=self._failures)
                raise Stop(Reason.MODEL_FAILED, "cuda") from error
            raise
        self._failures = 0
        return logits

    def _answers(self) -> bool:
        try:
            self._probe()
        except RuntimeError:
            return False
        return True


def probe(device: torch.device) -> None:
    """Adds two numbers on `device`. Raises RuntimeError where it is lost."""
    torch.ones(2, device=device).sum().item()
