"""Decoding beside the bare codec and beside reading the files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from openjpeg.utils import decode as decode_j2k
from pydicom.uid import generate_uid

from triage.bench.pair import Pair
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request, Wanted
from triage.inputs.common import resize
from triage.phantoms.files import film_file, write_slice
from triage.phantoms.heads import head_ct

_CT_SIDE, _FILM_SIDE = 512, 2048  # pixels
_INPUT_SIDE = 256  # what the networks' inputs are resized to, about


@contextmanager
def decode(*, quick: bool) -> Iterator[list[Pair]]:
    """One decoder process, files to resized frames in their unit.

    JPEG 2000 beside the bare codec, uncompressed files beside reading them.
    """
    with tempfile.TemporaryDirectory(prefix="vigie-bench-") as name:
        folder, uid = Path(name), generate_uid()
        head = head_ct(np.random.default_rng(1), None, 4 if quick else 24, _CT_SIDE)
        raw, j2k = (
            [
                write_slice(folder, pixels, index, uid, compressed=compressed)
                for index, pixels in enumerate(head)
            ]
            for compressed in (False, True)
        )
        films = [folder / f"film{seed}" for seed in range(1 if quick else 4)]
        for seed, path in enumerate(films):
            path.write_bytes(film_file(seed, _FILM_SIDE))
        with closing(DecoderPool(1)) as decoders:
            yield [
                Pair(
                    "JPEG 2000 lossless, 512² CT: decoder process, unit and resize, "
                    "beside the bare codec; one process each",
                    "frames/s",
                    lambda: _slices(decoders, [file for file, _ in j2k]),
                    lambda: _codec([stream for _, stream in j2k]),
                ),
                Pair(
                    "uncompressed, 512² CT: decoder process, unit and resize, "
                    "beside reading the files",
                    "frames/s",
                    lambda: _slices(decoders, [file for file, _ in raw]),
                    lambda: _read([file for file, _ in raw]),
                ),
                Pair(
                    "uncompressed, 2048² film: decoder process, reduced, window and resize, "
                    "beside reading the files",
                    "frames/s",
                    lambda: _films(decoders, films),
                    lambda: _read(films),
                ),
            ]


def _slices(decoders: DecoderPool, files: Sequence[Path]) -> float:
    """All as one series."""
    started = time.perf_counter()
    frames = decoders.decode(Request(tuple(map(str, files)))).frames
    for frame in frames:
        resize(frame.pixels, _INPUT_SIDE, _INPUT_SIDE)
    if len(frames) != len(files):
        raise LookupError("the decoder left a frame of the bench out")
    return len(frames) / (time.perf_counter() - started)


def _films(decoders: DecoderPool, files: Sequence[Path]) -> float:
    """One series each, as films come."""
    wanted = Wanted(min_side_px=2 * _INPUT_SIDE)
    started = time.perf_counter()
    for file in files:
        (frame,) = decoders.decode(Request((str(file),), wanted)).frames
        resize(frame.pixels, _INPUT_SIDE, _INPUT_SIDE)
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
