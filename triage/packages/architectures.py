"""The network architectures that a model package may name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
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
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block."""
        inner = torch.relu(self.first_norm(self.first(image)))
        inner = self.second_norm(self.second(inner))
        return torch.relu(inner + cast(Tensor, self.shortcut(image)))


class Pyramid(nn.Module):
    """A small feature pyramid (Lin et al. 2017): images [n, channels, h, w] -> logits [n].

    It learns where a finding lies beside whether there is one: `mapped` also gives the map, for
    training.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], merged: int, drop: float = 0.3
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 5, 2, 2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(before, after, 2), *[Residual(after, after, 1)] * (number > 1))
            for number, (before, after) in enumerate(itertools.pairwise(widths), 1)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, merged, 1) for width in widths[2:])
        self.merge = nn.Sequential(
            nn.Conv2d(merged, merged, 3, 1, 1, bias=False), nn.BatchNorm2d(merged), nn.ReLU()
        )
        self.map = nn.Conv2d(merged, 1, 1)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(2 * widths[-1] + 2 * merged + 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logit of each image, [n]."""
        return self.mapped(images)[0]

    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n], and the map's logits [n, h / 8, w / 8]."""
        level = self.stages[0](self.stem(images))
        levels = []
        for stage in list(self.stages)[1:]:
            level = stage(level)
            levels.append(level)
        merged = self.laterals[-1](levels[-1])
        for lateral, level_ in zip(list(self.laterals)[-2::-1], levels[-2::-1], strict=True):
            merged = nn.functional.interpolate(merged, size=level_.shape[2:]) + lateral(level_)
        merged = self.merge(merged)
        where = self.map(merged).squeeze(1)
        highest = where.flatten(1).logsumexp(1, keepdim=True)
        pooled = torch.cat(
            [
                level.mean((2, 3)),
                level.amax((2, 3)),
                merged.mean((2, 3)),
                merged.amax((2, 3)),
                highest,
            ],
            1,
        )
        return cast(Tensor, self.head(self.drop(pooled))).squeeze(1), where


class Ensemble(nn.Module):
    """Several networks that saw different patients: the mean of their logits."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Logit of each image, [n]."""
        return torch.stack([member(images) for member in self.members]).mean(0)


def _ensemble(size: int, channels: int) -> nn.Module:
    return Ensemble(build("pyramid", channels) for _ in range(size))


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "pyramid": lambda channels: Pyramid(channels, (16, 32, 64, 128, 160), 32),
    **{f"pyramid-x{size}": partial(_ensemble, size) for size in range(2, 6)},
}


def build(architecture: str, channels: int) -> nn.Module:
    """A fresh network of that name for images of so many channels.

    Raises KeyError if there is none.
    """
    return ARCHITECTURES[architecture](channels)
