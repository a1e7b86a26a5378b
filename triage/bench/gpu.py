"""A GPU before it serves, checked part by part: ``python -m triage.bench.gpu --json FILE``.

Each check prints one line, *pass* or *FAIL*, and what it measured; the exit code is 1 where one
failed. On a machine without a GPU those that need none run, and the others say so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streams.errors import VigieError
from triage.bench.limits import copied, moved, operations, product
from triage.bench.screening_files import series_files
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.inference.batch import BUCKETS
from triage.inference.cuda import GraphedNetwork, Slot, folded
from triage.inference.devices import Autocast, EagerNetwork, fastest_precision, name_of, to_device
from triage.inference.drift import MAX_DRIFT, phantom_images
from triage.inference.network import Screener
from triage.inference.queue import Scores
from triage.packages.load import Package, find_packages, load_package
from triage.settings import shipped_models

_CPU, _CUDA = torch.device("cpu"), torch.device("cuda", 0)
_CHILD_S = 60.0  # a process that imports torch, and starts CUDA
_BATCH = BUCKETS[-1]
#: Whether all is well, and what was measured.
Check = Callable[[], tuple[bool, dict[str, Any]]]
#: Loses the device as a failed assertion in a kernel does, then asks for scores.
_LOSES_IT = """
import numpy as np, torch
from pathlib import Path
from streams.errors import Stop
from triage.inference.network import Screener
from triage.packages.load import find_packages, load_package
from triage.settings import shipped_models
package = load_package(find_packages(shipped_models())[0])
served = Screener(package, package.input.shape, device="cuda")
images = np.zeros((4, *package.input.shape), dtype=np.float32)
served.scores(images)
try:
    torch.zeros(4, device="cuda")[torch.tensor([99], device="cuda")].sum().item()
except RuntimeError as error:
    print(type(error).__name__)
try:
    print(served.scores(images))
except Stop as error:
    print("stop", error)
"""
_OTHER_DEVICE = """
from streams.errors import Misconfigured
from triage.inference.devices import pick_device
print(pick_device("auto"))
try:
    pick_device("cuda:9")
except Misconfigured as error:
    print("refused", error)
"""


@dataclass
class Report:
    """What the checks found, printed as they end."""

    until: float
    device: torch.device
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        """Seconds until all has to be over."""
        return self.until - time.monotonic()

    def check(self, name: str, work: Check) -> None:
        """Runs `work`, which says whether all is well, and what it measured."""
        if self.left_s <= 0:
            self._note(name, None, {"why": "no time was left"}, 0.0)
            return
        begun = time.monotonic()
        try:
            well, facts = work()
        except (
            VigieError,
            RuntimeError,
            ValueError,
            OSError,
            subprocess.SubprocessError,
        ) as error:
            well, facts = False, {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        self._note(name, well, facts, time.monotonic() - begun)

    def _note(self, name: str, well: bool | None, facts: dict[str, Any], took_s: float) -> None:
        word = {True: "pass", False: "FAIL", None: "not run"}[well]
        self.checks.append({"check": name, "result": word, "seconds": round(took_s, 2), **facts})
        sys.stdout.write(f"{word:8}{name} ({took_s:.1f} s) {json.dumps(facts)}\n")
        sys.stdout.flush()


def _start(device: torch.device) -> tuple[bool, dict[str, Any]]:
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "precision": name_of(fastest_precision(device)),
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        facts |= {
            "name": about.name,
            "memory": about.total_memory,
            "sm": about.multi_processor_count,
        }
    return device.type == "cuda", facts


def _drifts(package: Package, device: torch.device) -> tuple[bool, dict[str, Any]]:
    """Of each precision; the one that is served has to be within the bound."""
    seen = phantom_images(package)
    exact = EagerNetwork(package.load_network(), _CPU)(seen)
    facts: dict[str, Any] = {
        "images": len(seen),
        "logits": [float(exact.min()), float(exact.max())],
    }
    near = False
    for precision in (torch.float32, torch.bfloat16, torch.float16):
        logits = EagerNetwork(package.load_network(), device, precision)(seen)
        apart = np.abs(logits - exact)
        facts[name_of(precision)] = float(apart.max())
        if precision == fastest_precision(device):
            near = bool((apart <= MAX_DRIFT * (1 + np.abs(exact))).all())
    return near, facts


def _graphs(package: Package, device: torch.device) -> tuple[bool, dict[str, Any]]:
    """Replayed graphs give the eager logits in every bucket, and whatever lay there before."""
    precision = fastest_precision(device)
    begun = time.monotonic()
    graphed = GraphedNetwork(
        package.load_network(), package.input.shape, device, BUCKETS, precision
    )
    took_s = time.monotonic() - begun
    eager = EagerNetwork(package.load_network(), device, precision)
    images = _images(package, 2 * _BATCH + 1)
    worst = 0.0
    for count in (*BUCKETS, 3, 63, len(images), 1):
        worst = max(worst, float(np.abs(graphed(images[:count]) - eager(images[:count])).max()))
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda at: graphed(images[at : at + 43]), range(0, 129, 43)))
    expected = eager(images)
    together = float(np.abs(np.concatenate(parts) - expected).max())
    return max(worst, together) <= 0.05, {
        "apart": worst,
        "apart_from_threads": together,
        "buckets": graphed.buckets,
        "slots": graphed.slots,
        "captured_s": round(took_s, 2),
        "device_memory": torch.cuda.max_memory_allocated(device),
    }


def _out_of_memory(package: Package, device: torch.device) -> tuple[bool, dict[str, Any]]:
    """With little memory graphs are fewer and smaller, and every image still has its score."""
    shape, precision = package.input.shape, fastest_precision(device)
    images = _images(package, 200)
    expected = EagerNetwork(package.load_network(), device, precision)(images)
    facts: dict[str, Any] = {}
    well = True
    for mib in (1024, 256, 128, 64):
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        used = torch.cuda.memory_reserved(device)
        torch.cuda.set_per_process_memory_fraction((used + mib * 2**20) / total, device)
        try:
            graphed = GraphedNetwork(package.load_network(), shape, device, BUCKETS, precision)
            apart = float(np.abs(graphed(images) - expected).max())
            facts[f"{mib} MiB"] = {
                "largest": graphed.buckets[-1],
                "slots": graphed.slots,
                "apart": apart,
            }
            well = well and apart <= 0.05
            del graphed
        except torch.OutOfMemoryError as error:
            facts[f"{mib} MiB"] = f"refused: {error}"[:80]
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    torch.cuda.empty_cache()
    smaller = any(isinstance(one, dict) and one["largest"] < _BATCH for one in facts.values())
    served = Screener(package, shape, device="cuda:0")
    apart = float(np.abs(served.scores(images) - expected).max())
    return well and smaller and apart <= 0.05, {**facts, "afterwards": apart, "mode": served.mode}


def _two_slots(package: Package, device: torch.device) -> tuple[bool, dict[str, Any]]:
    """Two batches at once are sooner through than one after the other."""
    graphed = GraphedNetwork(
        package.load_network(), package.input.shape, device, BUCKETS, fastest_precision(device)
    )
    images = _images(package, _BATCH)
    rates = {}
    for threads in (1, 2):
        rates[threads] = _rate([graphed] * threads, images, 2.0)
    return rates[2] >= rates[1], {
        "one_thread": round(rates[1]),
        "two_threads": round(rates[2]),
        "ratio": round(rates[2] / rates[1], 3),
        "replayed": round(_device_alone(package, device, fold=True)),
        "replayed_unfolded": round(_device_alone(package, device, fold=False)),
    }


def _device_alone(package: Package, device: torch.device, *, fold: bool) -> float:
    """Images a second of one slot's graph, replayed without a word from the host."""
    precision = fastest_precision(device)
    network = package.load_network()
    network = to_device(folded(network, precision) if fold else network, device)
    slot = Slot(Autocast(network, device, precision), package.input.shape, BUCKETS, device)
    slot.run(_BATCH)
    begun = time.perf_counter()
    for _ in range(100):
        slot.graphs[_BATCH].replay()
    torch.cuda.synchronize(device)
    return 100 * _BATCH / (time.perf_counter() - begun)


def _rate(
    networks: Sequence[Scores],
    images: NDArray[np.float32],
    seconds: float,
) -> float:
    """Images a second of all `networks` at once, a thread each."""
    until = time.perf_counter() + seconds

    def work(network: Scores) -> int:
        done = 0
        while time.perf_counter() < until:
            done += len(network(images))
        return done

    begun = time.perf_counter()
    with ThreadPoolExecutor(len(networks)) as threads:
        done = sum(threads.map(work, networks))
    return done / (time.perf_counter() - begun)


def _sustained(
    package: Package, device: torch.device, seconds: float
) -> tuple[bool, dict[str, Any]]:
    """What is served, called as the queue's threads call it, for `seconds`."""
    served = Screener(package, package.input.shape, device=str(device))
    images = _images(package, _BATCH)
    rate = _rate([served.scores] * served.concurrent_batches, images, seconds)
    precision = fastest_precision(device)
    eager = EagerNetwork(package.load_network(), device, precision)
    bytes_each, work = moved(eager, images), operations(eager, images[:1])
    limit, fastest = copied(device), product(device, precision)
    finite = bool(np.isfinite(served.scores(images)).all())
    return finite and device.type in served.mode, {
        "mode": served.mode,
        "images_per_s": round(rate),
        "bytes_per_image": round(bytes_each),
        "copy_gb_per_s": round(limit / 1e9, 1),
        "share_of_memory_limit": round(rate * bytes_each / limit, 3),
        "flop_per_image": work,
        "product_tflop_per_s": round(fastest / 1e12, 1),
        "share_of_product": round(rate * work / fastest, 3),
        "seconds": seconds,
    }


def _fed(package: Package, device: torch.device, seconds: float) -> tuple[bool, dict[str, Any]]:
    """Decoders, one for each processor but two, feed the device: what scoring costs them."""
    served = Screener(package, package.input.shape, device=str(device))
    count = max(1, (os.cpu_count() or 2) - 2)
    wanted = replace(package.wanted, input=package.input.model_dump(mode="json"))
    with (
        tempfile.TemporaryDirectory(prefix="vigie-gpu-") as name,
        closing(DecoderPool(count)) as jail,
    ):
        request = Request(tuple(map(str, series_files(package.input, Path(name)))), wanted)

        def decode(_: object = None) -> NDArray[np.float32]:
            images = jail.decode(request).images
            return np.empty(0, np.float32) if images is None else images

        alone = _rate([decode] * count, np.empty(0, np.float32), seconds)
        scored = _rate(
            [lambda _: served.scores(decode())] * count, np.empty(0, np.float32), seconds
        )
    return scored >= 0.8 * alone, {
        "decoders": count,
        "decoded_images_per_s": round(alone),
        "scored_images_per_s": round(scored),
        "ratio": round(scored / alone, 3),
    }


def _images(package: Package, count: int) -> NDArray[np.float32]:
    seen = phantom_images(package)
    return seen[np.arange(count) % len(seen)]


def _child(code: str, *, wanted: str) -> tuple[bool, dict[str, Any]]:
    done = subprocess.run(  # noqa: S603 — our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=_CHILD_S, check=False
    )
    said = (done.stdout + done.stderr[-300:]).strip()
    return wanted in done.stdout, {"said": said[-400:], "exit": done.returncode}


def main(argv: Sequence[str]) -> int:
    """Runs the checks; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="the results as a file, renewed after each check")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds for all")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each sustained run")
    parser.add_argument("--only", default="", help="checks whose name has this in it")
    parser.add_argument("--models", type=Path, default=shipped_models())
    wanted = parser.parse_args(argv)
    device = _CUDA if torch.cuda.is_available() else _CPU
    report = Report(time.monotonic() + wanted.limit, device)
    packages = [load_package(folder) for folder in find_packages(wanted.models)]
    for name, work in _checks(packages, device, wanted.seconds):
        if wanted.only not in name:
            continue
        report.check(name, work)
        if wanted.json:
            wanted.json.write_text(json.dumps(report.checks, indent=1))
    return int(any(one["result"] == "FAIL" for one in report.checks))


def _checks(
    packages: Sequence[Package], device: torch.device, seconds: float
) -> Iterator[tuple[str, Check]]:
    yield "the device", partial(_start, device)
    yield "a device that is not here is refused", partial(_child, _OTHER_DEVICE, wanted="refused")
    for package in packages:
        yield f"{package.name}: drift", partial(_drifts, package, device)
        yield f"{package.name}: graphs", partial(_graphs, package, device)
    yield "two slots", partial(_two_slots, packages[0], device)
    yield "out of memory", partial(_out_of_memory, packages[0], device)
    for package in packages:
        yield f"{package.name}: sustained", partial(_sustained, package, device, seconds)
    for package in packages:
        yield f"{package.name}: fed by the jail", partial(_fed, package, device, seconds / 4)
    yield "a lost device ends the process", partial(_child, _LOSES_IT, wanted="stop")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
