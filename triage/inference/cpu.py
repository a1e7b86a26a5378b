"""Networks compiled ahead of time for this processor: found, checked, run.

`vigie models compile` makes them (`compile`); nothing here compiles. One folder for each package
and key holds a shared library for each batch size and `index.json` with their hashes. A library is
code, not data: it is loaded only if it belongs to us or to root, nobody else may write there, and
its hash is the one that was noted when it was made. It never comes with a package.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import os
import shutil
import stat
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from triage.inference.devices import cpu_flags, fastest_precision

#: Any batch is made of these: 8 is as fast per image as 64, and each takes its time to compile.
BATCHES = (1, 8)
_PADDED_FROM = 6  # so many images are sooner through as a padded 8 than one by one
INDEX = "index.json"
_TORCH = Path(torch.__file__).parent
_CPU = torch.device("cpu")


class NotCompiled(Exception):
    """There is no compiled network that may be used; the text says why, in a few words."""


def compiler() -> str | None:
    """The C++ compiler that torch would use, or None."""
    return shutil.which(os.environ.get("CXX", "g++"))


def key(network: torch.nn.Module, shape: tuple[int, ...]) -> str:
    """Names all that a compiled network depends on.

    That is: weights, architecture, torch, processor, precision, sizes, and our own code.
    """
    sha = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().cpu().numpy().tobytes())
    sources = {inspect.getsourcefile(type(module)) or "" for module in network.modules()}
    own = [path for source in sources if source and _TORCH not in (path := Path(source)).parents]
    for path in sorted(own) + [
        Path(__file__).with_name(name) for name in ("compile.py", "devices.py")
    ]:
        sha.update(path.read_bytes())
    about = [
        repr(network),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        sorted(cpu_flags()),
        str(fastest_precision(_CPU)),
        BATCHES,
        shape,
    ]
    sha.update(json.dumps(about).encode())
    return sha.hexdigest()


def folder_of(cache: Path, package: str, network: torch.nn.Module, shape: tuple[int, ...]) -> Path:
    """Where the compiled `network` of `package` lies, or would."""
    return cache / f"{package}-{key(network, shape)[:32]}"


def _trusted(path: Path) -> bool:
    about = path.lstat()
    return (
        not stat.S_ISLNK(about.st_mode)
        and about.st_uid in (0, os.geteuid())
        and not about.st_mode & 0o022
    )


def load_compiled(
    cache: Path, package: str, network: torch.nn.Module, shape: tuple[int, ...]
) -> CompiledNetwork:
    """The compiled `network` of `package`. Raises `NotCompiled`."""
    folder = folder_of(cache, package, network, shape)
    if not folder.is_dir():
        raise NotCompiled("not compiled: vigie models compile" if compiler() else "no C++ compiler")
    return open_folder(folder, shape)


def open_folder(folder: Path, shape: tuple[int, ...]) -> CompiledNetwork:
    """The libraries in `folder`, checked and loaded. Raises `NotCompiled`."""
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text())
        files = {batch: folder / f"{batch}.so" for batch in BATCHES}
        if not all(map(_trusted, (folder, folder / INDEX, *files.values()))):
            raise NotCompiled("others may write to the compiled network")
        found = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()
        }
        if (index["name"], index["sha256"]) != (folder.name, found):
            raise NotCompiled("the compiled network is not the one that was made")
        return CompiledNetwork(files, shape)
    except (OSError, ValueError, KeyError) as error:
        raise NotCompiled(
            f"the compiled network cannot be loaded: {type(error).__name__}"
        ) from error


class CompiledNetwork:
    """The network as machine code: float32 [n, c, h, w] to float32 [n], or [n, columns]; n ≥ 1.

    Called through the C interface that AOTInductor exports: torch's own binding keeps Python's lock
    while it runs, and decoding and preparing would stand still. Any number of threads may call;
    they take turns.
    """

    def __init__(self, files: dict[int, Path], shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._torch = ctypes.CDLL(str(_TORCH / "lib" / "libtorch_cpu.so"))
        self._models = {batch: self._open(file) for batch, file in files.items()}

    def _open(self, file: Path) -> tuple[Any, ctypes.c_void_p]:
        library, container = ctypes.CDLL(str(file)), ctypes.c_void_p()
        create = library.AOTInductorModelContainerCreateWithDevice
        if create(ctypes.byref(container), ctypes.c_size_t(1), ctypes.c_char_p(b"cpu"), None):
            raise OSError(f"{file.name} does not start")
        weakref.finalize(self, library.AOTInductorModelContainerDelete, container)
        return library.AOTInductorModelContainerRun, container

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it gives; none that is a number of an image that is not finite.

        Raises RuntimeError when the code fails.
        """
        # OpenMP counts per thread: without this, one that is new to torch takes all processors.
        torch.get_num_threads()
        batch = np.ascontiguousarray(batch, dtype=np.float32)
        parts, at, large = list[NDArray[np.float32]](), 0, BATCHES[-1]
        while (left := len(batch) - at) > 0:
            size = large if left >= _PADDED_FROM else BATCHES[0]
            part = batch[at : at + size]
            if len(part) < size:
                part = np.concatenate(
                    [part, np.zeros((size - len(part), *self._shape), dtype=np.float32)]
                )
            count = min(size, left)
            parts.append(self._run(part)[:count])
            at += count
        out = np.concatenate(parts)
        # A fused ReLU takes what is not a number for 0.
        out[~np.isfinite(batch.reshape(len(batch), -1).sum(axis=1))] = np.nan
        return out

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        run, container = self._models[len(images)]
        given, made = self._tensor(images), ctypes.c_void_p()
        # It takes `given` over; `made` is ours.
        if run(
            container,
            ctypes.byref(given),
            ctypes.c_size_t(1),
            ctypes.byref(made),
            ctypes.c_size_t(1),
            None,
            None,
        ):
            raise RuntimeError("the compiled network failed")
        try:
            place, numbers = ctypes.c_void_p(), ctypes.c_int64()
            self._check(self._torch.aoti_torch_get_data_ptr(made, ctypes.byref(place)))
            self._check(self._torch.aoti_torch_get_numel(made, ctypes.byref(numbers)))
            columns = numbers.value // len(images)
            shape = (len(images),) if columns == 1 else (len(images), columns)
            return np.ctypeslib.as_array(
                ctypes.cast(place, ctypes.POINTER(ctypes.c_float)), shape
            ).copy()
        finally:
            self._torch.aoti_torch_delete_tensor_object(made)

    def _tensor(self, images: NDArray[np.float32]) -> ctypes.c_void_p:
        """A tensor over the memory of `images`, which has to outlive it."""
        sizes = (ctypes.c_int64 * 4)(*images.shape)
        strides = (ctypes.c_int64 * 4)(*(step // images.itemsize for step in images.strides))
        made, torch_ = ctypes.c_void_p(), self._torch
        kind, device = torch_.aoti_torch_dtype_float32(), torch_.aoti_torch_device_type_cpu()
        memory, dimensions = ctypes.c_void_p(images.ctypes.data), ctypes.c_int64(4)
        about = (memory, dimensions, sizes, strides, ctypes.c_int64(0), kind, device, 0)
        self._check(torch_.aoti_torch_create_tensor_from_blob(*about, ctypes.byref(made)))
        return made

    @staticmethod
    def _check(error: int) -> None:
        if error:
            raise RuntimeError("the compiled network failed")
