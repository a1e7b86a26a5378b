"""Whether a package is meant for an image, by what is stated of it; and which rule said so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from streams.errors import Reason
from triage.eligibility.words import Tokens, find, fold, vocabulary, without

#: Of several reasons, the one that came nearest to being read is told.
NEAREST = (
    Reason.OUTSIDE_CONTRAST,
    Reason.OUTSIDE_VIEW,
    Reason.OUTSIDE_IMAGE,
    Reason.OUTSIDE_AGE,
    Reason.OUTSIDE_BODY_PART,
    Reason.OUTSIDE_MODALITY,
)
_OWN_WORDS = {"CT": "refused_ct", "CR": "refused_film", "DX": "refused_film"}
#: Digital films for processing (PS3.4 §B.5): where the intent is not stated, the class says it.
_RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # all secondary captures (PS3.4 §B.5)


@dataclass(frozen=True)
class Rule:
    """What a package looks at. Empty lists mean: any.

    Attributes:
        body_parts, words: words of BodyPartExamined and of descriptions that name its anatomy.
        refused: words of the series description that mean something else.
        elsewhere: words that do so where none of `words` stands beside them.
        age_years: the youngest and the oldest, whole years.
        age_absent: what becomes of an image without an age.
        contrast: "without": none that was given contrast.
        kernels: "soft": none that was reconstructed for bone or lung.
    """

    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    age_years: tuple[float, float] | None = None
    age_absent: Literal["read", "refuse"] = "refuse"
    contrast: Literal["any", "without"] = "any"
    kernels: Literal["any", "soft"] = "any"


def rule_of(fields: Mapping[str, Any]) -> Rule:
    """What `dataclasses.asdict` made of one, back from JSON."""
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return Rule(**{**fields, **lists})


@dataclass(frozen=True)
class Facts:
    """What is stated of an image or, without the second part, of a series.

    Attributes:
        age_unreadable: an age is stated, and is none.
        image_type: all its values, in capitals.
        views: what the header calls the view, in several places; empty where it does not.
        presentation: Presentation Intent Type.
        quality_control: Quality Control Image.
        agent: Contrast/Bolus Agent.
    """

    modality: str
    body_part: str = ""
    series_description: str = ""
    study_description: str = ""
    age_years: float | None = None
    age_unreadable: bool = False

    sop_class: str = ""
    image_type: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    presentation: str = ""
    quality_control: str = ""
    agent: str = ""
    kernel: str = ""


@dataclass(frozen=True)
class Decision:
    """What a rule says.

    Attributes:
        reason: why the image is outside the intended use; None: it is not.
        rule: the part of the rule that decided.
        because: the word, pattern or value that it decided by.
        primary: such an image can say *not flagged*; one that is a capture or was made of others
            (Image Type value 2 or 3) can only be flagged.
    """

    reason: Reason | None
    rule: str
    because: str = ""
    primary: bool = True


def series_decision(rule: Rule, facts: Facts) -> Decision:
    """What can be told of a whole series, before any of its files is opened."""
    if rule.modalities and facts.modality.strip().upper() not in rule.modalities:
        return Decision(Reason.OUTSIDE_MODALITY, "modality", facts.modality)
    told = (facts.body_part, facts.series_description, facts.study_description)
    words = _by_words(rule, facts.modality.strip().upper(), *told)
    if words.reason is not None:
        return words
    return _by_age(rule, facts) or words


def image_decision(rule: Rule, facts: Facts) -> Decision:
    """What can be told of one image by its header, its plane apart."""
    found = series_decision(rule, facts)
    if found.reason is not None:
        return found
    sop_class, words = facts.sop_class, vocabulary()
    if rule.sop_classes and sop_class and sop_class not in rule.sop_classes:
        return Decision(Reason.OUTSIDE_MODALITY, "SOP class", sop_class)
    kind = fold(" ".join(facts.image_type[2:]))
    if because := find(kind, words["image_type"]["refused"]):
        return Decision(Reason.OUTSIDE_IMAGE, "image type", because)
    if facts.presentation.strip().upper() == "FOR PROCESSING":
        return Decision(Reason.OUTSIDE_IMAGE, "presentation intent", facts.presentation)
    if facts.quality_control.strip().upper() == "YES":  # of a phantom: no patient is in it
        return Decision(Reason.OUTSIDE_IMAGE, "quality control image", facts.quality_control)
    if sop_class == _RAW:
        return Decision(Reason.OUTSIDE_IMAGE, "SOP class", sop_class)
    for refused in (_by_contrast(rule, facts), _by_kernel(rule, facts), _by_view(rule, facts)):
        if refused is not None:
            return refused
    made = find(kind, words["image_type"]["derived"]) or sop_class.startswith(_CAPTURE)
    primary = not made and facts.image_type[1:2] != ("SECONDARY",)
    derived = facts.image_type[:1] == ("DERIVED",)
    primary = primary and not _made_of_others(facts.series_description, derived)
    return Decision(None, found.rule, found.because, primary)


@lru_cache(maxsize=256)
def _by_words(rule: Rule, modality: str, body_part: str, series: str, study: str) -> Decision:
    """Anatomy, and what is no plain image, by words. The series speaks before the study."""
    own, whole, part = fold(series), fold(study), fold(body_part)
    general = vocabulary()
    if because := _no_image(own, modality):
        return Decision(Reason.OUTSIDE_IMAGE, "series description", because)
    if because := find(own, rule.refused):
        return Decision(Reason.OUTSIDE_BODY_PART, "series description", because)
    named = find(own, rule.words)
    if not named and (because := find(own, rule.elsewhere)):
        return Decision(Reason.OUTSIDE_BODY_PART, "series description", because)
    # "Radial head" is taken out of the words of the study, then a head is looked for.
    rest, other = without(whole, rule.refused)
    meant = find(rest, rule.words)
    if other and not named and not meant:
        return Decision(Reason.OUTSIDE_BODY_PART, "study description", other)
    if not rule.body_parts:
        return Decision(None, "any body part")
    if part and not find(part, general["unspecific"]["body_parts"]):
        if because := find(part, rule.body_parts):
            return Decision(None, "body part", because)
        return Decision(Reason.OUTSIDE_BODY_PART, "body part", body_part.strip())
    if named:
        return Decision(None, "series description", named)
    if meant and not other:
        return Decision(None, "study description", meant)
    return Decision(Reason.OUTSIDE_BODY_PART, "descriptions", other or "no word of it")


def _no_image(series: Tokens, modality: str) -> str:
    """The word by which a series is a scout, a map, a picture made of others; empty: none."""
    words = vocabulary()["image"]
    rest, _ = without(series, words["plain"])
    return find(rest, words["refused"]) or find(rest, words.get(_OWN_WORDS.get(modality, ""), ()))


@lru_cache(maxsize=256)
def _made_of_others(series: str, derived: bool) -> bool:
    words = vocabulary()["image"]
    entries = words["made"] + (words["made_if_derived"] if derived else ())
    return bool(find(fold(series), entries))


def _by_age(rule: Rule, facts: Facts) -> Decision | None:
    if rule.age_years is None:
        return None
    low, high = rule.age_years
    years = facts.age_years
    if years is None:
        if facts.age_unreadable:
            return Decision(Reason.OUTSIDE_AGE, "age", "none that can be read")
        return None if rule.age_absent == "read" else Decision(Reason.OUTSIDE_AGE, "age", "absent")
    # "5 years" lasts until the sixth birthday.
    if low <= years < high + 1.0:
        return None
    return Decision(Reason.OUTSIDE_AGE, "age", f"{years:g} years")


def _by_contrast(rule: Rule, facts: Facts) -> Decision | None:
    if rule.contrast == "any":
        return None
    words = vocabulary()["contrast"]
    agent = fold(facts.agent)
    if agent and " ".join(agent) not in words["no_agent"]:
        return Decision(Reason.OUTSIDE_CONTRAST, "contrast agent", "stated")
    series, study = facts.series_description, facts.study_description
    none, given = _contrast_words(series)
    # "Without" and "arterial" in one series: what was given is seen, what was not is not.
    if none or given:
        return Decision(Reason.OUTSIDE_CONTRAST, "series description", given) if given else None
    none, given = _contrast_words(study)
    if given and not none and find(fold(series), words["tissue"]):
        none, given = _contrast_words(study, of_tissue=True)
    if given and not none:  # both: a study that has both kinds of series
        return Decision(Reason.OUTSIDE_CONTRAST, "study description", given)
    return None


@lru_cache(maxsize=256)
def _contrast_words(text: str, of_tissue: bool = False) -> tuple[str, str]:
    """The words that say no contrast was given, and those that say it was; empty: none do.

    For a series that is called by the tissue, the vessels that its study names say nothing.
    """
    words = vocabulary()["contrast"]
    tokens, _ = without(fold(text), words["plain"] + (words["vessels"] if of_tissue else ()))
    tokens, both = without(tokens, words["both"])
    tokens, none = without(tokens, words["without"])
    if both or none:
        tokens, _ = without(tokens, words["what"])
    return none, find(tokens, words["with"])


def _by_kernel(rule: Rule, facts: Facts) -> Decision | None:
    if rule.kernels == "any":
        return None
    words = vocabulary()["kernel"]
    kernel = facts.kernel.strip().upper()
    if any(fnmatchcase(kernel, pattern) for pattern in words["soft"]):
        return None
    if any(fnmatchcase(kernel, pattern) for pattern in words["sharp"]):
        return Decision(Reason.OUTSIDE_IMAGE, "kernel", kernel)
    because = _sharp_word(facts.series_description)
    return Decision(Reason.OUTSIDE_IMAGE, "series description", because) if because else None


@lru_cache(maxsize=256)
def _sharp_word(series: str) -> str:
    words = vocabulary()["kernel"]
    named = (
        one
        for one in re.findall(r"[A-Z0-9]+", series.upper())
        if any(fnmatchcase(one, pattern) for pattern in words["sharp_in_text"])
    )
    return find(fold(series), words["sharp_words"]) or next(named, "")


def _by_view(rule: Rule, facts: Facts) -> Decision | None:
    """A film must be called one of the views; where several places speak, none may object."""
    if not rule.views:
        return None
    told = [view for one in facts.views if (view := view_of(one))]
    described = views_in(facts.series_description)
    # "PA and lateral" is said of both films: beside a header that names the view it says nothing.
    if described and not (told and described[0] == "LATERAL" and len(described) > 1):
        told.append(described[0])
    if not told:
        return Decision(Reason.OUTSIDE_VIEW, "view", "not stated")
    if {"AP", "PA"} & set(told):
        told = [view for view in told if view != "FRONTAL"]
    # A film told to be frontal, and no more, is of a package that reads both.
    known = {*rule.views, *(("FRONTAL",) if {"AP", "PA"} <= set(rule.views) else ())}
    wrong = next((view for view in told if view not in known), "")
    return Decision(Reason.OUTSIDE_VIEW, "view", wrong) if wrong else None


def view_of(text: str) -> str:
    """TILTED, LATERAL, PA, AP or FRONTAL, as `text` calls a view; empty where it calls none."""
    return next(iter(views_in(text)), "")


@lru_cache(maxsize=256)
def views_in(text: str) -> tuple[str, ...]:
    """All views that `text` calls, the one that a film can least be read by first."""
    tokens, _ = without(fold(text), vocabulary()["lying"]["supine"])
    views = vocabulary()["view"].items()
    return tuple(name.upper() for name, words in views if find(tokens, words))
