"""How each shipped package is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triage.packages.input_spec import InputSpec
from triage.train.fit import Course


@dataclass(frozen=True)
class GuardRecipe:
    """What a guard is shown that its package must not judge.

    Attributes:
        sources: of the labelled images, those of other anatomy.
        same_anatomy: parts of the names of DICOM files that show the package's own; nobody learns
            from them.
        left_out: kinds that it never learns from, and is measured on.
        each: images of each kind.
        rounds: versions of each own image.
        phantoms: drawn in addition, of its own anatomy.
    """

    sources: tuple[str, ...]
    same_anatomy: tuple[str, ...]
    left_out: tuple[str, ...]
    each: int
    rounds: int
    phantoms: int


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes:
        seed: of its training.
        left_out: a fold that it does not learn from, beside the one that is held out; empty: none.
        taught: it learns from a teacher, too (decision 0046).
    """

    seed: int
    left_out: str
    taught: bool


@dataclass(frozen=True)
class Recipe:
    """How one package is made. Folds of the corpus are split by patient.

    Attributes:
        held_out: the fold that nobody learns from who is served.
        members: the networks that are served, as one ensemble.
        calibrated: folds whose patients give the scale and the threshold, each by the networks that
            never saw them.
        twins: seeds of further networks, taught, for each of those folds: they learn from all other
            folds, so that as many strangers are asked as there are members. A mean of fewer would
            scatter more than what is served, and its highest slices lie higher.
        rounds: versions of each image.
        painted: share of the normal ones that get a finding.
        phantoms: drawn in addition.
        course: of members that nobody teaches.
        taught: of those that a teacher does.
        also_measured: further sources to measure on.
        guard: how it learns what not to judge.
        manifest: what the package says of itself in words and codes.
    """

    spec: InputSpec
    source: str
    held_out: str
    members: tuple[Member, ...]
    calibrated: tuple[str, ...]
    twins: tuple[int, ...]
    rounds: int
    painted: float
    phantoms: int
    course: Course
    taught: Course
    top_k: int
    also_measured: tuple[str, ...]
    guard: GuardRecipe
    manifest: dict[str, Any]


HEAD = Recipe(
    spec=InputSpec(kind="head_ct", channels=2, height=160, width=160),
    source="ct_ich",
    held_out="0",
    members=(
        *(Member(seed, fold, taught=False) for seed, fold in enumerate("123", 1)),
        *(Member(seed, "", taught=True) for seed in (1, 2)),
    ),
    calibrated=("1", "2", "3"),
    twins=(1, 2, 3, 4),
    rounds=24,
    painted=0.45,
    phantoms=800,
    course=Course(2300, 64, (0.28, 0.22), 1.0),
    taught=Course(3000, 128, (0.28, 0.22), 1.0, decay=0.998),
    top_k=2,
    also_measured=(),
    guard=GuardRecipe(
        sources=("kermany224", "hannover_covid"),
        same_anatomy=("CT2.", "CT2_", "693_", "J2K_pixelrep"),
        left_out=("corpus/hannover_covid", "dicom/MR", "body/pelvis", "noise/stripes"),
        each=150,
        rounds=2,
        phantoms=500,
    ),
    manifest={
        "title": "Intracranial haemorrhage on head CT",
        "intended_use": "Raises the priority of non-contrast head CT of patients up to 72 years "
        "with a probable intracranial haemorrhage. Not a diagnosis; a study that is not flagged "
        "may still bleed.",
        "eligible": {
            "modalities": ["CT"],
            "anatomy": "head",
            "sop_classes": [
                "1.2.840.10008.5.1.4.1.1.2",
                "1.2.840.10008.5.1.4.1.1.2.1",
                "1.2.840.10008.5.1.4.1.1.7",
            ],
            # Those of its own data: a day to 72 years.
            "age_years": [0.0, 72.0],
            "age_absent": "read",
            "contrast": "without",
            "kernels": "soft",
        },
        "coverage": {"min_extent_mm": 100.0, "max_extent_mm": 400.0},
        # From newborns to the largest heads, with their holder; chests of adults are wider.
        "body": {"size_mm": [70.0, 280.0], "skull_mm": 20.0},
        "finding": {
            "code": "intracranial-haemorrhage",
            "label": "Intracranial haemorrhage",
            "radlex": "RID4700",
            "snomed": "1386000",
        },
        "data": "CT-ICH (Hssayeni et al., PhysioNet, CC BY 4.0), brain-window slices; "
        "synthetic bleeds; phantoms",
        "limits": "82 patients of one hospital. Slices of other scanners were imitated, not seen. "
        "The held-out fold was looked at while design and thresholds were chosen: "
        "its figures are optimistic.",
    },
)
CHEST = Recipe(
    spec=InputSpec(kind="chest_film", channels=2, height=160, width=160),
    source="kermany224",
    held_out="test",
    members=tuple(Member(1, fold, taught=True) for fold in "0123"),
    calibrated=("0", "1", "2", "3"),
    twins=(),
    rounds=7,
    painted=0.45,
    phantoms=1500,
    course=Course(1200, 64, (0.26, 0.24), 2.0),
    taught=Course(2000, 128, (0.26, 0.24), 2.0, decay=0.998),
    top_k=1,
    also_measured=("hannover_covid",),
    guard=GuardRecipe(
        sources=("ct_ich",),
        same_anatomy=("txrv__", "MONOHR"),
        left_out=("dicom/MR", "body/pelvis", "noise/stripes"),
        each=100,
        rounds=1,
        phantoms=500,
    ),
    manifest={
        "title": "Pneumonia-like opacity on frontal chest films of children",
        "intended_use": "Raises the priority of frontal chest films of children of 1 to 5 years "
        "with a probable opacity. Not a diagnosis; a film that is not flagged may still show one.",
        "eligible": {
            "modalities": ["CR", "DX"],
            "anatomy": "chest",
            "views": ["AP", "PA"],
            "age_years": [1.0, 5.0],
        },
        # Whole films of the other hospital: 0.85 to 1.23; children's are wider.
        "coverage": {"aspect": [0.75, 2.0]},
        "finding": {
            "code": "opacity",
            "label": "Pneumonia-like opacity",
            "radlex": "RID5350",
            "snomed": "233604007",
        },
        "data": "Chest films of Kermany et al. 2018 (Mendeley Data, CC BY 4.0), "
        "children of 1 to 5 years; synthetic opacities; phantoms",
        "limits": "One hospital, children. Adults are outside the intended use.",
    },
)
RECIPES = {"head-ct-ich": HEAD, "chest-opacity": CHEST}
