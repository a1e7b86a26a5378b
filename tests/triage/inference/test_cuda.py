"""CUDA: graphs give the eager logits; a device that runs out or is lost is told from a batch that
failed. What needs no device runs without one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streams.errors import Reason, Stop
from triage.inference.batch import BUCKETS
from triage.inference.cuda import GraphedNetwork, Watched, as_many_as_fit, folded, ran_out
from triage.inference.devices import EagerNetwork, fastest_precision

SHAPE = (2, 64, 64)


def make_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 16, 3, stride=2),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 1),
    )


@pytest.mark.needs("cuda")
def test_graphs_give_the_logits_of_the_network() -> None:
    cuda = torch.device("cuda", 0)
    graphed = GraphedNetwork(make_network(), SHAPE, cuda, BUCKETS, fastest_precision(cuda))
    images = np.random.default_rng(0).standard_normal((200, *SHAPE), dtype=np.float32)
    expected = EagerNetwork(make_network(), torch.device("cpu"))(images)
    for count in (1, 2, 3, 8, 63, 64, 65, 200):
        assert np.abs(graphed(images[:count]) - expected[:count]).max() <= 0.02
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda at: graphed(images[at : at + 50]), range(0, 200, 50)))
    assert np.abs(np.concatenate(parts) - expected).max() <= 0.02


def test_folded_norms_change_no_logit_and_leave_the_network_as_it_was() -> None:
    network = make_network().eval()
    network[1].running_mean += 0.5
    images = torch.randn(3, *SHAPE)
    made = folded(network, torch.float32)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())
    assert isinstance(network[1], torch.nn.BatchNorm2d)
    with torch.inference_mode():
        assert torch.allclose(made(images), network(images), atol=1e-5)
    lower = folded(network, torch.bfloat16)
    assert {one.dtype for one in lower.parameters()} == {torch.bfloat16}
    assert network[0].weight.dtype == torch.float32


class Untraceable(torch.nn.Module):
    """Asks for a value while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 1, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The mean, once convolved if it is positive."""
        return self.conv(images).mean((1, 2, 3)) if images.sum() > 0 else images.mean((1, 2, 3))


def test_a_network_that_cannot_be_traced_is_copied_as_it_is() -> None:
    made = folded(Untraceable(), torch.float16)
    assert isinstance(made, Untraceable)
    assert made.conv.weight.dtype == torch.float16


def test_where_two_slots_do_not_fit_one_serves() -> None:
    room = [1]

    def make() -> str:
        if not room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        room[0] -= 1
        return "slot"

    assert as_many_as_fit(make, 2) == ["slot"]
    with pytest.raises(torch.OutOfMemoryError):
        as_many_as_fit(make, 2)


def test_a_capture_that_memory_broke_off_is_known_by_what_broke_it() -> None:
    broken_off = RuntimeError("operation failed due to a previous error during capture")
    broken_off.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert ran_out(broken_off)
    assert not ran_out(RuntimeError("an illegal memory access was encountered"))


class Device:
    """Gives the mean of each image until it breaks."""

    def __init__(self) -> None:
        self.error: RuntimeError | None = None
        self.lost = False

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.error is not None:
            raise self.error
        return images.mean((1, 2, 3))

    def probe(self) -> None:
        if self.lost:
            raise RuntimeError("CUDA error: device-side assert triggered")


IMAGES = np.ones((2, *SHAPE), dtype=np.float32)


def test_a_lost_device_ends_the_process() -> None:
    device = Device()
    watched = Watched(device.run, device.probe)
    assert watched(IMAGES).tolist() == [1, 1]
    device.error, device.lost = RuntimeError("CUDA error: an illegal memory access"), True
    with pytest.raises(Stop) as stop:
        watched(IMAGES)
    assert stop.value.reason is Reason.MODEL_FAILED


def test_one_batch_that_fails_costs_itself_alone_and_three_in_a_row_end_the_process() -> None:
    device = Device()
    watched = Watched(device.run, device.probe)
    for _ in range(5):
        device.error = RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
        with pytest.raises(RuntimeError, match="cuDNN"):
            watched(IMAGES)
        device.error = None
        watched(IMAGES)
    device.error = RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")
    for expected in (RuntimeError, RuntimeError, Stop):
        with pytest.raises(expected):
            watched(IMAGES)


def test_out_of_memory_is_no_lost_device() -> None:
    device = Device()
    device.error, device.lost = torch.OutOfMemoryError("CUDA out of memory"), True
    for _ in range(5):
        with pytest.raises(torch.OutOfMemoryError):
            Watched(device.run, device.probe)(IMAGES)
