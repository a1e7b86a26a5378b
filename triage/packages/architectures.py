"""The network architectures that a model package may name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from triage.packages.densenet import BLOCKS, DenseNet
from triage.packages.manifest import MOST_FROM_HALF, Gives


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
        self.widths = widths
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
        return self.seen(images)[0]

    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n], and the map's logits [n, h / 8, w / 8]."""
        return self.seen(images)[:2]

    @property
    def features(self) -> int:
        """How many `seen` gives of an image."""
        return self.head.in_features + 2 * sum(self.widths[:-1])

    def seen(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `mapped`, and what a guard judges by: float32 features [n, f] of all levels."""
        levels = [self.stem(images)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        merged = self.laterals[-1](levels[-1])
        for lateral, level in zip(list(self.laterals)[-2::-1], levels[-2:1:-1], strict=True):
            merged = nn.functional.interpolate(merged, size=level.shape[2:]) + lateral(level)
        merged = self.merge(merged)
        where = self.map(merged).squeeze(1)
        highest = where.flatten(1).logsumexp(1, keepdim=True)
        pooled = torch.cat(
            [
                levels[-1].mean((2, 3)),
                levels[-1].amax((2, 3)),
                merged.mean((2, 3)),
                merged.amax((2, 3)),
                highest,
            ],
            1,
        )
        logits = cast(Tensor, self.head(self.drop(pooled))).squeeze(1)
        spreads = [part for level in levels[:-1] for part in _mean_and_spread(level)]
        return logits, where, torch.cat([pooled.float(), *spreads], 1)


def _mean_and_spread(level: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of a map [n, c, h, w], each [n, c]; in float32 whatever the map is in."""
    level = level.float()
    mean = level.mean((2, 3))
    spread = (level.square().mean((2, 3)) - mean.square()).clamp(min=0.0).add(1e-8).sqrt()
    return mean, spread


class Ensemble(nn.Module):
    """Several networks that saw different patients: the mean of their logits."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Logit of each image, [n]."""
        return torch.stack([member(images) for member in self.members]).mean(0)

    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the members' logits [n] and maps [n, h / 8, w / 8]."""
        both = [member.mapped(images) for member in self.members]  # type: ignore[operator]
        logits, where = (torch.stack(part).mean(0) for part in zip(*both, strict=True))
        return logits, where

    @property
    def features(self) -> int:
        """How many `seen` gives of an image."""
        return sum(member.features for member in self.members)  # type: ignore[misc]

    def seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The members' logits [m, n], and the features of all of them [n, f]; both float32."""
        each = [member.seen(images) for member in self.members]  # type: ignore[operator]
        logits = torch.stack([logits.float() for logits, _, _ in each])
        return logits, torch.cat([features for _, _, features in each], 1)


class Selected(nn.Module):
    """The numbers that a package's outputs name, as logits: [n, outputs], or [n] of one.

    Args:
        network: gives [n, classes].
        chosen: index of each output, and what the network gives there.
    """

    def __init__(self, network: nn.Module, chosen: Sequence[tuple[int, Gives]]) -> None:
        super().__init__()
        self.network, self.chosen = network, tuple(chosen)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each image."""
        return self._logits(self.network(images))

    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As the network's own `mapped`, for the chosen alone."""
        logits, where = self.network.mapped(images)  # type: ignore[operator]
        return self._logits(logits), where[:, [index for index, _ in self.chosen]]

    def _logits(self, given: Tensor) -> Tensor:
        columns = [_logit(given, index, gives) for index, gives in self.chosen]
        return columns[0] if len(columns) == 1 else torch.stack(columns, 1)


def _logit(given: Tensor, index: int, gives: Gives) -> Tensor:
    column = given[:, index]
    match gives:
        case "logit":
            return column
        case "probability":
            none = (column - 0.5).abs() > MOST_FROM_HALF
            return torch.logit(column, eps=1e-7).masked_fill(none, torch.nan)
        case "softmax":
            others = torch.cat([given[:, :index], given[:, index + 1 :]], 1)
            return column - others.logsumexp(1)


def _ensemble(size: int, channels: int) -> nn.Module:
    return Ensemble(build("pyramid", channels) for _ in range(size))


#: Ours: of one class, in two dimensions.
PYRAMIDS: dict[str, Callable[[int], nn.Module]] = {
    "pyramid": lambda channels: Pyramid(channels, (16, 32, 64, 128, 160), 32),
    **{f"pyramid-x{size}": partial(_ensemble, size) for size in range(2, 7)},
}


def build(architecture: str, channels: int, classes: int = 1, dimensions: int = 2) -> nn.Module:
    """A fresh network of that name for images of so many channels and 2 or 3 dimensions.

    It gives [n, classes]; ours, of one class, [n].

    Raises KeyError if there is none, and ValueError where it is not made for such images.
    """
    if architecture in BLOCKS:
        return DenseNet(channels, classes, BLOCKS[architecture], dimensions)
    if (classes, dimensions) != (1, 2):
        raise ValueError(f"{architecture} gives one number of two dimensions")
    return PYRAMIDS[architecture](channels)
