"""From logits to a probability and a flag: an image and a series each on a scale of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.errors import Reason
from triage.judging.flagging import highest, judge, probability
from triage.packages.load import Package, find_packages, load_package
from triage.packages.manifest import Abstention, Scale
from triage.settings import shipped_models

logits = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=24).map(
    lambda some: np.array(some, np.float32)
)


@pytest.fixture(scope="module", params=[folder.name for folder in find_packages(shipped_models())])
def package(request: pytest.FixtureRequest) -> Package:
    return load_package(shipped_models() / request.param)


@settings(max_examples=3 * settings.default.max_examples // 5)
@given_by(some=logits, more=st.floats(0, 4), at=st.integers(0, 23))
def test_a_higher_image_never_makes_a_series_less_probable(
    package: Package, some: NDArray[np.float32], more: float, at: int
) -> None:
    raised = some.copy()
    raised[at % len(some)] += np.float32(more)
    scale, top_k = package.manifest.scale(len(some)), package.manifest.operating.top_k
    before, after = (probability(highest(logits, top_k), scale) for logits in (some, raised))
    assert 0 <= before <= after <= 1


def told(package: Package, **changes: object) -> Package:
    return replace(package, manifest=package.manifest.model_copy(update=changes))


def even(package: Package) -> Package:
    """The package with thresholds of 0.4 for one image and 0.6 for several, of plain logits."""
    image, series = (Scale(slope=1, intercept=0, threshold=at) for at in (0.4, 0.6))
    output = package.manifest.output.model_copy(update={"image": image, "series": series})
    rule = Abstention(max_foreign=0.5, min_share=0.5, max_spread=1.0)
    return told(package, outputs=(output,), abstention=rule)


def given(logit: float, foreign: float = -5.0, spread: float = 0.1) -> list[float]:
    """What a guarded network gives of one image."""
    return [logit, foreign, spread]


def said(package: Package, *images: list[float]) -> tuple[str, Reason | None]:
    judged = judge(package, np.array(images, np.float32))
    return judged.outcome, judged.reason


def test_one_image_and_a_series_are_judged_on_their_own_scales(package: Package) -> None:
    assert said(even(package), given(0)) == ("flagged", None)
    assert said(even(package), given(0), given(0)) == ("not_flagged", None)


def test_a_series_is_foreign_where_too_few_of_its_images_are_familiar(package: Package) -> None:
    own, other = given(9), given(9, foreign=3.0)
    foreign = ("not_analysed", Reason.OUT_OF_DISTRIBUTION)
    assert said(even(package), other) == foreign
    assert said(even(package), own, own, other, other) == ("flagged", None)
    assert said(even(package), own, other, other) == foreign
    assert said(told(even(package), abstention=None), other) == ("flagged", None)


def test_members_that_disagree_make_a_series_unsure_but_never_take_a_flag_away(
    package: Package,
) -> None:
    apart = given(-3, spread=2.0)
    assert said(even(package), apart) == ("not_analysed", Reason.UNSURE)
    assert said(even(package), given(3, spread=2.0)) == ("flagged", None)


def test_members_may_disagree_about_images_that_do_not_count(package: Package) -> None:
    lowest = [given(-9, spread=5.0)] * 4
    assert said(even(package), given(-1), given(-1), *lowest) == ("not_flagged", None)


@settings(max_examples=3 * settings.default.max_examples // 5)
@given_by(
    foreign=st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=24),
    more=st.floats(0, 9),
    at=st.integers(0, 23),
)
def test_a_more_foreign_image_never_makes_a_series_more_familiar(
    package: Package, foreign: list[float], more: float, at: int
) -> None:
    def doubt(logits: list[float]) -> float:
        table = np.array([given(0, foreign=one) for one in logits], np.float32)
        found = judge(even(package), table).doubt
        assert found is not None
        return found.foreign

    raised = list(foreign)
    raised[at % len(raised)] += more
    assert doubt(raised) >= doubt(foreign)
