"""Whether stored values have a sign: codestream and header may disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.triage.decoding.files import only

MakeCt = Callable[..., FileDataset]
AIR, BRAIN = -1000, 40


def values(offset: int) -> NDArray[np.int32]:
    """Brain in air, stored with `offset`."""
    made = np.full((64, 64), AIR + offset, np.int32)
    made[20:40, 20:40] = BRAIN + offset
    return made


def compressed(
    make_ct: MakeCt, pixels: NDArray[np.generic], syntax: UID, bits: int, header_signed: int
) -> FileDataset:
    """Encoded by the sign of `pixels`; the header says `header_signed`."""
    dataset = make_ct()
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.PixelRepresentation = header_signed
    return dataset


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("header_signed", [0, 1])
def test_a_jpeg_2000_stream_that_says_it_has_a_sign_is_believed(
    make_ct: MakeCt, tmp_path: Path, bits: int, header_signed: int
) -> None:
    pixels = values(0).astype(np.int16)
    dataset = compressed(make_ct, pixels, JPEG2000Lossless, bits, header_signed)
    dataset.RescaleIntercept = 0
    assert set(np.unique(only(dataset, tmp_path))) == {AIR, BRAIN}


@pytest.mark.parametrize("bits", [12, 16])
def test_twos_complement_in_a_stream_without_a_sign_is_what_the_header_says(
    make_ct: MakeCt, tmp_path: Path, bits: int
) -> None:
    pixels = (values(0) % (1 << bits)).astype(np.uint16)
    dataset = compressed(make_ct, pixels, JPEG2000Lossless, bits, 1)
    dataset.RescaleIntercept = 0
    assert set(np.unique(only(dataset, tmp_path))) == {AIR, BRAIN}


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("header_signed", [0, 1])
def test_values_that_are_the_same_with_and_without_a_sign_are_read_alike(
    make_ct: MakeCt, tmp_path: Path, syntax: UID, header_signed: int
) -> None:
    dataset = compressed(make_ct, values(1024).astype(np.uint16), syntax, 12, header_signed)
    assert set(np.unique(only(dataset, tmp_path))) == {AIR, BRAIN}
