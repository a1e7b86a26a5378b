"""One package's network, loaded and warm: a batch of prepared images in, scores of each out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from triage import metrics
from triage.inference.batch import BUCKETS
from triage.inference.cpu import NotCompiled, load_compiled
from triage.inference.cuda import GraphedNetwork, Watched, probe
from triage.inference.devices import EagerNetwork, fastest_precision, name_of, pick_device
from triage.inference.drift import Drifted, drift
from triage.inference.queue import Scores

log = structlog.get_logger()
_CPU = torch.device("cpu")


class Loadable(Protocol):
    """What of a package is needed to run it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> str:
        """Its version."""

    def load_network(self) -> torch.nn.Module:
        """The network: float32 [n, c, h, w] to logits [n], or [n, columns]."""


@dataclass(frozen=True)
class Runner:
    """One way to run a network.

    Attributes:
        mode: device, precision and how, for the log and the metrics.
        columns: what it gives of one image: () is one number.
        concurrent_batches: batches that are worth having under way.
    """

    run: Scores
    mode: str
    columns: tuple[int, ...] = ()
    concurrent_batches: int = 1


class Screener:
    """A network on its device, warm, in the fastest precision whose logits are those of float32.

    On CUDA it runs as graphs, on a CPU compiled. Nothing is compiled here or later: where
    `vigie models compile` has not been, a CPU runs it eagerly, and `mode` says so. A CUDA device
    that fails now is left for the CPU, and `mode` says so; one that fails later ends the process
    (`Watched`).

    Args:
        package: where the network comes from.
        shape: (channels, height, width) of a prepared image.
        device: as `pick_device`.
        compiled: folder of compiled networks; None: eager.
        seen: as `make_runner`.

    Attributes:
        mode: how it runs, for the log and the metrics.
        concurrent_batches: batches that are worth having under way.
    """

    def __init__(
        self,
        package: Loadable,
        shape: tuple[int, ...],
        *,
        device: str = "auto",
        compiled: Path | None = None,
        seen: Callable[[], NDArray[np.float32]] | None = None,
    ) -> None:
        runner = make_runner(package, shape, pick_device(device), compiled, seen)
        self.shape, self._package, self._run = shape, package.name, runner.run
        self.mode, self.concurrent_batches = runner.mode, runner.concurrent_batches
        self._columns = runner.columns
        metrics.model_info.labels(package.name, package.version, self.mode).set(1)

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network gives, [n] or [n, columns], of `batch` [n, channels, height, width];
        not finite where it failed.

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
                return np.full((1, *self._columns), np.nan, dtype=np.float32)
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return np.concatenate([self._halving(batch[:half]), self._halving(batch[half:])])


def make_runner(
    package: Loadable,
    shape: tuple[int, ...],
    device: torch.device,
    compiled: Path | None,
    seen: Callable[[], NDArray[np.float32]] | None = None,
) -> Runner:
    """The first of `_ways` that starts, and whose logits are near those of float32 on the CPU.

    Args:
        seen: images [n, c, h, w] that they are compared on; by default noise. A compiled network
            was compared when it was made, and is not again.
    """
    network, why = package.load_network(), list[str]()
    images = expected = np.empty(0, dtype=np.float32)
    for way in _ways(package.name, network, shape, device, compiled):
        try:
            run, concurrent_batches = way.start()
            if way.compared:
                if not len(images):
                    images = seen() if seen is not None else _noise(shape)
                    expected = EagerNetwork(network, _CPU)(images)
                drift(run(images), expected)
            columns = _warm(run, shape)
        except NotCompiled as error:
            why.append(str(error))
            continue
        except Drifted as error:
            why.append(str(error))
        except RuntimeError as error:  # what torch raises
            if way.device.type == "cpu":
                raise
            why.append(type(error).__name__)
        else:
            if way.device.type == "cuda":
                run = Watched(run, partial(probe, way.device))
            told = f" ({'; '.join(why)})" if why else ""
            return Runner(run, f"{way.mode}{told}", columns, concurrent_batches)
        log.warning("not_served_so", package=package.name, mode=way.mode, why=why[-1])
    raise AssertionError("float32 on the CPU is what all else is compared with")


@dataclass(frozen=True)
class _Way:
    """How a network may be run: `start` gives what runs it, and batches worth having under way."""

    device: torch.device
    mode: str
    start: Callable[[], tuple[Scores, int]]
    compared: bool


def _ways(
    name: str,
    network: torch.nn.Module,
    shape: tuple[int, ...],
    device: torch.device,
    compiled: Path | None,
) -> Iterator[_Way]:
    """Best first: CUDA graphs, compiled for this CPU, eager; lower precision before float32."""

    def graphs(precision: torch.dtype) -> tuple[Scores, int]:
        graphed = GraphedNetwork(network, shape, device, BUCKETS, precision)
        return graphed, graphed.slots

    def load(cache: Path) -> tuple[Scores, int]:
        return load_compiled(cache, name, network, shape), 1

    def eager(precision: torch.dtype) -> tuple[Scores, int]:
        return EagerNetwork(network, _CPU, precision), 1

    if device.type == "cuda":
        for precision in _precisions(device):
            mode = f"cuda, {name_of(precision)}, graphs"
            yield _Way(device, mode, partial(graphs, precision), compared=True)
    if compiled is not None:
        mode = f"cpu, {name_of(_precisions(_CPU)[0])}, compiled"
        yield _Way(_CPU, mode, partial(load, compiled), compared=False)
    for precision in _precisions(_CPU):
        mode = f"cpu, {name_of(precision)}, eager"
        yield _Way(_CPU, mode, partial(eager, precision), precision != torch.float32)


def _precisions(device: torch.device) -> list[torch.dtype]:
    """The fastest first, float32 last."""
    try:
        return list(dict.fromkeys((fastest_precision(device), torch.float32)))
    except RuntimeError:  # a device that does not say what it can: it will not start either
        return [torch.float32]


def _noise(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((4, *shape), dtype=np.float32)


def _warm(run: Scores, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The first passes choose kernels and take memory; returns what one image gives.

    Where there is too little memory, `Screener` makes batches smaller.
    """
    columns: tuple[int, ...] = ()
    for count in (1, BUCKETS[-1]):
        with suppress(torch.OutOfMemoryError):
            columns = run(np.zeros((count, *shape), dtype=np.float32)).shape[1:]
    return columns
