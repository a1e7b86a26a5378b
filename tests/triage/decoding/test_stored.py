"""Lossless syntaxes give the same stored values, and those of the corpora are the oracle's."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.pixels import compress
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.triage.decoding.files import NOT_READ, corpus, only
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
