"""The jail holds: no answer is believed, no slot is lost, no folder nearby is imported."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from streams.errors import Reason, Unavailable
from triage.decoding import pool
from triage.decoding.image_header import read_header, why_unread
from triage.decoding.limits import Limits
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request, Wanted
from triage.errors import NotAnalysed
from triage.inputs.prepare import prepare
from triage.packages.load import load_package
from triage.settings import shipped_models

MakeCt = Callable[..., FileDataset]
AXIAL = Wanted(axial=True)

#: A decoder that says what it is told to, whatever it is asked.
LIAR = """
import os, socket, struct, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
def say(body):
    channel.sendall(struct.pack("<I", len(body)) + body)
say(b'{"ready": true}')
channel.recv(1 << 20)
os.write(int(sys.argv[2]), bytes(64))
exec(sys.argv[3])
time.sleep(60)
"""
READ = '"read": {"read": 1, "there": 1}'
FRAME = (
    '{"unit": "hu", "position_mm": 0.0, "stack": 0, "side_mm": null, "file": 0, '
    '"body_mm": null, "skull": false, "cut": false}'
)
#: It ends over a file, again and again.
DIES = "os.pwrite(int(sys.argv[2]), struct.pack('<8sii', b'is here:', {file}, 0), 0); os._exit(1)"


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    made = DecoderPool(1, Limits(wall_s=30))
    yield made
    made.close()


def answer(arrays: str = "[[4, 4]]", frame: str = FRAME, read: str = READ) -> str:
    return f"say(b'''{{\"arrays\": {arrays}, \"frames\": [{frame}], {read}}}''')"


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., DecoderPool]]:
    """A pool of one decoder that runs what it is given in place of an answer."""
    pools: list[DecoderPool] = []

    def make(code: str, wall_s: float = 2.0) -> DecoderPool:
        def start(_limits: Limits, channel: int, memory: int) -> subprocess.Popen[bytes]:
            program = [sys.executable, "-I", "-c", LIAR, str(channel), str(memory), code]
            return subprocess.Popen(program, pass_fds=(channel, memory))

        monkeypatch.setattr(pool, "_start", start)
        pools.append(DecoderPool(1, Limits(reply_bytes=1 << 20, wall_s=wall_s)))
        return pools[-1]

    yield make
    for one in pools:
        one.close()


def test_an_answer_as_ours_is_taken(lying: Callable[..., DecoderPool]) -> None:
    (frame,) = lying(answer()).decode(Request(("a",))).frames
    assert frame.pixels.tolist() == [[0.0] * 4] * 4


@pytest.mark.parametrize(
    "code",
    [
        answer("[[4, 8]]"),
        answer("[[-4, -4]]"),
        answer("[[4, 4.5]]"),
        answer("[[99999, 99999]]"),
        answer("[[4, 4], [4, 4]]"),
        answer("[]"),
        answer("null"),
        answer(frame=FRAME.replace("hu", "nice")),
        answer(frame=FRAME.replace("0.0", "NaN")),
        answer(frame=FRAME.replace("0.0", "1e999")),
        answer(frame=FRAME.replace('"file": 0', '"file": 7')),
        answer(frame=FRAME.replace('"stack": 0, ', "")),
        answer(read='"read": {"read": "all"}'),
        "say(b'{}')",
        "say(b'[]')",
        "say(b'no JSON')",
        'say(b\'{"reason": "because"}\')',
        "channel.sendall(struct.pack('<I', 2**32 - 1))",
        f"os.ftruncate(int(sys.argv[2]), 0); {answer()}",
        DIES.format(file=7),
        DIES.format(file=0),
    ],
)
def test_a_decoder_that_lies_is_ended_and_its_series_not_analysed(
    lying: Callable[..., DecoderPool], code: str
) -> None:
    decoders = lying(code)
    (first,) = decoders.pids()
    with pytest.raises(NotAnalysed) as refused:
        decoders.decode(Request(("a",)))
    assert refused.value.reason is Reason.UNDECODABLE_PIXELS
    assert decoders.pids() != [first]


def test_an_answer_that_drips_runs_out_of_time(lying: Callable[..., DecoderPool]) -> None:
    drips = "[(channel.sendall(b'\\x01'), time.sleep(0.1)) for _ in range(100)]"
    with pytest.raises(NotAnalysed) as refused:
        lying(drips, 0.5).decode(Request(("a",)))
    assert refused.value.reason is Reason.DECODE_LIMIT


def test_a_decoder_that_cannot_be_started_costs_no_slot(
    decoders: DecoderPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_ct: MakeCt
) -> None:
    make_ct().save_as(tmp_path / "good", enforce_file_format=True)
    good = Request((str(tmp_path / "good"),), AXIAL)
    decoders.decode(good)

    def fails(*_: object) -> subprocess.Popen[bytes]:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    (first,) = decoders.pids()
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_start", fails)
        os.kill(first, 9)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        for _ in range(3):
            with pytest.raises(Unavailable):
                decoders.decode(good)
    assert len(decoders.decode(good).frames) == 1


def test_nothing_is_imported_from_where_it_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_ct: MakeCt
) -> None:
    make_ct().save_as(tmp_path / "good", enforce_file_format=True)
    for name in ("pydicom", "dl", "json", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    decoders = DecoderPool(1, Limits(wall_s=20))
    try:
        assert len(decoders.decode(Request((str(tmp_path / "good"),), AXIAL)).frames) == 1
    finally:
        decoders.close()


def test_a_decoder_is_closed_off_before_it_reads_anything(
    decoders: DecoderPool, tmp_path: Path, make_ct: MakeCt
) -> None:
    make_ct().save_as(tmp_path / "good", enforce_file_format=True)
    decoders.decode(Request((str(tmp_path / "good"),), AXIAL))
    (pid,) = decoders.pids()
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status  # a filter


def test_what_leaves_the_jail_is_what_the_network_reads(
    decoders: DecoderPool, tmp_path: Path, make_ct: MakeCt
) -> None:
    spec = load_package(shipped_models() / "head-ct-ich").input
    paths = []
    for number in range(3):
        make_ct(z=5.0 * number, number=number).save_as(
            tmp_path / str(number), enforce_file_format=True
        )
        paths.append(str(tmp_path / str(number)))
    prepared = Wanted(axial=True, input=spec.model_dump(mode="json"))
    here = decoders.decode(Request(tuple(paths), AXIAL))
    there = decoders.decode(Request(tuple(paths), prepared))
    small = tmp_path / "small"
    make_ct(4, 4).save_as(small, enforce_file_format=True)
    with pytest.raises(NotAnalysed) as refused:
        decoders.decode(Request((str(small),), prepared))
    memory = next(iter(decoders._processes))._memory
    assert os.fstat(memory).st_size == 0
    assert there.images is not None
    assert np.array_equal(there.images, prepare(here.frames, spec))
    assert [frame.file for frame in there.frames] == [frame.file for frame in here.frames]
    assert there.read == here.read
    assert refused.value.reason is Reason.BAD_GEOMETRY


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOENT])
def test_a_store_that_is_away_is_no_broken_file(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", away)
    with pytest.raises(NotAnalysed) as refused:
        read_header(tmp_path / "a", Limits())
    assert refused.value.reason is Reason.STORE_MISSING
    assert why_unread(OSError(errno.EINVAL, "a seek to nowhere")) is Reason.UNDECODABLE_PIXELS


def test_a_file_that_is_missing_is_an_error_or_a_slice_less_as_asked(
    decoders: DecoderPool, tmp_path: Path, make_ct: MakeCt
) -> None:
    make_ct().save_as(tmp_path / "good", enforce_file_format=True)
    paths = (str(tmp_path / "good"), str(tmp_path / "gone"))
    with pytest.raises(NotAnalysed) as refused:
        decoders.decode(Request(paths, AXIAL, all_there=True))
    assert refused.value.reason is Reason.STORE_MISSING
    read = decoders.decode(Request(paths, AXIAL)).read
    assert (read.read, read.there) == (1, 2)
