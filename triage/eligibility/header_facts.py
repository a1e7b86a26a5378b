"""What a DICOM header states of an image, as far as a package's rule asks for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from triage.eligibility.elements import BROKEN_VALUE, numbers_of, value_of
from triage.eligibility.rule import Facts

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def group_of(dataset: Dataset, frame: int, name: str) -> Dataset:
    """The item that states `name` for `frame` (PS3.3 §C.7.6.16).

    Its own functional group comes first, then the shared one, then the top level.
    """
    for holder in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        items = items_of(dataset, holder)
        place = frame if holder.startswith("Per") else 0
        if place < len(items) and (found := items_of(items[place], name)):
            return found[0]
    return dataset


def items_of(dataset: Dataset, name: str) -> Sequence[Dataset]:
    """The items of a sequence; none where it is something else, or cannot be read."""
    try:
        value = value_of(dataset, name)
    except BROKEN_VALUE:
        return ()
    return value if isinstance(value, Items) else ()


def facts_of(dataset: Dataset) -> Facts:
    """The facts of one image. Never raises: what cannot be read is left out."""
    modality = text_of(dataset, "Modality")
    years, unreadable = _age(dataset)
    described = (text_of(dataset, name) for name in ("SeriesDescription", "ProtocolName"))
    series = next((one for one in described if one), "")
    return Facts(
        modality=modality,
        body_part=text_of(dataset, "BodyPartExamined")
        or _meaning(dataset, "AnatomicRegionSequence"),
        series_description=series,
        study_description=text_of(dataset, "StudyDescription"),
        age_years=years,
        age_unreadable=unreadable,
        sop_class=text_of(dataset, "SOPClassUID"),
        image_type=values_of(dataset, "ImageType"),
        views=_views(dataset),
        presentation=text_of(dataset, "PresentationIntentType"),
        quality_control=text_of(dataset, "QualityControlImage"),
        agent=_agent(dataset),
        kernel=kernel_of(dataset, 0),
    )


def kernel_of(dataset: Dataset, frame: int) -> str:
    """What `frame` was reconstructed with; empty where it is not stated."""
    reconstruction = group_of(dataset, frame, "CTReconstructionSequence")
    return next(iter(values_of(reconstruction, "ConvolutionKernel")), "")


def frame_types(dataset: Dataset) -> list[tuple[str, ...]]:
    """Image Type of each frame of an enhanced image, which may hold several; empty for others."""
    name = f"{text_of(dataset, 'Modality')}ImageFrameTypeSequence"
    return [
        values_of(group_of(dataset, frame, name), "FrameType") or values_of(dataset, "ImageType")
        for frame in range(len(items_of(dataset, "PerFrameFunctionalGroupsSequence")))
    ]


def text_of(dataset: Dataset, name: str) -> str:
    """The value as text; empty where there is none, or none that can be read."""
    try:
        return str(value_of(dataset, name) or "").strip()
    except BROKEN_VALUE:
        return ""


def values_of(dataset: Dataset, name: str) -> tuple[str, ...]:
    """All values as text in capitals; none where there are none that can be read."""
    try:
        value = value_of(dataset, name)
    except BROKEN_VALUE:
        return ()
    if value is None:
        return ()
    many = [value] if isinstance(value, str) else value
    try:
        return tuple(str(one).strip().upper() for one in many)
    except BROKEN_VALUE:
        return ()


def _meaning(dataset: Dataset, name: str) -> str:
    """What the first code of a sequence means, in words."""
    return next((text_of(item, "CodeMeaning") for item in items_of(dataset, name)), "")


def _agent(dataset: Dataset) -> str:
    """What was given, where the agent is named; else by what is stated of it without its name.

    The name may be empty (PS3.3 §C.7.6.4): then an ingredient or an amount says the same.
    """
    named = text_of(dataset, "ContrastBolusAgent") or _meaning(
        dataset, "ContrastBolusAgentSequence"
    )
    if found := named or text_of(dataset, "ContrastBolusIngredient"):
        return found
    for name in ("ContrastBolusVolume", "ContrastBolusTotalDose"):
        with suppress(*BROKEN_VALUE):
            amount = numbers_of(dataset, name)
            if amount is not None and len(amount) and amount[0] > 0:
                return "not named"
    return ""


def _views(dataset: Dataset) -> tuple[str, ...]:
    """The view by View Position, View Code Sequence, and the way the rows run."""
    told = [text_of(dataset, "ViewPosition"), _meaning(dataset, "ViewCodeSequence")]
    told += _plane_in_letters(values_of(dataset, "PatientOrientation"))
    return tuple(one for one in told if one)


def _plane_in_letters(ways: Sequence[str]) -> list[str]:
    """What Patient Orientation says of a film, which may be turned (PS3.3 §C.7.6.1.1.1).

    Rows and columns that both run up and down, or none of them, are those of no film.
    """
    letters = "".join(way[:1] for way in ways[:2])
    across = letters.strip("HF")
    if not set(letters) <= set("APLRHF") or not letters:
        return []
    if len(letters) == 2 and len(across) != 1:
        return ["oblique"]
    return ["lateral" if letter in "AP" else "frontal" for letter in across]


def _age(dataset: Dataset) -> tuple[float | None, bool]:
    """Years, from the age that is stated, else from the dates of birth and study.

    And whether something is stated that is no age.
    """
    stated = text_of(dataset, "PatientAge")
    if (match := _AGE.fullmatch(stated)) and int(match[1]) / _PER_YEAR[match[2]] <= 150:
        return int(match[1]) / _PER_YEAR[match[2]], False
    try:
        born, seen = (
            datetime.strptime(text_of(dataset, name), "%Y%m%d").replace(tzinfo=UTC)
            for name in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None, bool(stated)
    birthdays = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    years = max((seen - born).days / 365.25, birthdays)  # six on the sixth birthday
    # Dates that stand for an unknown one (1900-01-01) make nobody 126 years old.
    return (years, False) if 0 <= years <= 120 else (None, bool(stated))
