"""The map behind a flag belongs to the logit that was flagged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.triage.packages import outside
from triage.inference.where import Where
from triage.inputs.prepare import prepare
from triage.packages.densenet import DenseNet
from triage.packages.load import find_packages, load_package
from triage.phantoms.series import phantom_series
from triage.settings import shipped_models


@pytest.mark.parametrize("name", [folder.name for folder in find_packages(shipped_models())])
def test_each_shipped_package_says_where(name: str) -> None:
    package = load_package(shipped_models() / name)
    frames, _ = phantom_series(np.random.default_rng(3), package.input.kind)  # type: ignore[arg-type]
    image = prepare(frames, package.input)[0]
    where = Where(package)(image, 0)
    assert where is not None
    assert where.ndim == 2
    assert np.isfinite(where).all()
    assert where.std() > 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_densenet_s_map_has_the_logit_as_its_mean(dimensions: int) -> None:
    torch.manual_seed(0)
    network = DenseNet(1, 3, (1, 1, 1, 1), dimensions).eval()
    images = torch.randn(2, 1, *(64,) * dimensions)
    with torch.inference_mode():
        logits, where = network.mapped(images)
        assert torch.equal(logits, network(images))
    means = where.flatten(2).mean(2) + network.classifier.bias
    torch.testing.assert_close(means, logits, rtol=1e-4, atol=1e-4)


def test_a_network_from_elsewhere_has_none(tmp_path: object) -> None:
    package = outside.package(tmp_path, outside.onnx())  # type: ignore[arg-type]
    assert Where(package)(outside.images([1.0])[0], 0) is None
