"""Lossless syntaxes give the same stored values, and those of the corpora are the oracle's."""

from __future__ import annotations

import hashlib
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.triage.decoding.files import NOT_READ, corpus, frames, only, read_frames
from tests.triage.decoding.files import stored as sent
from triage.decoding.image_header import read_header
from triage.decoding.limits import Limits
from triage.decoding.stored import stored
from triage.errors import NotAnalysed


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_syntaxes_give_the_same_pixels(
    ct_file: FileDataset, tmp_path: Path, syntax: str
) -> None:
    plain = only(ct_file, tmp_path)
    compress(
        ct_file,
        syntax,
        encoding_plugin="" if syntax != RLELossless else "pydicom",
        generate_instance_uid=False,
    )
    assert np.array_equal(only(ct_file, tmp_path), plain)


def test_bits_above_bits_stored_are_not_the_image(ct_file: FileDataset, tmp_path: Path) -> None:
    ct_file.BitsStored, ct_file.HighBit, ct_file.PixelRepresentation = 12, 11, 0
    plain = only(ct_file, tmp_path)
    pixels = sent(ct_file).astype(np.uint16)
    pixels[::2] |= 0x8000  # an overlay
    ct_file.PixelData = pixels.tobytes()
    assert np.array_equal(only(ct_file, tmp_path), plain)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_bits_above_bits_stored_are_masked_alike_for_every_codec(
    ct_file: FileDataset, tmp_path: Path, syntax: str
) -> None:
    ct_file.BitsStored, ct_file.HighBit, ct_file.PixelRepresentation = 12, 11, 0
    plain = only(ct_file, tmp_path)
    pixels = sent(ct_file).astype(np.uint16)
    pixels[::2] |= 0x8000
    ct_file.PixelData = pixels.tobytes()
    ct_file.BitsStored, ct_file.HighBit = 16, 15  # so that the codec keeps them
    plugin = "pydicom" if syntax == RLELossless else ""
    compress(ct_file, syntax, encoding_plugin=plugin, generate_instance_uid=False)
    ct_file.BitsStored, ct_file.HighBit = 12, 11
    assert np.array_equal(only(ct_file, tmp_path), plain)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", ["", RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_frames_that_the_header_does_not_count_are_not_passed_over(
    ct_file: FileDataset, tmp_path: Path, syntax: str
) -> None:
    ct_file.NumberOfFrames, ct_file.PixelData = 3, ct_file.PixelData * 3
    if syntax:
        plugin = "pydicom" if syntax == RLELossless else ""
        compress(ct_file, syntax, encoding_plugin=plugin, generate_instance_uid=False)
    assert len(frames(ct_file, tmp_path)) == 3
    for counted in (1, 2, None):
        ct_file.NumberOfFrames = counted
        with pytest.raises(NotAnalysed, match="bad_geometry"):
            frames(ct_file, tmp_path)


def test_an_icon_is_never_taken_for_the_image(ct_file: FileDataset, tmp_path: Path) -> None:
    plain = only(ct_file, tmp_path)
    icon = Dataset()
    icon.Rows = icon.Columns = 8
    icon.BitsAllocated, icon.SamplesPerPixel = 8, 1
    icon.PhotometricInterpretation, icon.PixelRepresentation = "MONOCHROME2", 0
    icon.PixelData = bytes(64)
    ct_file.IconImageSequence = [icon]
    hidden = Dataset()
    hidden.SOPClassUID, hidden.Rows, hidden.BitsAllocated = "1.2.3", 4, 8
    hidden.PixelData = bytes(32)
    ct_file.add_new(0x20019000, "SQ", [hidden])
    assert np.array_equal(only(ct_file, tmp_path), plain)
    del ct_file.PixelData
    with pytest.raises(NotAnalysed, match="no_pixels"):
        frames(ct_file, tmp_path)


@pytest.mark.parametrize("short", [0, 24, 40, 60])
def test_an_icon_whose_item_is_too_short_is_never_read_instead_of_the_film(
    ct_file: FileDataset, tmp_path: Path, short: int
) -> None:
    icon = Dataset()
    icon.Rows = icon.Columns = 64  # as large as the image
    icon.BitsAllocated = icon.BitsStored = 16
    icon.HighBit, icon.SamplesPerPixel, icon.PixelRepresentation = 15, 1, 1
    icon.PhotometricInterpretation = "MONOCHROME2"
    compress(ct_file, JPEG2000Lossless, generate_instance_uid=False)
    plain = only(ct_file, tmp_path)
    icon.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    ct_file.IconImageSequence = [icon]
    ct_file.save_as(tmp_path / "icon", enforce_file_format=True)
    raw = bytearray((tmp_path / "icon").read_bytes())
    at = raw.find(b"\x88\x00\x00\x02SQ") + 8
    for place in (at, at + 8):  # the sequence's length, and its item's
        (length,) = struct.unpack_from("<L", raw, place)
        if length != 0xFFFFFFFF:
            struct.pack_into("<L", raw, place, length - short)
    (tmp_path / "icon").write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            (found,) = read_frames(tmp_path / "icon")
        except NotAnalysed:
            assert short
        else:
            assert np.array_equal(found.pixels, plain)


@pytest.mark.needs("corpora")
@pytest.mark.filterwarnings("ignore")
def test_corpora_decoded_pixels_are_the_oracles(corpora_dir: Path) -> None:
    compared, differ = 0, []
    for row in corpus(corpora_dir):
        # Colour goes through codecs whose roundings differ by version.
        if (
            row["pixels"] != "ok"
            or not row["photometric"].startswith("MONO")
            or NOT_READ.search(row["file"])
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
