"""Stored pixels to frames: each variant against the plain one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import compress
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.decoding.headers import Limits, read_header
from triage.decoding.pixels import read_frames, to_frame
from triage.decoding.pixels import stored as decoded
from triage.errors import NotAnalysed

MakeCt = Callable[..., FileDataset]


def frames(dataset: FileDataset, folder: Path) -> list[Frame]:
    path = folder / "x.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return read_frames(path)


def only(dataset: FileDataset, folder: Path) -> NDArray[np.float32]:
    return frames(dataset, folder)[0].pixels


def stored(dataset: FileDataset) -> NDArray[np.int16]:
    return np.frombuffer(dataset.PixelData, np.int16).reshape(dataset.Rows, dataset.Columns)


def test_ct_is_rescaled_to_hounsfield(ct_file: FileDataset, tmp_path: Path) -> None:
    ct_file.RescaleSlope, ct_file.RescaleIntercept = 2, -1000
    (frame,) = frames(ct_file, tmp_path)
    assert frame.unit == "hu"
    assert frame.position_mm == 0.0
    assert frame.pixels.dtype == np.float32
    assert np.array_equal(
        frame.pixels, np.maximum(stored(ct_file) * 2.0 - 1000, -1024).astype(np.float32)
    )


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


def test_padding_is_air_even_when_its_sign_is_wrong(ct_file: FileDataset, tmp_path: Path) -> None:
    pixels = stored(ct_file).copy()
    pixels[:8] = -2000
    ct_file.PixelData = pixels.tobytes()
    ct_file.add_new("PixelPaddingValue", "US", 63536)
    shown = only(ct_file, tmp_path)
    assert (shown[:8] == -1024).all()
    assert np.array_equal(shown[8:], (pixels[8:] - 1024).astype(np.float32))


def test_bits_above_bits_stored_are_not_the_image(ct_file: FileDataset, tmp_path: Path) -> None:
    ct_file.BitsStored, ct_file.HighBit, ct_file.PixelRepresentation = 12, 11, 0
    plain = only(ct_file, tmp_path)
    pixels = stored(ct_file).astype(np.uint16)
    pixels[::2] |= 0x8000  # an overlay
    ct_file.PixelData = pixels.tobytes()
    assert np.array_equal(only(ct_file, tmp_path), plain)


def film(dataset: FileDataset) -> FileDataset:
    dataset.Modality = "DX"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation
    )
    dataset.PixelRepresentation = 0
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.WindowCenter, dataset.WindowWidth = 1024, 2048
    return dataset


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


def reduced(dataset: FileDataset, folder: Path, side: int) -> NDArray[np.float32]:
    dataset.save_as(folder / "y.dcm", enforce_file_format=True)
    header = read_header(folder / "y.dcm", Limits())
    return to_frame(next(decoded(header, [0])), header, 0, side).pixels


def blocks(pixels: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    rows, columns = (size // by for size in pixels.shape)
    whole = pixels[: rows * by, : columns * by].astype(np.float64)
    return whole.reshape(rows, by, columns, by).mean(axis=(1, 3)).astype(np.float32)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", ["window", "range", "voi_lut", "signed", "j2k", "rgb"])
def test_a_large_frame_is_reduced_by_means_of_its_pixels(
    make_ct: MakeCt, tmp_path: Path, kind: str, photometric: str
) -> None:
    dataset = film(make_ct(66, 101))
    dataset.PhotometricInterpretation = photometric
    dataset.WindowCenter, dataset.WindowWidth = (
        1024,
        4096,
    )  # nothing is clipped: a mean of what is shown is what is shown of the mean
    if kind == "range":
        del dataset.WindowCenter, dataset.WindowWidth
        pixels = stored(dataset).copy()
        pixels[:4, :2], pixels[:4, 2:4] = 0, 2047
        dataset.PixelData = pixels.tobytes()
    elif kind == "voi_lut":
        del dataset.WindowCenter, dataset.WindowWidth
        item = Dataset()
        item.LUTDescriptor, item.LUTData = (
            [2048, 0, 16],
            np.arange(0, 2048 * 32, 32, dtype=np.uint16).tobytes(),
        )
        dataset.VOILUTSequence = [item]
    elif kind == "signed":
        dataset.PixelRepresentation, dataset.WindowCenter = 1, 0
        dataset.PixelData = (stored(dataset) - 1024).tobytes()
    elif kind == "j2k":
        compress(dataset, JPEG2000Lossless, generate_instance_uid=False)
    elif kind == "rgb":
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 7, 3, 0
        dataset.PhotometricInterpretation = "RGB"
        dataset.PixelData = (
            np.random.default_rng(1).integers(0, 256, (66, 101, 3)).astype(np.uint8).tobytes()
        )
    full = only(dataset, tmp_path)
    small = reduced(dataset, tmp_path, 32)
    assert full.shape == (66, 101)
    assert small.shape == (33, 50)
    assert small.dtype == np.float32
    assert np.allclose(small, blocks(full, 2), atol=1e-3 if kind in ("voi_lut", "range") else 1e-6)
    assert np.array_equal(reduced(dataset, tmp_path, 34), full)


def test_padding_is_no_part_of_a_mean(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = film(make_ct(64, 64))
    pixels = np.full((64, 64), 1500, dtype=np.int16)
    pixels[:3] = 3  # the second row of squares is half padding
    dataset.PixelData = pixels.tobytes()
    dataset.add_new("PixelPaddingValue", "US", 3)
    small, full = reduced(dataset, tmp_path, 32), only(dataset, tmp_path)
    assert (small[0] == 0).all()
    assert np.allclose(small[1:], full[4, 4])


def test_hounsfield_units_are_left_alone_up_to_twice_the_side(
    make_ct: MakeCt, tmp_path: Path
) -> None:
    for rows, kept in ((64, 64), (66, 33)):
        dataset = make_ct(rows, rows)
        full, small = only(dataset, tmp_path), reduced(dataset, tmp_path, 32)
        assert small.shape == (kept, kept)
        assert np.allclose(small, blocks(full, rows // kept), atol=1e-3)


def test_what_is_looked_up_in_a_table_is_not_reduced(make_ct: MakeCt, tmp_path: Path) -> None:
    dataset = film(make_ct(64, 64))
    item = Dataset()
    item.LUTDescriptor, item.LUTData, item.ModalityLUTType = [2048, 0, 16], bytes(4096), "US"
    dataset.ModalityLUTSequence = [item]
    assert reduced(dataset, tmp_path, 8).shape == (64, 64)
