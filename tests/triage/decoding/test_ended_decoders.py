"""A file or frame that ends its decoder costs itself: the rest of the series is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless

from streams.errors import Reason
from tests.triage.decoding.heads import SIDE_MM, MakeCt, head, slice_of, written
from triage.decoding.limits import Limits
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import HEADER, Ended, Request, Wanted
from triage.decoding.series import read_series
from triage.errors import NotAnalysed

HEAD = Wanted(axial=True)
SLICES = 6
#: A JP2 file whose second box has no length: who walks from box to box stays there.
ENDLESS = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0free" + bytes(64)


def compressed(make_ct: MakeCt, endless: Collection[int]) -> list[Dataset]:
    """Slices in JPEG 2000, 5 mm apart."""
    made: list[Dataset] = []
    for z, image in enumerate(head(SLICES)):
        one = slice_of(make_ct, image, 5.0 * z, z)
        one.compress(JPEG2000Lossless, generate_instance_uid=False)
        if z in endless:
            one.PixelData = encapsulate([ENDLESS])
        made.append(one)
    return made


def enhanced(make_ct: MakeCt, endless: int) -> Dataset:
    """The same in one file."""
    slices = compressed(make_ct, ())
    streams = [next(generate_frames(one.PixelData, number_of_frames=1)) for one in slices]
    streams[endless] = ENDLESS
    made = slices[0]
    made.NumberOfFrames, made.PixelData = SLICES, encapsulate(streams)
    groups = []
    for one in slices:
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        group.PlanePositionSequence = [position]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.PixelSpacing = [SIDE_MM, SIDE_MM]
    del made.ImagePositionPatient
    return made


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    made = DecoderPool(1, Limits(cpu_s=20, frame_cpu_s=0.1, wall_s=60))
    yield made
    made.close()


def test_a_slice_that_is_decoded_for_ever_leaves_the_others(
    decoders: DecoderPool, make_ct: MakeCt, tmp_path: Path
) -> None:
    paths = written(compressed(make_ct, {2}), tmp_path)
    (first,) = decoders.pids()
    found = decoders.decode(Request(paths, HEAD))
    assert (found.read.read, found.read.there) == (SLICES - 1, SLICES)
    assert [frame.file for frame in found.frames] == [0, 1, 3, 4, 5]
    assert decoders.pids() != [first]


def test_a_frame_that_is_decoded_for_ever_leaves_those_of_its_file(
    decoders: DecoderPool, make_ct: MakeCt, tmp_path: Path
) -> None:
    found = decoders.decode(Request(written([enhanced(make_ct, 3)], tmp_path), HEAD))
    assert (found.read.read, found.read.there) == (SLICES - 1, SLICES)


def test_a_series_of_such_slices_is_given_up(
    decoders: DecoderPool, make_ct: MakeCt, tmp_path: Path
) -> None:
    paths = written(compressed(make_ct, range(SLICES)), tmp_path)
    with pytest.raises(NotAnalysed) as refused:
        decoders.decode(Request(paths, HEAD))
    assert refused.value.reason is Reason.DECODE_LIMIT


def test_what_ended_a_decoder_is_not_begun_again(make_ct: MakeCt, tmp_path: Path) -> None:
    paths = written(compressed(make_ct, ()), tmp_path)
    ended = (Ended(1, HEADER, Reason.DECODE_LIMIT), Ended(4, 0, Reason.UNDECODABLE_PIXELS))
    begun: list[tuple[int, int]] = []
    found = read_series(
        Request(paths, HEAD, ended=ended), Limits(), lambda file, frame: begun.append((file, frame))
    )
    assert (found.read.read, found.read.there) == (SLICES - 2, SLICES)
    assert begun == [
        *((file, HEADER) for file in (0, 2, 3, 4, 5)),
        *((file, 0) for file in (0, 2, 3, 5)),
    ]
    alone = Request(paths[:1], HEAD, ended=(Ended(0, HEADER, Reason.UNDECODABLE_PIXELS),))
    with pytest.raises(NotAnalysed) as refused:
        read_series(alone, Limits())
    assert refused.value.reason is Reason.UNDECODABLE_PIXELS
