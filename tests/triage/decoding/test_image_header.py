"""What a header claims is checked before any pixel is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from streams.errors import Reason
from tests.triage.decoding.files import frames, read_frames
from triage.errors import NotAnalysed


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PhotometricInterpretation", "CMYK", Reason.UNSUPPORTED_PHOTOMETRIC),
        ("SamplesPerPixel", 4, Reason.UNSUPPORTED_PHOTOMETRIC),
        ("Rows", 0, Reason.NO_PIXELS),
        ("NumberOfFrames", 0, Reason.NO_PIXELS),
        ("NumberOfFrames", 2**31 - 1, Reason.DECODE_LIMIT),
        ("Rows", 65, Reason.UNDECODABLE_PIXELS),
    ],
)
def test_wrong_headers_are_refused(
    ct_file: FileDataset, tmp_path: Path, name: str, value: object, reason: Reason
) -> None:
    setattr(ct_file, name, value)
    with pytest.raises(NotAnalysed) as refused:
        frames(ct_file, tmp_path)
    assert refused.value.reason is reason


def test_no_pixel_data_and_no_file(ct_file: FileDataset, tmp_path: Path) -> None:
    del ct_file.PixelData
    with pytest.raises(NotAnalysed) as refused:
        frames(ct_file, tmp_path)
    assert refused.value.reason is Reason.NO_PIXELS
    with pytest.raises(NotAnalysed) as refused:
        read_frames(tmp_path / "not there")
    assert refused.value.reason is Reason.STORE_MISSING
