"""A loaded network: the same scores alone and in a batch, close to float32; it says how it runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from triage.inference.batch import BUCKETS
from triage.inference.devices import has_bf16
from triage.inference.network import Screener


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
    precision = "bfloat16" if has_bf16(torch.device("cpu")) else "float32"
    assert screener.mode == f"cpu, {precision}, eager"


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
    assert np.isnan(
        Screener(SmallPackage(room=0), (1, 32, 32), device="cpu").scores(images(3))
    ).all()
