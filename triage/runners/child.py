"""The process that runs one network from elsewhere.

Started by `outside` as ``python -m triage.runners.child SOCKET MEMORY MODEL ORDER``: file
descriptors of the socket, the shared memory and the network's file, and an `Order` in JSON. It
answers each number of images with a word once their scores lie in the memory. What goes wrong ends
it: the last line of stderr says why.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from triage.decoding.protocol import FOREVER, receive, send
from triage.sandbox import RunnerLimits, confine

Array = NDArray[np.float32]
#: A network: images [n, *shape] to [n, classes]. Beside it how many images it takes, if that is
#: fixed.
Loaded = tuple[Callable[[Array], Any], int | None]


@dataclass(frozen=True)
class Order:
    """What to run.

    Attributes:
        shape: of one image.
        classes: numbers that the network gives of one.
        batch: images at once, at most.
    """

    kind: Literal["pt2", "onnx"]
    shape: tuple[int, ...]
    classes: int
    batch: int
    limits: RunnerLimits

    @classmethod
    def parse(cls, text: str) -> Order:
        """The order in JSON."""
        told = json.loads(text)
        limits = RunnerLimits(**told.pop("limits"))
        return cls(**told | {"shape": tuple(told["shape"]), "limits": limits})

    @property
    def image_bytes(self) -> int:
        """Of the images of one batch, float32."""
        return 4 * self.batch * int(np.prod(self.shape))

    @property
    def memory_bytes(self) -> int:
        """Of the images of one batch and their scores."""
        return self.image_bytes + 4 * self.batch * self.classes


class NotRun(Exception):
    """The network cannot be used; the text says why."""


def _fixed(size: Any) -> int | None:
    return size if isinstance(size, int) else None


def load_onnx(content: bytes, threads: int) -> Loaded:
    """An ONNX graph, whole in one file. Raises `NotRun`."""
    try:
        import onnxruntime
    except ImportError:
        raise NotRun("onnxruntime is not installed: pip install vigie[onnx]") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs, first = session.get_inputs(), session.get_outputs()[0].name
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        raise NotRun("an ONNX network takes one input, of float32")
    name = inputs[0].name
    return lambda images: session.run([first], {name: images})[0], _fixed(inputs[0].shape[0])


def load_pt2(content: bytes, threads: int) -> Loaded:
    """A program of `torch.export.save`. Raises `NotRun`."""
    import torch

    torch.set_num_threads(threads)
    program = torch.export.load(BytesIO(content))
    takes = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(takes) != 1 or takes[0].dtype != torch.float32:
        raise NotRun("a pt2 network takes one input, of float32")
    network = program.module()

    @torch.inference_mode()
    def run(images: Array) -> Any:
        given = network(torch.from_numpy(images))
        first = given if isinstance(given, torch.Tensor) else given[0]
        return first.float().numpy()

    return run, _fixed(takes[0].shape[0])


def scored(loaded: Loaded, images: Array, classes: int) -> Array:
    """[n, classes] of images [n, *shape]; a network of a fixed number gets black ones beside.

    Raises `NotRun` where it gives something else.
    """
    run, fixed = loaded
    given = images
    if fixed is not None and len(images) != fixed:
        if len(images) > fixed:
            raise NotRun(f"the network takes {fixed} images at once: runner.batch says more")
        given = np.zeros((fixed, *images.shape[1:]), np.float32)
        given[: len(images)] = images
    made = np.asarray(run(given), np.float32)
    if made.ndim == 0 or made.shape[0] != len(given) or made.size != len(given) * classes:
        raise NotRun(f"of {len(given)} images it gives {made.shape}, not {classes} numbers each")
    return made.reshape(len(given), classes)[: len(images)]


def main(argv: list[str]) -> None:
    """Answers until the parent closes its end."""
    warnings.simplefilter("ignore")
    channel, memory = socket.socket(fileno=int(argv[0])), int(argv[1])
    order = Order.parse(argv[3])
    load = {"pt2": load_pt2, "onnx": load_onnx}[order.kind]
    with os.fdopen(int(argv[2]), "rb") as file:
        content = file.read()
    if order.kind == "pt2":
        import torch.export  # noqa: F401 — it starts programs, which a confined process may not
    closed = confine(order.limits, order.memory_bytes)
    shared, pixels = mmap.mmap(memory, order.memory_bytes), int(np.prod(order.shape))
    images = np.frombuffer(shared, np.float32, order.batch * pixels)
    images = images.reshape(order.batch, *order.shape)
    scores = np.frombuffer(shared, np.float32, offset=order.image_bytes)
    scores = scores.reshape(order.batch, order.classes)
    loaded = load(content, order.limits.threads)
    scored(loaded, images.copy(), order.classes)
    send(channel, {"closed": closed}, FOREVER)
    while (message := receive(channel, FOREVER)) is not None:
        _limit_cpu(order.limits)
        count = message["images"]
        scores[:count] = scored(loaded, images[:count].copy(), order.classes)
        send(channel, {"images": count}, FOREVER)


def _limit_cpu(limits: RunnerLimits) -> None:
    """A batch that outlives its parent's patience ends by itself."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime + limits.threads * limits.wall_s
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
