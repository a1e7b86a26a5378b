"""The head package as it is shipped, from files to the finding: what it says, and of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedCTImageStorage

from streams.errors import Reason
from tests.triage.decoding.heads import MakeCt, slice_of, written
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series
from triage.errors import NotAnalysed
from triage.inference.network import Screener
from triage.inputs.prepare import prepare
from triage.judging.coverage import why_incomplete
from triage.judging.flagging import judge
from triage.packages.load import Package, load_package
from triage.phantoms.heads import head_ct
from triage.settings import shipped_models

pytestmark = pytest.mark.slow
Say = Callable[[Sequence[FileDataset], Path], "Said"]
Volume = NDArray[np.int16]


@dataclass(frozen=True)
class Said:
    """The outcome; what was judged, stack by stack, and the reason of *not analysed*."""

    outcome: str
    reason: Reason | None = None
    probabilities: tuple[float, ...] = ()


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(shipped_models() / "head-ct-ich")


@pytest.fixture(scope="module")
def say(package: Package) -> Say:
    """Files through the jail's code, the network and the judgement."""
    screener = Screener(package, package.input.shape, device="cpu")

    def said(datasets: Sequence[FileDataset], folder: Path) -> Said:
        folder.mkdir(exist_ok=True)
        request = Request(written(datasets, folder), package.wanted)
        try:
            found = read_series(request, Limits())
        except NotAnalysed as error:
            return Said("not_analysed", error.reason)
        images = prepare(found.frames, package.input)
        scores = screener.scores(images)
        stacks = np.array([frame.stack for frame in found.frames])
        each = [judge(package, scores[stacks == at]) for at in set(stacks)]
        probabilities = tuple(one.probability for one in each)
        if any(one.outcome == "flagged" for one in each):
            return Said("flagged", None, probabilities)
        rules = package.manifest
        short = why_incomplete(rules.coverage, found.read, len(datasets), None, rules.body)
        return Said("not_analysed" if short else "not_flagged", short, probabilities)

    return said


@pytest.fixture(scope="module")
def bleeding() -> Volume:
    return head_ct(np.random.default_rng(5), "intraparenchymal", 28)


@pytest.fixture(scope="module")
def calm() -> Volume:
    return head_ct(np.random.default_rng(5), None, 28)


def sent(
    make_ct: MakeCt, volume: Volume, spacing: float = 5.0, lies: str = "supine"
) -> list[FileDataset]:
    made = []
    for number, plane in enumerate(volume):
        image = plane + np.int16(1024)
        dataset = slice_of(make_ct, image, spacing * number, number, lies=lies, side_mm=0.9)
        dataset.BodyPartExamined, dataset.SliceThickness = "HEAD", spacing
        made.append(dataset)
    return made


def test_a_bleed_is_flagged_and_a_calm_head_is_not(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume, calm: Volume
) -> None:
    assert say(sent(make_ct, bleeding), tmp_path).outcome == "flagged"
    assert say(sent(make_ct, calm), tmp_path).outcome == "not_flagged"


@pytest.mark.parametrize("lies", ["prone", "feet first", "on the left side"])
def test_however_the_head_lies_it_has_the_same_score(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume, lies: str
) -> None:
    plain = say(sent(make_ct, bleeding), tmp_path / "plain")
    assert say(sent(make_ct, bleeding, lies=lies), tmp_path / "turned") == plain


def test_a_thin_stack_has_the_score_of_the_thick_one(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume
) -> None:
    thick = say(sent(make_ct, bleeding), tmp_path / "thick")
    thin = say(sent(make_ct, np.repeat(bleeding, 8, 0), 0.625), tmp_path / "thin")
    assert thin.outcome == thick.outcome == "flagged"
    assert thin.probabilities == pytest.approx(thick.probabilities, abs=1e-3)


def test_a_slice_sent_twice_changes_no_score(
    say: Say, make_ct: MakeCt, tmp_path: Path, calm: Volume
) -> None:
    once = say(sent(make_ct, calm), tmp_path / "once")
    datasets = sent(make_ct, calm)
    twice = say([*datasets, datasets[10]], tmp_path / "twice")
    assert twice.outcome == once.outcome == "not_flagged"
    assert twice.probabilities == pytest.approx(once.probabilities * 2, abs=1e-5)


def test_slices_sent_three_times_change_no_score(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume
) -> None:
    once = say(sent(make_ct, bleeding), tmp_path / "once")
    thrice = say(sent(make_ct, bleeding) * 3, tmp_path / "thrice")
    assert thrice.probabilities == pytest.approx(once.probabilities * 3, abs=1e-5)


@pytest.mark.parametrize("at", range(2))
def test_a_bleed_on_two_slices_is_flagged_wherever_they_are(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume, calm: Volume, at: int
) -> None:
    volume = calm.copy()
    where = slice(14 + at, 16 + at)
    volume[where] = bleeding[where]
    assert say(sent(make_ct, volume), tmp_path).outcome == "flagged"


def test_a_bleed_in_the_second_acquisition_is_flagged(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume, calm: Volume
) -> None:
    both = sent(make_ct, calm) + sent(make_ct, bleeding)
    assert say(both, tmp_path).outcome == "flagged"


def test_less_than_a_head_is_never_called_calm(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume, calm: Volume
) -> None:
    whole = sent(make_ct, calm)
    for name, part in (
        ("hole", whole[:8] + whole[20:]),
        ("three", whole[12:15]),
        ("one", whole[13:14]),
        ("base", whole[:12]),
    ):
        assert say(part, tmp_path / name).reason is Reason.INCOMPLETE
    most = sent(make_ct, bleeding)
    for dataset in most[1:]:
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    assert say(most, tmp_path / "cut").outcome != "not_flagged"


def test_an_enhanced_image_has_the_score_of_its_slices(
    say: Say, make_ct: MakeCt, tmp_path: Path, bleeding: Volume
) -> None:
    plain = say(sent(make_ct, bleeding), tmp_path / "plain")
    order = np.random.default_rng(1).permutation(28)
    shifts = np.where(np.arange(28) % 2, 976, 0)
    enhanced = sent(make_ct, bleeding[:1])[0]
    enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    enhanced.NumberOfFrames, groups = 28, []
    pixels = np.stack([bleeding[at] + 1024 + shifts[at] for at in order])
    enhanced.PixelData = pixels.astype(np.int16).tobytes()
    for at in order:
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PixelValueTransformationSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 5.0 * at]
        values = group.PixelValueTransformationSequence[0]
        values.RescaleSlope, values.RescaleIntercept = 1, -1024 - int(shifts[at])
        values.RescaleType = "HU"
        groups.append(group)
    enhanced.PerFrameFunctionalGroupsSequence = groups
    del enhanced.RescaleSlope, enhanced.RescaleIntercept, enhanced.ImagePositionPatient
    assert say([enhanced], tmp_path / "enhanced") == plain
    for group in groups:
        del group.PixelValueTransformationSequence
    assert say([enhanced], tmp_path / "enhanced").reason is Reason.NO_HOUNSFIELD
