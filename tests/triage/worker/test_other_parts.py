"""Other parts of a body, in series that say they are heads: told by size and skull, files to
finding; heads of all kinds are told nothing of the sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedCTImageStorage

from tests.triage.decoding.bodies import Scan, head_slice
from tests.triage.decoding.heads import WAYS, MakeCt, slice_of, written
from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request, Wanted
from triage.judging.bodies import Unlike, unlike_stacks
from triage.packages.load import load_package
from triage.phantoms.bodies import body_ct
from triage.settings import shipped_models

pytestmark = pytest.mark.slow

PACKAGE = load_package(shipped_models() / "head-ct-ich")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    made = DecoderPool(1)
    yield made
    made.close()


def sent(
    make_ct: MakeCt, planes: Sequence[NDArray[np.float32]], side_mm: float, lies: str = "supine"
) -> list[FileDataset]:
    """Slices 5 mm apart that say they are of a head."""
    made = []
    for number, plane in enumerate(planes):
        stored = np.clip(np.round(plane) + 1024, 0, 4095).astype(np.int16)
        dataset = slice_of(
            make_ct, stored, 5.0 * number, number, lies=lies, side_mm=round(side_mm, 4)
        )
        dataset.BodyPartExamined, dataset.SliceThickness = "HEAD", 5.0
        made.append(dataset)
    return made


def told(pool: DecoderPool, datasets: Sequence[FileDataset], folder: Path) -> Unlike | None:
    """What is told of the only stack, by the shipped rule, through the jail."""
    folder.mkdir(exist_ok=True)
    frames = pool.decode(Request(written(datasets, folder), PACKAGE.wanted)).frames
    return unlike_stacks(PACKAGE.manifest.body, frames).get(0)


@pytest.mark.parametrize(
    "scan",
    [
        pytest.param(Scan(95, 250), id="newborn"),
        pytest.param(Scan(95, 500, table=True), id="newborn in a field for adults"),
        pytest.param(Scan(180, 240, turn=45), id="half turned"),
        pytest.param(Scan(240, 300, holder=True, drape=True), id="large, in a holder"),
        pytest.param(Scan(180, 250, open=100), id="after a craniectomy"),
    ],
)
def test_heads_of_all_sizes_and_positions_are_heads(
    pool: DecoderPool, make_ct: MakeCt, tmp_path: Path, scan: Scan
) -> None:
    planes = [
        head_slice(4, Scan(**{**vars(scan), "level": level})) for level in (0.25, 0.5, 0.625, 0.75)
    ]
    assert told(pool, sent(make_ct, planes, scan.side_mm), tmp_path) is None


@pytest.mark.parametrize("lies", WAYS)
def test_a_head_is_one_however_it_was_stored(
    pool: DecoderPool, make_ct: MakeCt, tmp_path: Path, lies: str
) -> None:
    scan = Scan(180)
    assert (
        told(pool, sent(make_ct, [head_slice(6, scan)] * 2, scan.side_mm, lies), tmp_path) is None
    )


@pytest.mark.parametrize("field_mm", [450.0, 200.0])
@pytest.mark.parametrize("kind", ["thorax", "abdomen", "pelvis", "limb"])
def test_parts_of_adults_and_of_children_are_no_heads(
    pool: DecoderPool, make_ct: MakeCt, tmp_path: Path, kind: str, field_mm: float
) -> None:
    for seed in range(4):
        drawn = [body_ct(np.random.default_rng((seed, at)), kind) for at in range(6)]
        planes = [plane.astype(np.float32) for plane in drawn]
        assert told(pool, sent(make_ct, planes, field_mm / 256), tmp_path / str(seed))


def test_without_a_pixels_size_nothing_is_told_of_the_bodys(
    pool: DecoderPool, make_ct: MakeCt, tmp_path: Path
) -> None:
    scan = Scan(180)
    heads = sent(make_ct, [head_slice(6, scan)] * 4, 3 * scan.side_mm)
    assert told(pool, heads, tmp_path / "stated") == "size"
    for dataset in heads:
        dataset.PixelSpacing, dataset.PixelAspectRatio = [0.0, 0.0], [1, 1]
    assert told(pool, heads, tmp_path / "nought") is None
    for dataset in heads:
        del dataset.PixelSpacing
    assert told(pool, heads, tmp_path / "absent") is None


def test_an_enhanced_image_states_its_pixels_frame_by_frame(
    pool: DecoderPool, make_ct: MakeCt, tmp_path: Path
) -> None:
    scan = Scan(180)
    for side_mm, why in ((scan.side_mm, None), (3 * scan.side_mm, "size")):
        enhanced = sent(make_ct, [head_slice(6, scan)], scan.side_mm)[0]
        enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        enhanced.NumberOfFrames, groups = 4, []
        enhanced.PixelData = enhanced.PixelData * 4
        for at in range(4):
            group, place, measures, values = (Dataset() for _ in range(4))
            place.ImagePositionPatient = [0, 0, 5.0 * at]
            measures.PixelSpacing = [round(side_mm, 4)] * 2
            values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
            group.PlanePositionSequence = [place]
            group.PixelMeasuresSequence = [measures]
            group.PixelValueTransformationSequence = [values]
            groups.append(group)
        enhanced.PerFrameFunctionalGroupsSequence = groups
        del enhanced.RescaleSlope, enhanced.RescaleIntercept, enhanced.ImagePositionPatient
        del enhanced.PixelSpacing
        assert told(pool, [enhanced], tmp_path / f"{why}") == why


HEADS = ("wg04__CT2_", "__693_", "J2K_pixelrep")
OTHERS = (
    "wg04__CT1_",
    "anon_apct",
    "CT_small",
    "explicit_VR-UN.",
)  # chest, abdomen, spine, abdomen


@pytest.mark.needs("corpora")
@pytest.mark.parametrize(("names", "least"), [(HEADS, 10), (OTHERS, 10)], ids=["heads", "others"])
def test_real_heads_are_heads_and_other_parts_are_none(
    pool: DecoderPool, corpora_dir: Path, names: Sequence[str], least: int
) -> None:
    files = [
        file
        for file in sorted((corpora_dir / "dicom").glob("*.dcm"))
        if any(name in file.name for name in names)
    ]
    assert len(files) >= least
    for file in files:
        frames = pool.decode(Request((str(file),), Wanted(axial=True))).frames
        found = unlike_stacks(PACKAGE.manifest.body, frames)
        assert bool(found) == (names is OTHERS), file.name
