"""The jail: bombs, loops and crashes end as a reason, within limits, and the next series is
decoded.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import signal
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from streams.errors import Reason
from triage.decoding.child import Request
from triage.decoding.headers import Limits, read_header
from triage.decoding.pixels import read_frames, stored
from triage.decoding.pool import Jail
from triage.errors import NotAnalysed

MakeCt = Callable[..., FileDataset]
SMALL = Limits(memory_bytes=1024**3, cpu_s=2, wall_s=20)


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    jail = Jail(1, SMALL)
    yield jail
    jail.close()


def save(dataset: FileDataset, path: Path) -> str:
    dataset.save_as(path, enforce_file_format=True)
    return str(path)


def refused(jail: Jail, *paths: str | Path, axial: bool = False) -> Reason:
    with pytest.raises(NotAnalysed) as error:
        jail.decode(Request(tuple(map(str, paths)), 24, axial))
    return error.value.reason


def rle(segment: bytes) -> bytes:
    """An encapsulated RLE frame of two segments (16 bits)."""
    frame = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    item = (
        struct.pack("<HHL", 0xFFFE, 0xE000, 0)
        + struct.pack("<HHL", 0xFFFE, 0xE000, len(frame))
        + frame
    )
    return item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def test_frames_of_a_series_come_sorted_thinned_and_equal_to_the_workshops(
    jail: Jail, tmp_path: Path, make_ct: MakeCt
) -> None:
    paths = [save(make_ct(z=float(-z), number=z + 1), tmp_path / f"{z}") for z in range(30)]
    frames = jail.decode(Request(tuple(paths), 24, True))
    places = [frame.position_mm for frame in frames]
    assert len(places) == 24
    assert places == sorted(places, key=float)
    assert (places[0], places[-1]) == (-29.0, 0.0)
    assert np.array_equal(frames[-1].pixels, read_frames(Path(paths[0]))[0].pixels)


def test_only_axial_slices_that_are_no_scouts_and_no_bone(
    jail: Jail, tmp_path: Path, make_ct: MakeCt
) -> None:
    scout, bone, coronal = make_ct(number=1), make_ct(number=2), make_ct(number=3)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    bone.ConvolutionKernel = "H60s"
    coronal.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    paths = [save(dataset, tmp_path / str(n)) for n, dataset in enumerate((scout, bone, coronal))]
    assert refused(jail, *paths, axial=True) is Reason.OUTSIDE_VIEW
    brain = save(make_ct(number=4, z=5.0), tmp_path / "brain")
    (frame,) = jail.decode(Request((*paths, brain), 24, True))
    assert frame.position_mm == 5.0


def test_a_broken_slice_does_not_cost_the_series(
    jail: Jail, tmp_path: Path, make_ct: MakeCt
) -> None:
    good = save(make_ct(), tmp_path / "good")
    (tmp_path / "bad").write_bytes(b"noise")
    assert len(jail.decode(Request((str(tmp_path / "bad"), good), 24, True))) == 1


def test_an_rle_bomb_is_not_inflated(jail: Jail, tmp_path: Path, make_ct: MakeCt) -> None:
    bomb = make_ct()
    bomb.Rows = bomb.Columns = 65535
    bomb.file_meta.TransferSyntaxUID = RLELossless
    bomb.PixelData = rle(b"\x81\x00" * 8)
    bomb["PixelData"].is_undefined_length = True
    path = save(bomb, tmp_path / "bomb")
    assert os.path.getsize(path) < 2000
    assert refused(jail, path) is Reason.DECODE_LIMIT
    assert psutil.Process(jail.pids()[0]).memory_info().rss < 300 * 1024**2


def test_a_deflate_bomb_is_stopped(jail: Jail, tmp_path: Path, make_ct: MakeCt) -> None:
    deflated = make_ct()
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain = save(deflated, tmp_path / "plain")
    (frame,) = jail.decode(Request((plain,), 1, True))
    assert np.array_equal(
        frame.pixels, np.frombuffer(deflated.PixelData, np.int16).reshape(64, 64) - np.float32(1024)
    )
    raw = Path(plain).read_bytes()
    start = 144 + struct.unpack_from("<L", raw, 140)[0]
    body = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 600 * 1024**2)
    bomb = b"".join(
        [body.compress(head), *(body.compress(bytes(1024**2)) for _ in range(600)), body.flush()]
    )
    (tmp_path / "bomb").write_bytes(raw[:start] + bomb)
    assert refused(jail, tmp_path / "bomb") is Reason.DECODE_LIMIT


def test_memory_is_limited(tmp_path: Path, make_ct: MakeCt) -> None:
    # 200 MB of pixels are within what a frame may have, but not within this jail's address space.
    large = make_ct()
    large.Rows = large.Columns = 10000
    large.PixelData = bytes(2 * 10000 * 10000)
    path = save(large, tmp_path / "large")
    jail = Jail(1, Limits(memory_bytes=512 * 1024**2, cpu_s=20))
    try:
        assert refused(jail, path) is Reason.DECODE_LIMIT
        assert len(jail.decode(Request((save(make_ct(), tmp_path / "small"),), 1, True))) == 1
    finally:
        jail.close()


def test_too_many_pixels_for_one_answer(
    tmp_path: Path, ct_file: FileDataset, make_ct: MakeCt
) -> None:
    jail = Jail(1, Limits(reply_bytes=64 * 64 * 4 * 2))
    try:
        paths = [save(make_ct(z=z, number=z), tmp_path / str(z)) for z in (1, 2, 3)]
        assert refused(jail, *paths) is Reason.DECODE_LIMIT
        assert len(jail.decode(Request(tuple(paths[:2]), 24, True))) == 2
    finally:
        jail.close()


def test_a_child_that_dies_or_hangs_is_replaced(tmp_path: Path, make_ct: MakeCt) -> None:
    good = save(make_ct(), tmp_path / "good")
    jail = Jail(1, Limits(wall_s=1.0))
    try:
        jail.decode(Request((good,), 1, True))
        (first,) = jail.pids()
        os.kill(first, signal.SIGSEGV)
        assert refused(jail, good) is Reason.UNDECODABLE_PIXELS
        (second,) = jail.pids()
        jail.decode(Request((good,), 1, True))
        os.kill(second, signal.SIGSTOP)  # as a decoder that loops: it does not answer
        assert refused(jail, good) is Reason.DECODE_LIMIT
        assert not psutil.pid_exists(second)
        assert len(jail.decode(Request((good,), 1, True))) == 1
    finally:
        jail.close()


def test_a_loop_runs_out_of_processor_time(tmp_path: Path, make_ct: MakeCt) -> None:
    # A named pipe nobody writes to would hang; a file of endless headers is work: 8,000 paths of a
    # large header.
    many = make_ct()
    for group in range(0x1001, 0x1801, 2):
        for element in range(0x10, 0x30):
            many.add_new((group, 0x1000 + element), "LO", "x" * 60)
    path = save(many, tmp_path / "many")
    jail = Jail(1, Limits(cpu_s=0.5, wall_s=60))
    try:
        assert refused(jail, *[path] * 4000) is Reason.DECODE_LIMIT
    finally:
        jail.close()


def test_children_have_no_secrets_and_end_with_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_KAFKA_PASSWORD", "hunter2")
    jail = Jail(2, SMALL)
    pids = jail.pids()
    assert all("hunter2" not in str(psutil.Process(pid).environ()) for pid in pids)
    jail.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_many_threads_share_the_children(jail: Jail, tmp_path: Path, make_ct: MakeCt) -> None:
    path = save(make_ct(), tmp_path / "one")
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.append(len(jail.decode(Request((path,), 1, True)))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1] * 8


def rows(corpora_dir: Path) -> list[dict[str, str]]:
    with (corpora_dir / "dicom" / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


#: pydicom reads these only when told to believe anything (no meta), or through a decoder under the
#: GPL.
_NOT_READ = re.compile(r"JLS[LN]_RGB_ILV|SC_rgb_jpeg\.dcm$")


@pytest.mark.needs("corpora")
def test_corpora_every_file_gives_frames_or_a_reason(jail: Jail, corpora_dir: Path) -> None:
    wrong = []
    for row in rows(corpora_dir):
        try:
            frames = jail.decode(Request((str(corpora_dir / "dicom" / row["file"]),), 24, False))
        except NotAnalysed as error:
            twelve_bit = (
                error.reason is Reason.NO_DECODER and row["bits_alloc_stored_signed"] == "16/12/0"
            )
            if row["pixels"] == "ok" and not twelve_bit and not _NOT_READ.search(row["file"]):
                wrong.append((row["file"], error.reason))
            continue
        if not all(
            np.isfinite(frame.pixels).all() and frame.pixels.dtype == np.float32 for frame in frames
        ):
            wrong.append((row["file"], "not finite"))
    assert wrong == []


@pytest.mark.needs("corpora")
@pytest.mark.filterwarnings("ignore")
def test_corpora_decoded_pixels_are_the_oracles(corpora_dir: Path) -> None:
    compared, differ = 0, []
    for row in rows(corpora_dir):
        # Colour goes through codecs whose roundings differ by version.
        if (
            row["pixels"] != "ok"
            or not row["photometric"].startswith("MONO")
            or _NOT_READ.search(row["file"])
        ):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                header = read_header(corpora_dir / "dicom" / row["file"], Limits())
                arrays = list(stored(header, range(header.frames)))
            except NotAnalysed:
                continue
        whole = np.stack(arrays) if header.frames > 1 else arrays[0]
        compared += 1
        # The oracle kept the sender's byte order; a stack and what was masked are in ours.
        orders = (whole, whole.astype(whole.dtype.newbyteorder(">")))
        if row["pixel_sha12"] not in {
            hashlib.sha256(array.tobytes()).hexdigest()[:12] for array in orders
        }:
            differ.append(row["file"])
    assert compared > 100
    assert differ == []
