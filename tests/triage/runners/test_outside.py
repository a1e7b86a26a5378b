"""A network from elsewhere gives its numbers from a process with limits, or none at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.triage.packages import outside
from triage.packages.architectures import Selected
from triage.packages.load import Package, PackageError
from triage.runners.outside import OutsideNetwork, logits
from triage.sandbox import RunnerLimits

LIMITS = RunnerLimits(memory_bytes=2 * 1024**3, wall_s=30)
VALUES = [0.5, -1.0, 2.0]
_MEAN = outside.onnx(whole=True)
both = pytest.mark.parametrize("kind", ["onnx", "pt2"])


def network_file(kind: str, batch: int | None = None) -> bytes:
    return outside.onnx(batch) if kind == "onnx" else outside.pt2(batch)


@both
def test_it_gives_the_outputs_that_the_manifest_names_in_that_order(
    kind: str, tmp_path: Path
) -> None:
    network = OutsideNetwork(outside.package(tmp_path, network_file(kind), kind), LIMITS)
    scores = network.scores(outside.images(VALUES * 5))  # more than a batch
    expected = np.outer(VALUES * 5, outside.FACTORS[0, [2, 0]])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert network.mode == f"cpu, {kind}, own process, no network"


@both
def test_a_network_of_a_fixed_number_of_images_gets_that_many(kind: str, tmp_path: Path) -> None:
    one = outside.document(kind)["outputs"][1:]
    package = outside.package(
        tmp_path,
        network_file(kind, batch=4),
        kind,
        runner={"kind": kind, "classes": 3, "batch": 4},
        outputs=one,
        constancy=[{"seed": 1, "phantom": "chest_film", "expected": 0.0, "tolerance": 9.0}],
    )
    scores = OutsideNetwork(package, LIMITS).scores(outside.images([*VALUES, 3.0, 4.0]))
    np.testing.assert_allclose(scores, [*VALUES, 3.0, 4.0], rtol=1e-5)


def test_a_killed_process_gives_no_number_and_the_next_batch_has_another(tmp_path: Path) -> None:
    network = OutsideNetwork(outside.package(tmp_path, outside.onnx()), LIMITS)
    assert network.pid is not None
    os.kill(network.pid, signal.SIGKILL)
    assert np.isnan(network.scores(outside.images(VALUES))).all()
    assert np.isfinite(network.scores(outside.images(VALUES))).all()


def test_one_that_takes_too_long_gives_no_number_and_is_ended(tmp_path: Path) -> None:
    limits = RunnerLimits(memory_bytes=2 * 1024**3, wall_s=0.2)
    network = OutsideNetwork(outside.package(tmp_path, outside.onnx()), limits)
    stopped = network.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    assert np.isnan(network.scores(outside.images(VALUES))).all()
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


def test_one_that_wants_more_memory_than_it_may_have_gives_no_number(tmp_path: Path) -> None:
    hungry = outside.onnx(wasted=1_000_000_000)
    network = OutsideNetwork(outside.package(tmp_path, hungry), LIMITS)
    assert np.isfinite(network.scores(outside.images([0.0]))).all()
    assert np.isnan(network.scores(outside.images([1.0]))).all()


@pytest.mark.parametrize(
    ("content", "changes", "why"),
    [
        (b"no graph", {}, "does not run: .*(parse|protobuf|INVALID|Protobuf)"),
        (outside.onnx(), {"runner": {"kind": "onnx", "classes": 4}}, "not 4 numbers"),
        (
            outside.onnx(),
            {"input": {"kind": "2d", "channels": 2, "height": 32, "width": 32}},
            "does not run: .*(channels|dimension|shape|index: 1)",
        ),
        (_MEAN, {}, "gives \\(\\), not 3 numbers"),
        (outside.onnx(batch=2), {"runner": {"kind": "onnx", "classes": 3}}, "takes 2 images"),
    ],
    ids=["no graph", "other numbers", "other images", "one for all", "fewer at once"],
)
def test_what_does_not_fit_its_manifest_is_refused_in_words(
    content: bytes, changes: dict[str, object], why: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=f"theirs: its network.*{why}"):
        OutsideNetwork(outside.package(tmp_path, content, **changes), LIMITS)


def test_it_gets_none_of_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_DATABASE", "postgresql://secret")
    network = OutsideNetwork(outside.package(tmp_path, outside.onnx()), LIMITS)
    environment = Path(f"/proc/{network.pid}/environ").read_bytes()
    assert b"VIGIE" not in environment
    assert b"OMP_NUM_THREADS=1" in environment


def _sure(folder: Path) -> Package:
    """A package whose network gives a probability."""
    return outside.package(
        folder,
        outside.onnx(),
        outputs=[outside.output(0, "sure", gives="probability")],
        constancy=[{"seed": 1, "phantom": "chest_film", "expected": 0.0, "tolerance": 9.0}],
    )


def test_probabilities_become_logits_and_a_certain_one_stays_finite(tmp_path: Path) -> None:
    package = _sure(tmp_path)
    given = np.array([[0.5, 0, 0], [0.75, 0, 0], [1.0, 0, 0]], np.float32)
    made = logits(given, package.manifest.outputs)
    np.testing.assert_allclose(made[:2], [0.0, np.log(3)], atol=1e-6)
    assert np.isfinite(made[2])
    assert made[2] > 10


def test_logits_that_are_told_to_be_probabilities_are_no_numbers_and_flag_nobody(
    tmp_path: Path,
) -> None:
    package = _sure(tmp_path)
    given = np.array([[-0.2, 0, 0], [3.4, 0, 0], [0.75, 0, 0]], np.float32)
    for made in (
        logits(given, package.manifest.outputs),
        Selected(nn.Identity(), [(0, "probability")])(torch.from_numpy(given)).numpy(),
    ):
        np.testing.assert_array_equal(np.isfinite(made), [False, False, True])


def test_softmax_of_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="softmax is of several classes"):
        outside.package(
            tmp_path,
            outside.onnx(),
            runner={"kind": "onnx", "classes": 1},
            outputs=[outside.output(0, "one", gives="softmax")],
            constancy=[{"seed": 1, "phantom": "chest_film", "expected": 0.0, "tolerance": 9.0}],
        )
