"""Images that are not what they seem: how they are sent, and how each ought to end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from infra.demo.case import Case, Situation
from triage.phantoms.films import chest_film

_SCREENED = ("flagged", "not_flagged")
#: What no package of the demo is meant for.
_ELSEWHERE = tuple(
    f"not_analysed: outside_intended_use_{part}" for part in ("modality", "body_part", "image")
)
#: By situation, the outcomes that are right.
EXPECTED: dict[Situation, tuple[str, ...]] = {
    "prone": _SCREENED,
    "hole": ("flagged", "not_analysed: incomplete"),
    "french": _SCREENED,
    "dose_page": ("not_analysed: outside_intended_use_image",),
    "film": ("not_analysed: out_of_distribution",),
    "prior": ("historic",),
    "pet_ct": _ELSEWHERE,
    "tomosynthesis": _ELSEWHERE,
    "damaged": ("not_analysed: bad_dicom",),
    "icon": _SCREENED,
}


def film_as_head(rng: np.random.Generator, slices: int) -> NDArray[np.int16]:
    """A chest film where a head is said to be: int16 HU [slices, 256, 256]."""
    film = chest_film(rng, opacity=False, size=256).astype(np.float32) * (1400 / 4095) - 1000
    noise = rng.normal(0.0, 4.0, (slices, *film.shape))
    return np.asarray(film + noise, np.int16)


def as_sent(images: Sequence[Dataset], situation: Situation) -> list[Dataset]:
    """The slices of a head as a scanner sends them in `situation`; they are changed."""
    if situation == "prone":
        for image in images:
            _turn(image)
    elif situation == "hole":
        return [*images[: len(images) // 3], *images[2 * len(images) // 3 :]]
    elif situation == "french":
        for image in images:
            del image.BodyPartExamined
            image.StudyDescription = "TDM cérébrale"
            image.SeriesDescription = "Crâne sans injection 5 mm"
    return list(images)


def _turn(image: Dataset) -> None:
    """Half around: what is stored first is then the patient's left back."""
    pixels = np.frombuffer(image.PixelData, np.uint16).reshape(image.Rows, image.Columns)
    image.PixelData = np.ascontiguousarray(pixels[::-1, ::-1]).tobytes()
    image.PatientPosition = "HFP"
    image.ImageOrientationPatient = ["-1", "0", "0", "0", "-1", "0"]
    left, back, height = image.ImagePositionPatient
    image.ImagePositionPatient = [f"{-left:g}", f"{-back:g}", height]


def page(rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a dose page looks like from afar: lines of bright words, uint8 [512, 512]."""
    words = rng.random((32, 64)) < 0.4
    words[1::2] = False
    return np.kron(words, np.full((16, 8), 230, np.uint8)).astype(np.uint8)


def situations(
    cases: Iterable[Case], rows_of: Mapping[int, Sequence[Mapping[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """The report's ``situations``: by name what was expected, what the list says, whether it fits.

    Args:
        rows_of: by number of the case, its rows.
    """
    told = dict[str, dict[str, Any]]()
    for case in cases:
        if not case.situation:
            continue
        found = sorted({_outcome(row) for row in rows_of[case.number]})
        expected = EXPECTED[case.situation]
        told[case.situation] = {
            "expected": list(expected),
            "found": found,
            "as_expected": bool(found) and set(found) <= set(expected),
        }
    return told


def situations_in_words(told: Mapping[str, Mapping[str, Any]]) -> str:
    """The same for a person."""
    return "; ".join(
        f"{name}: {' and '.join(one['found']) or 'nothing'}, "
        + ("as it should" if one["as_expected"] else f"expected {' or '.join(one['expected'])}")
        for name, one in told.items()
    )


def _outcome(row: Mapping[str, Any]) -> str:
    if row.get("state") == "historic":
        return "historic"
    reason = row.get("ai_reason") if row["ai"] == "not_analysed" else ""
    return f"{row['ai']}: {reason}" if reason else str(row["ai"])
