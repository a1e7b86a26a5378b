"""Makes compiled networks for this processor: `vigie models compile`, which `make setup` runs.

Nothing that serves imports this.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from triage.inference.cpu import BATCHES, INDEX, NotCompiled, compiler, folder_of, open_folder
from triage.inference.devices import Autocast, EagerNetwork, fastest_precision, to_device
from triage.inference.drift import Drifted, drift, phantom_images
from triage.packages.load import PackageError, load_package

_CPU = torch.device("cpu")
_OPTIONS = {
    "freezing": True,  # weights become constants: batch norms are folded, layouts chosen now
    "cpp.dynamic_threads": True,  # any number of threads, as set when it runs
    # What calls the kernels: compiles in half the time, runs as fast.
    "aot_inductor.compile_wrapper_opt_level": "O0",
}


@dataclass(frozen=True)
class Compilation:
    """What became of one package.

    Attributes:
        drift: largest distance of a logit from eager float32.
        fresh: it was not compiled before.
        why: the reason where it failed.
    """

    package: str
    drift: float = 0.0
    fresh: bool = False
    why: str = ""


def compile_packages(folders: Sequence[Path], cache: Path) -> Iterator[Compilation]:
    """Compiles each package that is not yet; one process each, and no more than processors."""
    if compiler() is None:
        yield from (
            Compilation(
                folder.name, why="no C++ compiler (g++, or what CXX names): it will be served eager"
            )
            for folder in folders
        )
        return
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        yield from (
            Compilation(folder.name, why=f"{cache}: {error.strerror}") for folder in folders
        )
        return
    with tempfile.TemporaryDirectory(prefix="vigie-compile-") as scratch:
        # Torch's own cache is gone afterwards, and none of ours starts a pool of processes.
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": scratch, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        workers = max(1, min(len(folders), os.cpu_count() or 1))
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for folder, future in [
                (folder, pool.submit(compile_package, folder, cache)) for folder in folders
            ]:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield Compilation(folder.name, why="the compiler's process died")


def compile_package(folder: Path, cache: Path) -> Compilation:
    """Compiles one package, unless that was done."""
    torch.set_num_threads(1)
    try:
        package = load_package(folder)
        network, shape = package.load_network(), package.input.shape
        target = folder_of(cache, package.name, network, shape)
        try:
            open_folder(target, shape)
            return Compilation(package.name, json.loads((target / INDEX).read_text())["drift"])
        except NotCompiled:
            drift = compile_network(network, phantom_images(package), target)
    except (PackageError, NotCompiled, OSError) as error:
        return Compilation(folder.name, why=str(error))
    for old in cache.glob(f"{package.name}-{'?' * 32}"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return Compilation(package.name, drift, fresh=True)


def compile_network(network: torch.nn.Module, images: NDArray[np.float32], target: Path) -> float:
    """Compiles `network` into `target`, whole or not at all.

    Before, it is compared with eager float32 on `images` [n, c, h, w]. Returns the largest distance
    of a logit. Raises `NotCompiled` where the compiler failed or the distance is too large.
    """
    expected = EagerNetwork(network, _CPU)(images)
    whole = Autocast(to_device(network, _CPU), _CPU, fastest_precision(_CPU)).requires_grad_(
        requires_grad=False
    )
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as name:
        made = Path(name) / target.name
        made.mkdir(mode=0o755)
        for batch in BATCHES:
            _library(whole, torch.zeros(batch, *images.shape[1:]), made / f"{batch}.so")
        hashes = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(made.glob("*.so"))
        }
        index = {"name": target.name, "sha256": hashes}
        _write(made / INDEX, json.dumps(index))
        drift = _measure_drift(made, images, expected)
        _write(made / INDEX, json.dumps({**index, "drift": drift}))
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return drift


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o644)  # whatever the umask: what others may write is not loaded


def _library(network: torch.nn.Module, example: torch.Tensor, file: Path) -> None:
    from torch._inductor import aot_compile

    with tempfile.TemporaryDirectory(prefix="vigie-compile-") as scratch, torch.no_grad():
        exported = torch.export.export(network, (example,))
        try:
            made = aot_compile(
                exported.module(),
                (example,),
                options={**_OPTIONS, "aot_inductor.output_path": str(Path(scratch) / file.name)},
            )
        except RuntimeError as error:  # torch's own errors, the compiler's among them
            raise NotCompiled(
                f"the compiler failed: {str(error).strip().splitlines()[0][:200]}"
            ) from error
        shutil.copyfile(str(made), file)
    file.chmod(0o644)


def _measure_drift(
    folder: Path, images: NDArray[np.float32], expected: NDArray[np.float32]
) -> float:
    """Over every way in which a batch is made of the sizes that were compiled."""
    run = open_folder(folder, images.shape[1:])
    try:
        return max(
            drift(run(images[:count]), expected[:count])
            for count in {1, BATCHES[-1] - 1, BATCHES[-1], len(images)}
        )
    except Drifted as error:
        raise NotCompiled(str(error)) from error
