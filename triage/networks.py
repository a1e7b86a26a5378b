"""The network architectures that a model package may name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [n, a, h, w] -> [n, b, h/stride, w/stride]."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block."""
        inner = torch.relu(self.first_norm(self.first(image)))
        inner = self.second_norm(self.second(inner))
        return torch.relu(inner + cast(Tensor, self.shortcut(image)))


class SmallResNet(nn.Module):
    """Images [n, channels, h, w] -> logits [n]; averages and peaks of the last maps are both read."""

    def __init__(self, channels: int, widths: tuple[int, ...], drop: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(*[Residual(before, after, 2) for before, after in pairs])
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(2 * widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logit of each image, [n]."""
        maps = self.blocks(self.stem(images))
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        return cast(Tensor, self.head(self.drop(pooled))).squeeze(1)


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "small-resnet": lambda channels: SmallResNet(channels, (24, 40, 72, 112, 144)),
    "tiny-resnet": lambda channels: SmallResNet(channels, (8, 12, 16)),
}


def build(architecture: str, channels: int) -> nn.Module:
    """A fresh network of that name for images with so many channels. Raises KeyError if there is none."""
    return ARCHITECTURES[architecture](channels)
