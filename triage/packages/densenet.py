"""DenseNet-BC (Huang et al. 2017), in two or three dimensions, with the map behind its pooling.

Names of parameters are those of torchvision and TorchXRayVision; `importing` renames MONAI's.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

GROWTH, BOTTLENECK, STEM = 32, 4, 64
#: Layers of each block (Huang et al. 2017, table 1).
BLOCKS = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "densenet264": (6, 12, 64, 48),
}
_CONV: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.BatchNorm2d | nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX: dict[int, type[nn.MaxPool2d | nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_MEAN: dict[int, type[nn.AvgPool2d | nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class DenseLayer(nn.Module):
    """Two convolutions whose `GROWTH` maps are put behind what came in."""

    def __init__(self, before: int, dimensions: int) -> None:
        super().__init__()
        conv, norm, inner = _CONV[dimensions], _NORM[dimensions], BOTTLENECK * GROWTH
        self.norm1, self.conv1 = norm(before), conv(before, inner, 1, bias=False)
        self.norm2, self.conv2 = norm(inner), conv(inner, GROWTH, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """[n, c, …] -> [n, c + GROWTH, …]."""
        inner = self.conv1(torch.relu(self.norm1(image)))
        return torch.cat([image, self.conv2(torch.relu(self.norm2(inner)))], 1)


class DenseNet(nn.Module):
    """Images [n, channels, (planes,) h, w] to logits [n, classes].

    Args:
        blocks: layers of each dense block.
        dimensions: 2 or 3.
    """

    def __init__(
        self, channels: int, classes: int, blocks: tuple[int, ...], dimensions: int = 2
    ) -> None:
        super().__init__()
        conv, norm = _CONV[dimensions], _NORM[dimensions]
        self.features = nn.Sequential()
        add = self.features.add_module
        add("conv0", conv(channels, STEM, 7, stride=2, padding=3, bias=False))
        add("norm0", norm(STEM))
        add("relu0", nn.ReLU())
        add("pool0", _MAX[dimensions](3, stride=2, padding=1))
        width = STEM
        for number, layers in enumerate(blocks, 1):
            block = nn.Sequential()
            for layer in range(layers):
                made = DenseLayer(width + layer * GROWTH, dimensions)
                block.add_module(f"denselayer{layer + 1}", made)
            add(f"denseblock{number}", block)
            width += layers * GROWTH
            if number < len(blocks):
                transition = nn.Sequential()
                transition.add_module("norm", norm(width))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", conv(width, width // 2, 1, bias=False))
                transition.add_module("pool", _MEAN[dimensions](2, stride=2))
                add(f"transition{number}", transition)
                width //= 2
        add("norm5", norm(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each image, [n, classes]."""
        features = torch.relu(self.features(images))
        return cast(Tensor, self.classifier(features.flatten(2).mean(2)))

    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, classes], and each class's map [n, classes, (planes,) h / 32, w / 32].

        The map is the class activation map of Zhou et al. 2016: its mean, plus the bias, is the
        logit.
        """
        features = torch.relu(self.features(images))
        logits = self.classifier(features.flatten(2).mean(2))
        weights = self.classifier.weight
        return logits, torch.einsum("nc...,kc->nk...", features, weights)
