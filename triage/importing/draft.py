"""What only those who will use a model can say of it: the draft of `vigie models import`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from triage.importing.checkpoint import ImportRefused
from triage.packages.input_spec import RecipeSpec, Strict
from triage.packages.manifest import EligibilityRule, Gives, Operating, Training


class DraftOutput(Strict):
    """One finding that the model is used for.

    Attributes:
        source: its name or its index among the model's own classes.
        threshold: of the calibrated probability; None: the model's published one, where it has
            one.
    """

    source: str | int
    code: str
    label: str
    radlex: str
    snomed: str
    gives: Gives = "logit"
    slope: float = Field(default=1.0, gt=0.0)
    intercept: float = 0.0
    threshold: float | None = Field(default=None, gt=0.0, lt=1.0)


class Draft(Strict):
    """The file.

    Attributes:
        thresholds: of a TorchXRayVision checkpoint, which published operating points are its.
        input: what a model reads; TorchXRayVision's is known.
        classes: numbers that an ONNX or pt2 network gives.
        batch: images that it takes at once.
    """

    name: str
    version: str
    title: str
    intended_use: str
    licence: str
    eligible: EligibilityRule
    outputs: tuple[DraftOutput, ...] = Field(min_length=1)
    training: Training
    operating: Operating = Operating(top_k=1, chosen="as published by its makers")
    thresholds: str = ""
    input: RecipeSpec | None = None
    classes: int = Field(default=1, ge=1)
    batch: int = Field(default=8, ge=1, le=64)


def read_draft(file: Path) -> Draft:
    """The draft in `file`. Raises ImportRefused, in one line."""
    try:
        return Draft.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ImportRefused(f"{file.name}: {where}: {first['msg']}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ImportRefused(f"{file.name}: {error}") from None
