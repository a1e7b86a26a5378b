"""Ages, and what a header states beside its words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset

from streams.errors import Reason
from tests.triage.decoding.heads import MakeCt
from triage.eligibility.header_facts import facts_of, frame_types
from triage.eligibility.rule import Facts, Rule, image_decision, series_decision, view_of
from triage.packages.load import load_package
from triage.settings import shipped_models

HEAD, CHEST = (
    load_package(shipped_models() / name).rule for name in ("head-ct-ich", "chest-opacity")
)
ADULT = Facts("CT", "HEAD", "Axial brain", "CT head", 40.0)
CHILD = Facts("DX", "CHEST", "Chest", "", 3.0, views=("AP",))


def reason(rule: Rule, facts: Facts) -> Reason | None:
    return image_decision(rule, facts).reason


@pytest.mark.parametrize(
    ("years", "outcome"), [(0.003, None), (5.0, None), (72.9, None), (73.0, "age"), (104.0, "age")]
)
def test_the_head_package_reads_the_ages_of_its_own_data(years: float, outcome: str | None) -> None:
    found = series_decision(HEAD, replace(ADULT, age_years=years))
    assert found.reason is (Reason.OUTSIDE_AGE if outcome else None)


def test_an_absent_age_is_read_or_refused_as_the_package_says() -> None:
    assert reason(HEAD, replace(ADULT, age_years=None)) is None
    assert reason(CHEST, replace(CHILD, age_years=None)) is Reason.OUTSIDE_AGE
    assert reason(CHEST, replace(CHILD, age_years=5.9)) is None
    assert reason(CHEST, replace(CHILD, age_years=6.0)) is Reason.OUTSIDE_AGE


@pytest.mark.parametrize("stated", ["42", "0.5Y", "999Y", "Y", "vieux"])
def test_an_age_that_cannot_be_read_is_refused_even_where_an_absent_one_is_read(
    make_ct: MakeCt, tmp_path: Path, stated: str
) -> None:
    dataset = make_ct(8, 8)
    dataset.BodyPartExamined, dataset.PatientAge = "HEAD", "040Y"
    assert reason(HEAD, facts_of(dataset)) is None
    del dataset.PatientAge
    assert reason(HEAD, facts_of(dataset)) is None
    dataset.add_new("PatientAge", "LO", stated)
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    assert reason(HEAD, facts_of(dcmread(tmp_path / "x"))) is Reason.OUTSIDE_AGE
    dataset.PatientBirthDate, dataset.StudyDate = "19800101", "20260101"
    assert facts_of(dataset).age_years == pytest.approx(46, abs=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("stated", "born", "years"),
    [("018M", "", 1.5), ("", "20200101", 3.0), ("", "", None), ("old", "2020", None)],
)
def test_the_age_is_the_stated_one_else_that_of_the_dates(
    ct_file: FileDataset, stated: str, born: str, years: float | None
) -> None:
    ct_file.PatientAge, ct_file.PatientBirthDate, ct_file.StudyDate = stated, born, "20230101"
    found = facts_of(ct_file).age_years
    assert found == (None if years is None else pytest.approx(years, abs=0.01))


@pytest.mark.parametrize(("day", "years"), [("20261126", 5), ("20261127", 6)])
def test_a_child_is_six_from_its_sixth_birthday_on(
    ct_file: FileDataset, day: str, years: int
) -> None:
    ct_file.PatientBirthDate, ct_file.StudyDate = "20201127", day
    age = facts_of(ct_file).age_years
    assert age is not None
    assert int(age) == years


@pytest.mark.parametrize(
    ("stated", "reason"), [("YES", Reason.OUTSIDE_IMAGE), ("NO", None), ("BOTH", None), ("", None)]
)
def test_a_physicist_s_image_is_no_patient_s(
    ct_file: FileDataset, stated: str, reason: Reason | None
) -> None:
    ct_file.QualityControlImage, ct_file.ImageType = stated, ["ORIGINAL", "PRIMARY"]
    assert image_decision(Rule(), facts_of(ct_file)).reason is reason


def test_a_birth_date_that_stands_for_an_unknown_one_is_no_age(ct_file: FileDataset) -> None:
    ct_file.PatientBirthDate, ct_file.StudyDate = "19000101", "20260101"
    found = facts_of(ct_file)
    assert (found.age_years, found.age_unreadable) == (None, False)


@pytest.mark.parametrize(
    ("views", "outcome"),
    [
        (("PA",), None),
        (("AP", "frontal"), None),
        (("frontal",), None),
        (("antero-posterior",), None),
        (("LL",), Reason.OUTSIDE_VIEW),
        (("AP", "lateral"), Reason.OUTSIDE_VIEW),
        ((), Reason.OUTSIDE_VIEW),
    ],
)
def test_a_film_is_read_by_its_view(views: tuple[str, ...], outcome: Reason | None) -> None:
    assert reason(CHEST, replace(CHILD, views=views)) is outcome


@pytest.mark.parametrize(
    ("described", "outcome"),
    [
        ("Thorax profil", Reason.OUTSIDE_VIEW),
        ("AP lateral decubitus", Reason.OUTSIDE_VIEW),
        ("PA and lateral", None),
        ("Thorax décubitus dorsal", None),
    ],
)
def test_the_description_objects_although_the_header_says_a_frontal_view(
    described: str, outcome: Reason | None
) -> None:
    film = replace(CHILD, series_description=described, views=("PA",))
    assert reason(CHEST, film) is outcome
    only_pa = replace(CHEST, views=("PA",))
    assert reason(only_pa, replace(film, series_description="Chest AP")) is Reason.OUTSIDE_VIEW
    front = replace(film, series_description="Thorax face")
    assert reason(only_pa, replace(front, views=("PA", "frontal"))) is None
    assert reason(only_pa, replace(front, views=())) is Reason.OUTSIDE_VIEW


def test_a_film_processed_by_its_detector_is_derived_and_primary() -> None:
    processed = replace(CHILD, image_type=("DERIVED", "PRIMARY"))
    assert image_decision(CHEST, processed).primary
    made = replace(CHILD, image_type=("DERIVED", "SECONDARY"))
    assert not image_decision(CHEST, made).primary


def test_a_native_series_of_a_vessel_study_is_told_by_the_tissue_it_is_called_by() -> None:
    study = replace(ADULT, study_description="CT ANGIO HEAD", series_description="BRAIN 5mm")
    assert reason(HEAD, study) is None
    for described in ("HEAD 0.6", "5mm", "Brain arterial"):
        found = replace(study, series_description=described)
        assert reason(HEAD, found) is Reason.OUTSIDE_CONTRAST
    given = replace(study, study_description="CT ANGIO HEAD WITH CONTRAST")
    assert reason(HEAD, given) is Reason.OUTSIDE_CONTRAST
    assert reason(HEAD, replace(study, agent="Iomeron")) is Reason.OUTSIDE_CONTRAST


@pytest.mark.parametrize(
    ("stated", "given"),
    [
        ({"ContrastBolusAgent": "", "ContrastBolusIngredient": "IODINE"}, True),
        ({"ContrastBolusVolume": "80"}, True),
        ({"ContrastBolusAgent": "", "ContrastBolusTotalDose": "24.5"}, True),
        ({"ContrastBolusVolume": "0", "ContrastBolusTotalDose": ""}, False),
        ({"ContrastBolusAgent": "NONE", "ContrastBolusVolume": "0"}, False),
        ({"ContrastBolusAgent": "", "ContrastBolusRoute": "IV"}, False),
    ],
)
def test_contrast_whose_agent_has_no_name_is_told_by_ingredient_or_amount(
    make_ct: MakeCt, stated: dict[str, str], *, given: bool
) -> None:
    dataset = make_ct(8, 8)
    dataset.BodyPartExamined = "HEAD"
    for name, value in stated.items():
        setattr(dataset, name, value)
    assert reason(HEAD, facts_of(dataset)) is (Reason.OUTSIDE_CONTRAST if given else None)


def test_a_lateral_without_view_position_is_known_by_how_its_rows_run() -> None:
    film = Dataset()
    film.Modality, film.BodyPartExamined, film.PatientAge = "DX", "CHEST", "003Y"
    film.PatientOrientation = ["A", "F"]
    assert reason(CHEST, facts_of(film)) is Reason.OUTSIDE_VIEW
    film.PatientOrientation = ["L", "F"]
    assert reason(CHEST, facts_of(film)) is None
    film.ViewCodeSequence = [Dataset()]
    film.ViewCodeSequence[0].CodeMeaning = "lateral"
    assert reason(CHEST, facts_of(film)) is Reason.OUTSIDE_VIEW


def test_raw_data_of_a_film_is_not_read() -> None:
    assert reason(CHEST, replace(CHILD, presentation="FOR PROCESSING")) is Reason.OUTSIDE_IMAGE
    assert reason(CHEST, replace(CHILD, presentation="FOR PRESENTATION")) is None


def test_a_film_whose_class_alone_says_that_it_is_raw_is_not_read() -> None:
    shown, raw = (f"1.2.840.10008.5.1.4.1.1.1.1{part}" for part in ("", ".1"))
    assert reason(CHEST, replace(CHILD, sop_class=shown)) is None
    assert reason(CHEST, replace(CHILD, sop_class=raw)) is Reason.OUTSIDE_IMAGE


@pytest.mark.parametrize(
    ("text", "view"),
    [("PA", "PA"), ("AP_SUPINE", "AP"), ("W Chest lat.", "LATERAL"), ("face", "FRONTAL"), ("", "")],
)
def test_views_are_called_many_names(text: str, view: str) -> None:
    assert view_of(text) == view


def test_a_capture_and_what_was_made_of_others_are_not_primary() -> None:
    capture = replace(ADULT, sop_class="1.2.840.10008.5.1.4.1.1.7")
    made = replace(ADULT, image_type=("DERIVED", "SECONDARY"))
    for facts, primary in ((capture, False), (made, False), (ADULT, True)):
        found = image_decision(HEAD, facts)
        assert (found.reason, found.primary) == (None, primary)
    pet = replace(ADULT, sop_class="1.2.840.10008.5.1.4.1.1.128")
    assert reason(HEAD, pet) is Reason.OUTSIDE_MODALITY


def test_each_frame_of_an_enhanced_image_has_its_own_type() -> None:
    enhanced = Dataset()
    enhanced.Modality, enhanced.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    frames = []
    for kind in ("VOLUME", "LOCALIZER", ""):
        frames.append(Dataset())
        if kind:
            frames[-1].CTImageFrameTypeSequence = [Dataset()]
            frames[-1].CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", kind]
    enhanced.PerFrameFunctionalGroupsSequence = frames
    assert [kind[2] for kind in frame_types(enhanced)] == ["VOLUME", "LOCALIZER", "VOLUME"]
    assert frame_types(Dataset()) == []


def test_a_header_of_nonsense_gives_facts_all_the_same() -> None:
    odd = Dataset()
    odd.add_new("ImageType", "CS", None)
    odd.add_new("PatientBirthDate", "LO", "yesterday")
    odd.add_new("ConvolutionKernel", "SH", ["", ""])
    assert facts_of(odd) == Facts("")
