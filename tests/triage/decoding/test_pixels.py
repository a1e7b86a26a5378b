"""Stored values to frames: each variant against the plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from tests.triage.decoding.files import film, frames, only, stored
from tests.triage.decoding.heads import MakeCt


def test_ct_is_rescaled_to_hounsfield(ct_file: FileDataset, tmp_path: Path) -> None:
    ct_file.RescaleSlope, ct_file.RescaleIntercept = 2, -1000
    (frame,) = frames(ct_file, tmp_path)
    assert frame.unit == "hu"
    assert frame.position_mm == 0.0
    assert frame.pixels.dtype == np.float32
    assert np.array_equal(
        frame.pixels, np.maximum(stored(ct_file) * 2.0 - 1000, -1024).astype(np.float32)
    )


def test_padding_is_air_even_when_its_sign_is_wrong(ct_file: FileDataset, tmp_path: Path) -> None:
    pixels = stored(ct_file).copy()
    pixels[:8] = -2000
    ct_file.PixelData = pixels.tobytes()
    ct_file.add_new("PixelPaddingValue", "US", 63536)
    shown = only(ct_file, tmp_path)
    assert (shown[:8] == -1024).all()
    assert np.array_equal(shown[8:], (pixels[8:] - 1024).astype(np.float32))


@pytest.mark.parametrize("windowed", [True, False])
def test_a_monochrome1_twin_is_the_same_image(
    ct_file: FileDataset, tmp_path: Path, windowed: bool
) -> None:
    film(ct_file)
    pixels = stored(ct_file).copy()
    pixels[0, :2] = 0, 2047
    ct_file.PixelData = pixels.tobytes()
    if not windowed:
        del ct_file.WindowCenter, ct_file.WindowWidth
    (plain,) = frames(ct_file, tmp_path)
    assert plain.unit == "display"
    assert 0 <= plain.pixels.min() < plain.pixels.max() <= 1
    ct_file.PixelData = (2047 - pixels).astype(np.int16).tobytes()
    ct_file.PhotometricInterpretation = "MONOCHROME1"
    assert np.allclose(only(ct_file, tmp_path), plain.pixels, atol=1e-3)


def test_a_voi_lut_is_looked_up(ct_file: FileDataset, tmp_path: Path) -> None:
    film(ct_file)
    del ct_file.WindowCenter, ct_file.WindowWidth
    item = Dataset()
    item.LUTDescriptor = [2048, 0, 16]
    item.LUTData = np.arange(0, 2048 * 32, 32, dtype=np.uint16).tobytes()
    ct_file.VOILUTSequence = [item]
    assert np.allclose(only(ct_file, tmp_path), stored(ct_file) * 32.0 / 65535, atol=1e-6)


@pytest.mark.parametrize("written", ["words", "bytes", "packed"])
def test_a_lut_of_eight_bits_is_read_however_it_is_written(
    ct_file: FileDataset, tmp_path: Path, written: str
) -> None:
    film(ct_file)
    del ct_file.WindowCenter, ct_file.WindowWidth
    entries = (np.arange(2048) // 8).astype(np.uint8)
    item = Dataset()
    item.LUTDescriptor = [2048, 0, 8]
    if written == "words":
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    elif written == "bytes":
        item.add_new("LUTData", "OW", entries.tobytes())
    else:
        item.add_new("LUTData", "US", entries.view("<u2").tolist())
    ct_file.VOILUTSequence = [item]
    wanted = (stored(ct_file) // 8) / np.float32(255)
    assert np.allclose(only(ct_file, tmp_path), wanted, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2])
def test_a_window_of_one_or_two_grey_levels_is_none(
    ct_file: FileDataset, tmp_path: Path, width: int
) -> None:
    film(ct_file)
    del ct_file.WindowCenter, ct_file.WindowWidth
    plain = only(ct_file, tmp_path)
    ct_file.WindowCenter, ct_file.WindowWidth = 1000, width
    assert np.array_equal(only(ct_file, tmp_path), plain)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_centred(ct_file: FileDataset, tmp_path: Path, function: str) -> None:
    film(ct_file).VOILUTFunction = function
    shown = only(ct_file, tmp_path)
    assert shown[stored(ct_file) > 1100].min() > 0.5 > shown[stored(ct_file) < 900].max()


def test_a_capture_of_a_screen_is_display_and_colour_is_luminance(
    ct_file: FileDataset, tmp_path: Path
) -> None:
    ct_file.SOPClassUID = ct_file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    grey = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8)
    ct_file.BitsAllocated = ct_file.BitsStored = 8
    (
        ct_file.HighBit,
        ct_file.PixelRepresentation,
        ct_file.SamplesPerPixel,
        ct_file.PlanarConfiguration,
    ) = 7, 0, 3, 0
    ct_file.PhotometricInterpretation = "RGB"
    ct_file.PixelData = np.repeat(grey[..., None], 3, axis=2).tobytes()
    (frame,) = frames(ct_file, tmp_path)
    assert frame.unit == "display"
    assert np.allclose(frame.pixels, grey / 255, atol=1e-6)


def test_enhanced_multi_frame_is_sorted_and_rescaled_by_its_groups(
    ct_file: FileDataset, tmp_path: Path
) -> None:
    ct_file.NumberOfFrames = 3
    ct_file.PixelData = np.repeat(np.array([30, 10, 20], dtype=np.int16), 64 * 64).tobytes()
    del (
        ct_file.RescaleSlope,
        ct_file.RescaleIntercept,
        ct_file.ImagePositionPatient,
        ct_file.ImageOrientationPatient,
    )
    shared, groups = Dataset(), []
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for z in (30.0, 10.0, 20.0):
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, z]
        group.PixelValueTransformationSequence = [Dataset()]
        group.PixelValueTransformationSequence[0].RescaleIntercept = z
        group.PixelValueTransformationSequence[0].RescaleSlope = 1
        group.PixelValueTransformationSequence[0].RescaleType = "HU"
        groups.append(group)
    ct_file.SharedFunctionalGroupsSequence, ct_file.PerFrameFunctionalGroupsSequence = (
        [shared],
        groups,
    )
    found = frames(ct_file, tmp_path)
    assert [frame.position_mm for frame in found] == [10.0, 20.0, 30.0]
    assert [float(frame.pixels[0, 0]) for frame in found] == [20.0, 40.0, 60.0]
    assert {frame.unit for frame in found} == {"hu"}


def test_a_first_window_that_leaves_a_film_black_and_white_is_not_used(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    dataset = film(make_ct())
    whole = only(dataset, tmp_path)
    dataset.WindowCenter, dataset.WindowWidth = 1024, 100  # of 2,047
    narrow = only(dataset, tmp_path)
    assert np.mean((narrow > 0.1) & (narrow < 0.9)) > 0.2
    assert np.allclose(narrow, whole, atol=0.01)


def test_one_bright_letter_does_not_make_the_window_of_a_film_narrow(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    dataset = film(make_ct())
    plain = only(dataset, tmp_path)
    pixels = np.frombuffer(dataset.PixelData, np.uint16).copy()
    pixels[0] = 65535
    dataset.PixelData = pixels.tobytes()
    assert np.array_equal(only(dataset, tmp_path).ravel()[1:], plain.ravel()[1:])
