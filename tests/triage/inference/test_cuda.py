"""CUDA graphs: the eager network's logits in every bucket, from two threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from triage.inference.batch import BUCKETS
from triage.inference.cuda import GraphedNetwork
from triage.inference.devices import EagerNetwork, has_bf16

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
    cuda = torch.device("cuda")
    graphed = GraphedNetwork(make_network(), SHAPE, cuda, BUCKETS, bf16=has_bf16(cuda))
    images = np.random.default_rng(0).standard_normal((200, *SHAPE), dtype=np.float32)
    expected = EagerNetwork(make_network(), torch.device("cpu"), bf16=False)(images)
    for count in (1, 2, 3, 8, 63, 64, 65, 200):
        assert np.abs(graphed(images[:count]) - expected[:count]).max() <= 0.02
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda at: graphed(images[at : at + 50]), range(0, 200, 50)))
    assert np.abs(np.concatenate(parts) - expected).max() <= 0.02
