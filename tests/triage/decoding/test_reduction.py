"""A large frame becomes smaller by means of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import compress
from pydicom.uid import JPEG2000Lossless

from tests.triage.decoding.files import film, only
from tests.triage.decoding.files import stored as sent
from triage.decoding.image_header import read_header
from triage.decoding.limits import Limits
from triage.decoding.pixels import to_values
from triage.decoding.stored import stored

MakeCt = Callable[..., FileDataset]


def reduced(dataset: FileDataset, folder: Path, min_side_px: int) -> NDArray[np.float32]:
    dataset.save_as(folder / "y.dcm", enforce_file_format=True)
    header = read_header(folder / "y.dcm", Limits())
    return to_values(next(stored(header, [0])), header, 0, min_side_px)[0]


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
        pixels = sent(dataset).copy()
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
        dataset.PixelData = (sent(dataset) - 1024).tobytes()
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
