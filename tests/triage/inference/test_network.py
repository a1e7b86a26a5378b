"""A loaded network: the same scores alone and in a batch, close to float32; it says how it runs."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from streams.errors import Misconfigured
from triage.inference import devices, network
from triage.inference.batch import BUCKETS
from triage.inference.devices import fastest_precision, name_of, pick_device
from triage.inference.drift import MAX_DRIFT, Drifted, drift
from triage.inference.network import Screener

CPU = torch.device("cpu")


class Package:
    """A network of our own with fixed weights."""

    name, version = "p", "1"

    def load_network(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, stride=2),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(8, 1),
        )


@pytest.fixture(scope="module")
def screener() -> Screener:
    return Screener(Package(), (1, 32, 32), device="cpu")


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((count, 1, 32, 32), dtype=np.float32)


def test_scores_are_those_of_the_network(screener: Screener) -> None:
    with torch.inference_mode():
        exact = Package().load_network()(torch.from_numpy(images(7))).numpy().reshape(-1)
    assert np.allclose(screener.scores(images(7)), exact, atol=0.02)


def test_a_batch_of_any_size_is_scored_image_by_image(screener: Screener) -> None:
    many = screener.scores(images(150))
    assert many.shape == (150,)
    assert many.dtype == np.float32
    assert np.allclose(many[:1], screener.scores(images(150)[:1]), atol=0.02)


def test_not_a_number_stays_one(screener: Screener) -> None:
    batch = images(2)
    batch[1] = np.nan
    scores = screener.scores(batch)
    assert np.isfinite(scores[0])
    assert not np.isfinite(scores[1])


def test_wrong_shape_is_refused_and_the_mode_is_stated(screener: Screener) -> None:
    with pytest.raises(ValueError, match=r"the network takes \(1, 32, 32\)"):
        screener.scores(np.zeros((1, 3, 32, 32), dtype=np.float32))
    assert screener.mode == f"cpu, {name_of(fastest_precision(CPU))}, eager"


class Columns(torch.nn.Module):
    """Gives three numbers of each image, as a guarded network does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Mean, minimum, maximum."""
        flat = images.flatten(1)
        return torch.stack([flat.mean(1), flat.amin(1), flat.amax(1)], 1)


class ColumnsPackage(Package):
    def load_network(self) -> torch.nn.Module:
        return Columns()


def test_a_network_of_several_columns_gives_all_of_them_for_every_image() -> None:
    many = Screener(ColumnsPackage(), (1, 32, 32), device="cpu").scores(images(70))
    assert many.shape == (70, 3)
    flat = images(70).reshape(70, -1)
    assert np.allclose(many, np.stack([flat.mean(1), flat.min(1), flat.max(1)], 1), atol=0.02)


def test_what_a_guard_gives_is_no_drift_of_the_findings_logits() -> None:
    exact = np.zeros((2, 3), np.float32)
    assert drift(exact + np.array([0.01, 5, 5], np.float32), exact) == pytest.approx(0.01)
    with pytest.raises(Drifted):
        drift(exact + np.array([1, 0, 0], np.float32), exact)


class Small(torch.nn.Module):
    """Has room for `room` images."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The mean of each image."""
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((1, 2, 3))


class SmallPackage(Package):
    def __init__(self, room: int) -> None:
        self.network = Small(room)

    def load_network(self) -> torch.nn.Module:
        return self.network


def test_out_of_memory_halves_the_batch_and_every_image_is_scored() -> None:
    package = SmallPackage(room=5)
    screener = Screener(package, (1, 32, 32), device="cpu")
    package.network.seen.clear()
    scores = screener.scores(images(22))
    assert np.allclose(scores, images(22).mean((1, 2, 3)), atol=0.01)
    assert package.network.seen == [22, 11, 5, 6, 3, 3, 11, 5, 6, 3, 3]
    assert max(package.network.seen) <= BUCKETS[-1]


def test_an_image_for_which_there_is_no_memory_has_no_score() -> None:
    package = SmallPackage(room=64)
    screener = Screener(package, (1, 32, 32), device="cpu")
    package.network.room = 0
    assert np.isnan(screener.scores(images(3))).all()


class Cancelling(torch.nn.Module):
    """The small difference of large numbers: bfloat16 has 8 bits of a mantissa."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, 1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """A thousand times each image's mean, and one hundredth."""
        mean = images.mean((1, 2, 3))[:, None] + 10
        return 1000 * (self.linear(mean) - self.linear.weight[0, 0] * mean)


class CancellingPackage(Package):
    def load_network(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return Cancelling()


def test_a_precision_that_changes_the_logits_is_refused_and_float32_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "fastest_precision", lambda _device: torch.bfloat16)
    served = Screener(Package(), (1, 32, 32), device="cpu")
    assert served.mode == "cpu, bfloat16, eager"
    careful = Screener(CancellingPackage(), (1, 32, 32), device="cpu")
    assert careful.mode.startswith("cpu, float32, eager (its logits are ")
    assert np.abs(careful.scores(images(5))).max() < 0.1


def test_a_gpu_that_does_not_start_is_left_for_the_cpu_and_the_mode_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def __init__(self, *_: object) -> None:
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")

    monkeypatch.setattr(network, "GraphedNetwork", Broken)
    monkeypatch.setattr(network, "pick_device", lambda _wanted: torch.device("cuda", 0))
    served = Screener(Package(), (1, 32, 32))
    assert served.mode.startswith(f"cpu, {name_of(fastest_precision(CPU))}, eager (RuntimeError")
    assert served.concurrent_batches == 1
    assert np.isfinite(served.scores(images(3))).all()


def test_a_device_that_is_not_here_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("auto") == torch.device("cuda", 0)
    with pytest.raises(Misconfigured, match="cuda:2, but CUDA devices here: 2"):
        pick_device("cuda:2")
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == CPU
    with pytest.raises(Misconfigured):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((9, 0), torch.bfloat16),
        ((8, 0), torch.bfloat16),
        ((7, 5), torch.float16),
        ((7, 0), torch.float16),
        ((6, 1), torch.float32),
    ],
    ids=["H100", "A100", "T4", "V100", "P40"],
)
def test_emulated_bfloat16_does_not_count(
    capability: tuple[int, int], precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.torch.cuda, "device", lambda _device: nullcontext())
    monkeypatch.setattr(devices.torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(
        devices.torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or capability >= (8, 0),
    )
    assert fastest_precision(torch.device("cuda", 0)) == precision


def test_logits_that_are_far_or_no_numbers_have_drifted() -> None:
    expected = np.array([0, 9], dtype=np.float32)
    assert drift(expected + np.float32(0.09), expected) == pytest.approx(0.09, abs=1e-3)
    for wrong in (MAX_DRIFT * 1.1, np.nan, np.inf):
        with pytest.raises(Drifted):
            drift(expected + np.float32(wrong), expected)
