"""Whether an image is like those that a network learned from: a small network on its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from triage.packages.architectures import Ensemble

HIDDEN = 32
_FARTHEST = 6.0  # usual deviations: what is farther from the usual is no farther for the guard


class Guard(nn.Module):
    """Features [n, f] to the logit that an image is foreign, [n].

    `mean` and `spread`, [f], are those of the training images.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.first = nn.Linear(features, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        return self.judged((features - self.mean) / self.spread)

    def judged(self, usual: Tensor) -> Tensor:
        """The logits of features in usual deviations."""
        near = usual.clamp(-_FARTHEST, _FARTHEST)
        logits: Tensor = self.last(torch.relu(self.first(near)))
        return logits.squeeze(1)


class Guarded(nn.Module):
    """An ensemble that also says what it thinks of the image itself.

    It gives [n, 3], float32: the ensemble's logit, the logit that the image is foreign, and the
    standard deviation of the members' logits.
    """

    def __init__(self, network: Ensemble) -> None:
        super().__init__()
        self.network = network
        self.guard = Guard(network.features)

    def forward(self, images: Tensor) -> Tensor:
        """What it gives of each image."""
        logits, features = self.network.seen(images)
        return torch.stack([logits.mean(0), self.guard(features).float(), logits.std(0)], 1)

    def mapped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As the ensemble's own."""
        return self.network.mapped(images)
