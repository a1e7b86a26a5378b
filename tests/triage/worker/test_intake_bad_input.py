"""Bad input through the intake: each study is "not analysed" with its reason.

The worker lives, the partition moves, the counter moves.
"""

from __future__ import annotations

import os
import signal
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from streams.errors import Reason
from streams.identity.seal import KeyRing
from tests.triage.worker.harness import Harness, series
from triage.decoding.frames import Decoded
from triage.decoding.limits import Limits
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request

MakeCt = Callable[..., FileDataset]
_STOPPED = "stopped"  # the child stops while it works on this file, as on a machine that swaps


@pytest.fixture
def decoders() -> Iterator[DecoderPool]:
    decoders = DecoderPool(1, Limits(memory_bytes=1024**3, cpu_s=20, wall_s=10))
    yield decoders
    decoders.close()


def counted() -> Counter[str]:
    """What the counter of studies that were not analysed says, by reason."""
    samples = next(
        one for one in REGISTRY.collect() if one.name == "vigie_triage_not_analysed"
    ).samples
    return Counter(
        {one.labels["reason"]: int(one.value) for one in samples if one.name.endswith("_total")}
    )


async def through(decoders: DecoderPool, ring: KeyRing, files: list[Path]) -> list[Reason | None]:
    """One study for each file, in one partition; their reasons in that order. None: analysed."""
    harness = Harness(ring)

    def decode(request: Request) -> Decoded:
        if _STOPPED in request.paths[0]:
            os.kill(decoders.pids()[0], signal.SIGSTOP)
        return decoders.decode(request)

    harness.analyst.decode = decode
    harness.analyst.path = lambda reference, _name: files[int(reference, 16)]
    for number in range(len(files)):
        await harness.put(
            number, series(f"1.{number}").model_copy(update={"reference": f"{number:x}"})
        )
    before = counted()
    await harness.work(len(files), also=len(files))
    assert harness.acknowledged == list(range(len(files)))
    assert [topic for topic, _ in harness.published] == ["findings"] * len(files)
    found = {event.study_uid: event for event in harness.findings()}
    assert all(
        (event.outcome == "not_analysed") == (event.reason is not None) for event in found.values()
    )
    reasons = [found[f"1.{number}"].reason for number in range(len(files))]
    assert counted() - before == Counter(reason.value for reason in reasons if reason)
    return reasons


def write(folder: Path, name: str, dataset: FileDataset, **values: object) -> Path:
    for key, value in values.items():
        setattr(dataset, key, value)
    dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


def deflate_bomb(folder: Path, dataset: FileDataset) -> Path:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    raw = write(folder, "deflated", dataset).read_bytes()
    body = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 400 * 1024**2)
    bomb = b"".join(
        [body.compress(head), *(body.compress(bytes(1024**2)) for _ in range(400)), body.flush()]
    )
    (folder / "deflate_bomb").write_bytes(raw[: 144 + struct.unpack_from("<L", raw, 140)[0]] + bomb)
    return folder / "deflate_bomb"


def rle_bomb(folder: Path, dataset: FileDataset) -> Path:
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.PixelData = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack(
        "<HHL", 0xFFFE, 0xE0DD, 0
    )
    dataset["PixelData"].is_undefined_length = True
    return write(folder, "rle_bomb", dataset, Rows=65535, Columns=65535)


@pytest.mark.slow
async def test_each_kind_of_bad_file_is_a_reason_and_the_next_study_is_analysed(
    decoders: DecoderPool, ring: KeyRing, tmp_path: Path, make_ct: MakeCt
) -> None:
    bad = {
        rle_bomb(tmp_path, make_ct()): Reason.DECODE_LIMIT,
        deflate_bomb(tmp_path, make_ct()): Reason.DECODE_LIMIT,
        write(
            tmp_path, "photometric", make_ct(), PhotometricInterpretation="CMYK"
        ): Reason.UNSUPPORTED_PHOTOMETRIC,
        write(tmp_path, "no_frames", make_ct(), NumberOfFrames=0): Reason.NO_PIXELS,
        write(tmp_path, "no_rows", make_ct(), Rows=0): Reason.NO_PIXELS,
        write(
            tmp_path, "too_many_frames", make_ct(), NumberOfFrames=2**31 - 1
        ): Reason.DECODE_LIMIT,
        write(tmp_path, "short", make_ct(), Rows=200): Reason.UNDECODABLE_PIXELS,
        write(tmp_path, _STOPPED, make_ct()): None,  # once more, by another child
        tmp_path / "gone": Reason.STORE_MISSING,
    }
    good = write(tmp_path, "good", make_ct())
    files = [path for one in bad for path in (one, good)]
    assert await through(decoders, ring, files) == [
        reason for one in bad.values() for reason in (one, None)
    ]


@pytest.mark.needs("corpora")
async def test_corpora_every_broken_file_is_a_reason(
    decoders: DecoderPool, ring: KeyRing, tmp_path: Path, make_ct: MakeCt, corpora_dir: Path
) -> None:
    broken = sorted((corpora_dir / "dicom").glob("broken__*"))
    assert len(broken) > 10
    reasons = await through(decoders, ring, [*broken, write(tmp_path, "good", make_ct())])
    assert set(reasons[:-1]) <= {Reason.NO_PIXELS, Reason.UNDECODABLE_PIXELS, Reason.DECODE_LIMIT}
    assert reasons[-1] is None
