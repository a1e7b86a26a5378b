"""Screening and decoding beside the bare network and the bare codec: the two sides that ``vigie
bench`` compares.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_j2k
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from torch.utils.flop_counter import FlopCounterMode

from triage.bench.stage_times import film
from triage.decoding.child import Request
from triage.decoding.frames import Frame
from triage.decoding.pool import Jail
from triage.inference.batch import BUCKETS
from triage.inference.compile import phantom_images
from triage.inference.devices import Eager, has_bf16, pick_device
from triage.inference.network import Screener, runner
from triage.inference.queue import Forward, Scores
from triage.inputs.prepare import resize
from triage.packages.load import Package, find_packages, load_package
from triage.packages.loaded import load_residents
from triage.phantoms.images import chest_film, head_ct
from triage.settings import TriageSettings
from triage.worker.series import Analyst, Resident, make_threads

_SLICES, _CT, _FILM = 12, 512, 512  # pixels along a side, as the jail hands them over
_AHEAD = 2  # series that are prepared at once
_MATRIX, _PRODUCTS = 2048, 4
_SIDE = 256  # what the networks' inputs are resized to, about


@dataclass(frozen=True)
class Pair:
    """Two ways to do one thing; each call does it once and returns its rate in `unit`."""

    what: str
    unit: str
    ours: Callable[[], float]
    reference: Callable[[], float]


@contextmanager
def screening(*, quick: bool) -> Iterator[list[Pair]]:
    """For each package of the site: the agent's way from decoded frames to verdicts, without Kafka,
    beside its bare network.

    Raises LookupError when there is no package.
    """
    settings = TriageSettings()
    residents, _ = load_residents(settings)
    if not residents:
        raise LookupError(
            f"no model package is in {settings.models}: VIGIE_MODELS names another folder"
        )
    folders = {
        package.name: folder
        for folder in find_packages(settings.models)
        if (package := load_package(folder))
    }
    with make_threads(settings.decoders) as threads:
        yield [_screen(one, folders[one.name], settings, threads, quick) for one in residents]


def _screen(
    resident: Resident,
    folder: Path,
    settings: TriageSettings,
    threads: ThreadPoolExecutor,
    quick: bool,
) -> Pair:
    series = (
        4 if quick else 48 if resident.axial else 320
    )  # some seconds: the first ones wait for an empty house
    studies = _frames(resident.axial, 2)
    images = np.concatenate([resident.prepare(study) for study in studies])
    sizes: list[int] = []

    def noted(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(batch))
        return resident.network(batch)

    def ours() -> float:
        sizes.clear()
        started = time.perf_counter()
        asyncio.run(_agent(replace(resident, network=noted), studies, threads, series))
        return sum(sizes) / (time.perf_counter() - started)

    bare = _bare(folder, settings)

    def reference() -> float:
        """The very batches of ours, prepared beforehand."""
        started = time.perf_counter()
        for size in sizes:
            bare(images[np.arange(size) % len(images)])
        return sum(sizes) / (time.perf_counter() - started)

    return Pair(
        f"{resident.name}: decoded frames to verdicts beside the bare network, same batches",
        "images/s",
        ours,
        reference,
    )


async def _agent(
    resident: Resident, studies: Sequence[list[Frame]], threads: ThreadPoolExecutor, series: int
) -> None:
    """`series` series through the analyst, let in as `Flow` does: prepared ahead of the network,
    but not by more than a batch.
    """
    turn = itertools.cycle(studies)
    forward = Forward({resident.name: resident.network}, urgent=-1, at_once=resident.at_once)
    analyst = Analyst(
        [resident],
        lambda _request: next(turn),
        forward,
        _nowhere,
        threads,
        lambda: datetime.now(UTC),
    )
    slots, taken, request = (
        asyncio.Semaphore(_AHEAD),
        asyncio.Event(),
        Request((), resident.most, resident.axial),
    )
    forward.taken = taken.set
    running = asyncio.create_task(forward.run())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(series):
                await slots.acquire()
                while forward.waiting >= BUCKETS[-1]:
                    taken.clear()
                    await taken.wait()
                group.create_task(analyst.screen(resident, request, 1, slots.release))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _nowhere(_reference: str, _name: str) -> Path:
    return Path()


def _frames(axial: bool, studies: int) -> list[list[Frame]]:
    rng = np.random.default_rng(1)
    if axial:
        heads = [head_ct(rng, None, _SLICES, _CT).astype(np.float32) for _ in range(studies)]
        return [[Frame(pixels, "hu", 5.0 * at) for at, pixels in enumerate(head)] for head in heads]
    return [
        [Frame((chest_film(rng, False, _FILM) / 4095).astype(np.float32), "display")]
        for _ in range(studies)
    ]


def _bare(folder: Path, settings: TriageSettings) -> Scores:
    """The network that we serve, called by somebody who only wants the scores: no queue, no
    threads, no metrics.
    """
    package, device = load_package(folder), pick_device(settings.device)
    return runner(package, package.input.shape, device, settings.compiled, bf16=has_bf16(device))[0]


@contextmanager
def model(*, quick: bool) -> Iterator[list[Pair]]:
    """For each package of the site: its network as it is served, beside itself in eager float32
    (how far apart they are is said), and beside a bare matrix product in the same precision: the
    processor's limit.

    Raises LookupError when there is no package.
    """
    settings = TriageSettings()
    torch.set_num_threads(settings.torch_threads)
    packages = [load_package(folder) for folder in find_packages(settings.models)]
    if not packages:
        raise LookupError(
            f"no model package is in {settings.models}: VIGIE_MODELS names another folder"
        )
    yield [pair for package in packages for pair in _model(package, settings, 1 if quick else 2)]


def _model(package: Package, settings: TriageSettings, rounds: int) -> list[Pair]:
    served = Screener(
        package, package.input.shape, device=settings.device, compiled=settings.compiled
    )
    exact = Eager(package.load_network(), pick_device(settings.device), bf16=False)
    seen = phantom_images(package)
    drift = float(np.abs(served.scores(seen) - exact(seen)).max())
    batch = seen[np.arange(BUCKETS[-1]) % len(seen)]

    def rate(network: Scores) -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            network(batch)
        return rounds * len(batch) / (time.perf_counter() - started)

    work = _operations(exact, seen[:1])
    what = f"{package.name}: served ({served.mode}) beside"
    return [
        Pair(
            f"{what} eager float32, batches of {len(batch)}; logits within {drift:.2g}",
            "images/s",
            lambda: rate(served.scores),
            lambda: rate(exact),
        ),
        Pair(
            f"{what} a bare matrix product of that precision, {work / 1e9:.3g} GFLOP each image",
            "GFLOP/s",
            lambda: rate(served.scores) * work / 1e9,
            lambda: _product(pick_device(settings.device)) / 1e9,
        ),
    ]


def _operations(network: Scores, image: NDArray[np.float32]) -> int:
    """Floating-point operations of the convolutions and products for one image; two for a
    multiplication with its addition.
    """
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


@torch.inference_mode()
def _product(device: torch.device) -> float:
    """Floating-point operations a second."""
    a, b = torch.randn(
        2,
        _MATRIX,
        _MATRIX,
        device=device,
        dtype=torch.bfloat16 if has_bf16(device) else torch.float32,
    )
    started = time.perf_counter()
    for _ in range(_PRODUCTS):
        a = a @ b
        a *= 1 / _MATRIX  # stays finite
    if device.type == "cuda":
        torch.cuda.synchronize()
    return _PRODUCTS * 2 * _MATRIX**3 / (time.perf_counter() - started)


@contextmanager
def decode(*, quick: bool) -> Iterator[list[Pair]]:
    """One jailed process, files to resized frames in their unit: JPEG 2000 beside the bare codec,
    uncompressed beside a read.
    """
    with tempfile.TemporaryDirectory(prefix="vigie-bench-") as name:
        folder, slices = Path(name), 4 if quick else 24
        head = head_ct(np.random.default_rng(1), None, slices, _CT)
        uid = generate_uid()
        raw = [_write(folder, pixels, at, uid, compressed=False) for at, pixels in enumerate(head)]
        j2k = [_write(folder, pixels, at, uid, compressed=True) for at, pixels in enumerate(head)]
        films = [folder / f"film{seed}" for seed in range(1 if quick else 4)]
        for seed, path in enumerate(films):
            path.write_bytes(film(seed, _FILM))
        jail = Jail(1)
        try:
            yield [
                Pair(
                    "JPEG 2000 lossless, 512² CT: jail, unit and resize, beside the bare codec; one process each",
                    "frames/s",
                    lambda: _jailed(jail, [file for file, _ in j2k]),
                    lambda: _codec([stream for _, stream in j2k]),
                ),
                Pair(
                    "uncompressed, 512² CT: jail, unit and resize, beside reading the files",
                    "frames/s",
                    lambda: _jailed(jail, [file for file, _ in raw]),
                    lambda: _read([file for file, _ in raw]),
                ),
                Pair(
                    "uncompressed, 2048² film: jail, reduced, window and resize, beside reading the files",
                    "frames/s",
                    lambda: _films(jail, films),
                    lambda: _read(films),
                ),
            ]
        finally:
            jail.close()


def _write(
    folder: Path, pixels: NDArray[np.int16], at: int, series: str, *, compressed: bool
) -> tuple[Path, bytes]:
    """One slice as a file; with it its pixel data alone."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = (
        CTImageStorage,
        generate_uid(),
        series,
    )
    one.Modality, one.RescaleSlope, one.RescaleIntercept = "CT", 1, -1024
    one.Rows, one.Columns = pixels.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 5 * at], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.InstanceNumber = [0.5, 0.5], at + 1
    one.PixelData = (pixels.astype(np.int32) + 1024).clip(0, 4095).astype("<u2").tobytes()
    stream = one.PixelData
    if compressed:
        one.compress(JPEG2000Lossless, generate_instance_uid=False)
        stream = next(generate_frames(one.PixelData, number_of_frames=1))
    file = folder / f"{'j2k' if compressed else 'raw'}{at}.dcm"
    one.save_as(file, enforce_file_format=True)
    return file, stream


def _jailed(jail: Jail, files: Sequence[Path]) -> float:
    started = time.perf_counter()
    frames = jail.decode(Request(tuple(map(str, files)), len(files), False))
    for frame in frames:
        resize(frame.pixels, _SIDE, _SIDE)
    if len(frames) != len(files):
        raise LookupError("the jail left a frame of the bench out")
    return len(frames) / (time.perf_counter() - started)


def _films(jail: Jail, files: Sequence[Path]) -> float:
    """One series each, as films come."""
    started = time.perf_counter()
    for file in files:
        (frame,) = jail.decode(Request((str(file),), 1, False, 2 * _SIDE))
        resize(frame.pixels, _SIDE, _SIDE)
    return len(files) / (time.perf_counter() - started)


def _codec(streams: Sequence[bytes]) -> float:
    started = time.perf_counter()
    for stream in streams:
        decode_j2k(stream)
    return len(streams) / (time.perf_counter() - started)


def _read(files: Sequence[Path]) -> float:
    started = time.perf_counter()
    for file in files:
        np.frombuffer(file.read_bytes(), dtype=np.uint8).copy()
    return len(files) / (time.perf_counter() - started)
