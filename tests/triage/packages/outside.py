"""Packages of networks that tests make: tiny ones, in ONNX, pt2 and safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from triage.packages.load import Package, load_package
from triage.packages.manifest import MANIFEST, NETWORK_FILE
from triage.packages.manifest_text import to_toml

SIDE = 32
#: Of three numbers, means of the image times these.
FACTORS = np.array([[1.0, 2.0, -3.0]], np.float32)


class Means(nn.Module):
    """[n, 1, h, w] to [n, 3]: the image's mean, times each of FACTORS."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] * torch.from_numpy(FACTORS)


def pt2(batch: int | None = None) -> bytes:
    """`Means` for any number of images, or for one."""
    dynamic = None if batch else ({0: torch.export.Dim("n", min=1, max=64)},)
    example = torch.zeros(batch or 2, 1, SIDE, SIDE)
    file = BytesIO()
    torch.export.save(torch.export.export(Means(), (example,), dynamic_shapes=dynamic), file)
    return file.getvalue()


def onnx(batch: int | None = None, wasted: int = 0, *, whole: bool = False) -> bytes:
    """`Means` as an ONNX graph; it may allocate so many numbers for nothing.

    Where `whole`, it gives one number for all images.
    """
    given = helper.make_tensor_value_info(
        "images", TensorProto.FLOAT, [batch or "n", 1, SIDE, SIDE]
    )
    made = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch or "n", 3])
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "factors"], ["scores" if not wasted else "right"]),
    ]
    values = {
        "axes": np.array([1, 2, 3], np.int64),
        "one": np.array([1], np.int64),
        "factors": FACTORS,
    }
    if wasted:
        values |= {"size": np.array([wasted], np.int64), "all": np.array([0], np.int64)}
        nodes += [
            helper.make_node("Slice", ["images", "all", "one", "all"], ["first"]),
            helper.make_node("ReduceMax", ["first"], ["highest"], keepdims=0),
            helper.make_node("Cast", ["highest"], ["times"], to=TensorProto.INT64),
            helper.make_node("Mul", ["size", "times"], ["count"]),
            helper.make_node("ConstantOfShape", ["count"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["right", "nothing"], ["scores"]),
        ]
    if whole:
        made = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [])
        nodes = [helper.make_node("ReduceMean", ["images"], ["scores"], keepdims=0)]
        values = {}
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "means", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def output(index: int, code: str, **more: Any) -> dict[str, Any]:
    scale = {"slope": 1.0, "intercept": 0.0, "threshold": 0.5}
    codes = {"label": code.title(), "radlex": f"RID{index + 1}", "snomed": "12345678"}
    return {"index": index, "code": code, **codes, "image": scale, "series": scale, **more}


def document(kind: str = "onnx", **changes: Any) -> dict[str, Any]:
    """A manifest without [files]: a film of 32 x 32, three numbers of which two are looked at."""
    return {
        "name": "theirs",
        "version": "1.0.0",
        "title": "A model from elsewhere",
        "intended_use": "Tests.",
        "licence": "Apache-2.0",
        "runner": {"kind": kind, "classes": 3},
        "eligible": {"modalities": ["DX"]},
        "input": {"kind": "2d", "channels": 1, "height": SIDE, "width": SIDE},
        "outputs": [output(2, "last"), output(0, "first")],
        "operating": {"top_k": 1, "chosen": "by its makers"},
        "training": {
            **{"data": "none", "cases": 0, "positives": 0, "seed": 0},
            **{"split": "none", "limits": "none"},
        },
        "constancy": [
            {"seed": 1, "phantom": "chest_film", "expected": [0.0, 0.0], "tolerance": 9.0}
        ],
    } | changes


def package(folder: Path, content: bytes, kind: str = "onnx", **changes: Any) -> Package:
    """A package of that network, in a folder of its own inside `folder`."""
    told = document(kind, **changes)
    place = folder / told["name"]
    place.mkdir()
    name = NETWORK_FILE[kind]
    (place / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest()}
    (place / MANIFEST).write_text(to_toml({**told, "files": files}))
    return load_package(place)


def images(values: Sequence[float]) -> NDArray[np.float32]:
    """One even image of each value, [n, 1, 32, 32]."""
    return np.stack([np.full((1, SIDE, SIDE), value, np.float32) for value in values])
