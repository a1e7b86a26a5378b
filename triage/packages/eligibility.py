"""Which series a package is meant for, as far as anything is known before the pixels are read."""

from __future__ import annotations

from dataclasses import dataclass

from streams.errors import Reason
from triage.packages.manifest import EligibilityRule


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of a series before its pixels are read."""

    modality: str
    body_part: str = ""
    description: str = ""
    age_years: float | None = None
    view: str | None = None
    sop_class: str = ""


def why_ineligible(rule: EligibilityRule, series: SeriesFacts) -> Reason | None:
    """Why `series` is outside the intended use, or None if the model may look at it."""
    if series.modality.upper() not in rule.modalities:
        return Reason.OUTSIDE_MODALITY
    if rule.sop_classes and series.sop_class and series.sop_class not in rule.sop_classes:
        return Reason.OUTSIDE_MODALITY
    if not _right_body_part(rule, series):
        return Reason.OUTSIDE_BODY_PART
    if not _right_age(rule, series.age_years):
        return Reason.OUTSIDE_AGE
    if rule.views and series.view and series.view.upper() not in rule.views:
        return Reason.OUTSIDE_VIEW
    return None


def _right_age(rule: EligibilityRule, years: float | None) -> bool:
    if rule.age_years is None:
        return True
    low, high = rule.age_years
    # "5 years" lasts until the sixth birthday.
    return years is not None and low <= years < high + 1.0


def _right_body_part(rule: EligibilityRule, series: SeriesFacts) -> bool:
    if not rule.body_parts:
        return True
    if series.body_part.strip():
        return series.body_part.strip().upper() in rule.body_parts
    text = series.description.lower()
    return any(word in text for word in rule.description_words)
