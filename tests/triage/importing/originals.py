"""DenseNet-121 as TorchXRayVision and MONAI lay it out: to make checkpoints, to compare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

BLOCKS = (6, 12, 24, 16)
CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


def parts(before: int, dims: int) -> list[tuple[str, nn.Module]]:
    return [
        ("norm1", NORM[dims](before)),
        ("relu1", nn.ReLU(inplace=True)),
        ("conv1", CONV[dims](before, 128, kernel_size=1, bias=False)),
        ("norm2", NORM[dims](128)),
        ("relu2", nn.ReLU(inplace=True)),
        ("conv2", CONV[dims](128, 32, kernel_size=3, padding=1, bias=False)),
    ]


class _DenseLayer(nn.Sequential):
    """TorchXRayVision's."""

    def __init__(self, before: int, dims: int) -> None:
        super().__init__()
        for name, part in parts(before, dims):
            self.add_module(name, part)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, super().forward(image)], 1)


class MonaiLayer(nn.Module):
    """MONAI's."""

    def __init__(self, before: int, dims: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for name, part in parts(before, dims):
            self.layers.add_module(name, part)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, self.layers(image)], 1)


class _DenseBlock(nn.Sequential):
    def __init__(self, layer: type[nn.Module], count: int, before: int, dims: int) -> None:
        super().__init__()
        for at in range(count):
            self.add_module(f"denselayer{at + 1}", layer(before + 32 * at, dims))


class _Transition(nn.Sequential):
    def __init__(self, before: int, dims: int) -> None:
        super().__init__()
        self.add_module("norm", NORM[dims](before))
        self.add_module("relu", nn.ReLU(inplace=True))
        self.add_module("conv", CONV[dims](before, before // 2, kernel_size=1, bias=False))
        self.add_module("pool", MEAN[dims](kernel_size=2, stride=2))


def features(channels: int, dims: int, layer: type[nn.Module]) -> tuple[nn.Sequential, int]:
    made = nn.Sequential()
    made.add_module("conv0", CONV[dims](channels, 64, 7, stride=2, padding=3, bias=False))
    made.add_module("norm0", NORM[dims](64))
    made.add_module("relu0", nn.ReLU(inplace=True))
    made.add_module("pool0", MAX[dims](kernel_size=3, stride=2, padding=1))
    width = 64
    for number, count in enumerate(BLOCKS, 1):
        made.add_module(f"denseblock{number}", _DenseBlock(layer, count, width, dims))
        width += 32 * count
        if number < len(BLOCKS):
            made.add_module(f"transition{number}", _Transition(width, dims))
            width //= 2
    made.add_module("norm5", NORM[dims](width))
    return made, width


class DenseNet(nn.Module):
    """TorchXRayVision's, of 18 classes; `op_threshs` is a tensor beside the weights."""

    def __init__(self, classes: int = 18) -> None:
        super().__init__()
        self.features, width = features(1, 2, _DenseLayer)
        self.classifier = nn.Linear(width, classes)
        self.register_buffer("op_threshs", torch.full((classes,), 0.5))

    def forward(self, image: Tensor) -> Tensor:
        found = nn.functional.relu(self.features(image))
        pooled = nn.functional.adaptive_avg_pool2d(found, (1, 1)).view(len(image), -1)
        logits: Tensor = self.classifier(pooled)
        return logits


class MonaiDenseNet(nn.Module):
    """MONAI's DenseNet121."""

    def __init__(self, channels: int, classes: int, dims: int) -> None:
        super().__init__()
        self.features, width = features(channels, dims, MonaiLayer)
        self.class_layers = nn.Sequential()
        self.class_layers.add_module("relu", nn.ReLU(inplace=True))
        pool: Any = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
        self.class_layers.add_module("pool", pool(1))
        self.class_layers.add_module("flatten", nn.Flatten(1))
        self.class_layers.add_module("out", nn.Linear(width, classes))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.class_layers(self.features(image))
        return logits


def settled(network: nn.Module) -> nn.Module:
    """The network with statistics as if it had learned: layers neither die nor explode."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = None  # the mean of what it sees
    shape = (2, 1, 96, 96) if isinstance(network, DenseNet) else (2, 2, 32, 64, 64)
    network.train()
    with torch.no_grad():
        scale = 1024.0 if isinstance(network, DenseNet) else 1.0
        network(scale * torch.rand(shape))
    return network.eval()


@contextmanager
def as_torchxrayvision() -> Iterator[None]:
    """While a whole module is pickled, its classes are where TorchXRayVision has them."""
    package, models = ModuleType("torchxrayvision"), ModuleType("torchxrayvision.models")
    kinds = (DenseNet, _DenseBlock, _DenseLayer, _Transition)
    homes = [kind.__module__ for kind in kinds]
    sys.modules |= {"torchxrayvision": package, "torchxrayvision.models": models}
    try:
        for kind in kinds:
            setattr(models, kind.__name__, kind)
            kind.__module__ = "torchxrayvision.models"
        yield
    finally:
        for kind, home in zip(kinds, homes, strict=True):
            kind.__module__ = home
        del sys.modules["torchxrayvision"], sys.modules["torchxrayvision.models"]
