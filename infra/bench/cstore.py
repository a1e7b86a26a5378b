"""C-STORE until it is durable: our gateways beside dcmtk's storescp, which is made to fsync too."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from infra.bench.measure import Result, compare
from infra.bench.process import process
from infra.demo.site import make_site
from infra.embedded import MockKafka, free_port
from streams.identity.seal import new_ring

_CT = "1.2.840.10008.5.1.4.1.1.2"
_SIDE = 512  # pixels: 525 kB a slice
_ENV = {**os.environ, "TCP_NODELAY": "1"}
_SEND = ("storescu", "-aec", "VIGIE", "+sd", "127.0.0.1")
_RECEIVE = ("storescp", "-aet", "VIGIE", "-od")
_WAIT_S = 20.0


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Slices of a CT from dcmtk's storescu; each run sends slices that nobody has seen.

    Raises LookupError where dcmtk or a C compiler is missing.
    """
    for tool in ("storescu", "storescp", "cc"):
        if not shutil.which(tool):
            raise LookupError(f"{tool} is missing: apt-get install dcmtk gcc")
    count, runs = (20, runs) if quick else (100, max(3, runs // 2))
    with tempfile.TemporaryDirectory(prefix="vigie-bench-", ignore_cleanup_errors=True) as name:
        return _measured(Path(name), count, runs)


def _measured(folder: Path, count: int, runs: int) -> list[Result]:
    broker, ring = MockKafka(), new_ring()
    slices, site = _Slices(folder), make_site(folder / "site", historic=True, token="")
    with ExitStack() as stack:
        ports = []
        for number in (1, 2):
            home, port = folder / f"gateway-{number}", free_port()
            home.mkdir()
            settings = {"dicom_port": port, "mllp_port": 0, "http_port": 0, "store": home / "store"}
            settings |= {"site": site, "name": f"gateway-{number}", "store_min_free": 0}
            stack.enter_context(process("gateway", home, broker.address, ring, settings))
            ports.append(port)
        theirs = stack.enter_context(_storescp(folder))

        def rate(*senders: int) -> float:
            return slices.sent(senders, count)

        what = f"{count} slices of 525 kB a run over one association, each on the disk before its "
        what += "answer, beside storescp with an fsync before its own"
        several = "the same over two associations to two gateways, beside storescp over one"
        found = [
            compare("cstore", text, "instances/s", ours, lambda: rate(theirs), runs=runs)
            for text, ours in (
                (what, lambda: rate(ports[0])),
                (several, lambda: rate(*ports)),
            )
        ]
    broker.stop()
    return found


class _Slices:
    """Makes slices under new UIDs, and sends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series = 0

    def sent(self, ports: tuple[int, ...], count: int) -> float:
        """`count` slices to each of `ports` at once: instances a second in all."""
        folders = [self._made(count) for _ in ports]
        begun = time.perf_counter()
        senders = [
            subprocess.Popen([*_SEND, str(port), str(folder)], env=_ENV)  # noqa: S603
            for port, folder in zip(ports, folders, strict=True)
        ]
        codes = [sender.wait() for sender in senders]
        took = time.perf_counter() - begun
        for folder in folders:
            shutil.rmtree(folder)
        if any(codes):
            raise RuntimeError("storescu was refused")
        return count * len(ports) / took

    def _made(self, count: int) -> Path:
        self._series += 1
        folder = self._folder / f"series-{self._series}"
        folder.mkdir()
        for number in range(1, count + 1):
            _slice(f"1.2.3.{self._series}", number).save_as(
                folder / f"{number}.dcm", enforce_file_format=True
            )
        return folder


def _slice(series: str, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = _CT, f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", series
    dataset.PatientID, dataset.Modality, dataset.AccessionNumber = "P1", "CT", "A1"
    dataset.Rows = dataset.Columns = _SIDE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(2 * _SIDE * _SIDE)
    dataset["PixelData"].VR = "OW"
    return dataset


@contextmanager
def _storescp(folder: Path) -> Iterator[int]:
    """dcmtk's receiver on a port of its own, one process; what it keeps lies in `folder`."""
    port, kept, library = free_port(), folder / "storescp", folder / "fsync.so"
    kept.mkdir()
    with as_file(files("infra") / "bench" / "fsync_preload.c") as source:
        compiled = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
        subprocess.run(compiled, check=True)  # noqa: S603
    receiver = subprocess.Popen(  # noqa: S603
        [*_RECEIVE, str(kept), str(port)], env={**_ENV, "LD_PRELOAD": str(library)}
    )
    try:
        _listening(port)
        yield port
    finally:
        receiver.terminate()
        receiver.wait()


def _listening(port: int) -> None:
    end = time.monotonic() + _WAIT_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise LookupError("storescp did not start")
