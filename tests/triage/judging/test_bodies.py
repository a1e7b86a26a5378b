"""Another part of a body is told by its size and by the skull that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streams.errors import Reason
from triage.decoding.frames import Frame
from triage.judging.bodies import Unlike, unlike_stacks
from triage.judging.flagging import judge
from triage.judging.outputs import judge_stacks
from triage.packages.load import Package, load_package
from triage.packages.manifest import Abstention, BodyRule
from triage.settings import shipped_models
from triage.train.recipes import RECIPES

HEAD = BodyRule(size_mm=(70.0, 280.0), skull_mm=20.0)
NO_PIXELS = np.empty((0, 0), np.float32)


def frame(
    body_mm: float | None = 180.0, skull: bool | None = True, stack: int = 0, at: float = 0.0
) -> Frame:
    return Frame(NO_PIXELS, "hu", at, stack, 0.5, body_mm=body_mm, skull=skull)


def stack_of(sizes: Sequence[float | None], skulls: int, step: float = 5.0) -> list[Frame]:
    """Images `step` mm apart, the first of which show a skull."""
    return [frame(size, number < skulls, at=step * number) for number, size in enumerate(sizes)]


@settings(max_examples=settings.default.max_examples)
@given(sizes=st.lists(st.floats(90, 260), min_size=1, max_size=60), share=st.floats(0.25, 1))
def test_a_head_of_any_size_with_a_skull_in_a_quarter_of_it_is_like_a_head(
    sizes: list[float], share: float
) -> None:
    skulls = int(np.ceil(share * len(sizes)))
    assert unlike_stacks(HEAD, stack_of(sizes, skulls)) == {}


@settings(max_examples=settings.default.max_examples)
@given(sizes=st.lists(st.floats(281, 600), min_size=1, max_size=60), skulls=st.integers(0, 60))
def test_what_is_wider_than_any_head_is_none_whatever_is_seen_in_it(
    sizes: list[float], skulls: int
) -> None:
    assert unlike_stacks(HEAD, stack_of(sizes, skulls)) == {0: "size"}


def test_shoulders_below_a_head_and_its_vertex_are_no_matter() -> None:
    sizes = [450.0] * 8 + [180.0] * 20 + [60.0] * 4
    assert unlike_stacks(HEAD, stack_of([*sizes[::-1]], 12)) == {}
    assert unlike_stacks(HEAD, stack_of([450.0] * 20 + [180.0] * 12, 12)) == {0: "size"}


def test_a_finger_and_a_wrist_are_too_small() -> None:
    assert unlike_stacks(HEAD, stack_of([60.0] * 20, 20)) == {0: "size"}


def test_a_long_stack_needs_so_many_millimetres_of_skull_a_short_one_a_quarter() -> None:
    neck = [180.0] * 80
    assert unlike_stacks(HEAD, stack_of(neck, 4)) == {}
    assert unlike_stacks(HEAD, stack_of(neck, 3)) == {0: "skull"}
    assert unlike_stacks(HEAD, stack_of(neck, 4, step=2.5)) == {0: "skull"}
    assert unlike_stacks(HEAD, stack_of([180.0] * 8, 2)) == {}
    assert unlike_stacks(HEAD, stack_of([180.0] * 8, 1)) == {0: "skull"}
    assert unlike_stacks(HEAD, [frame()]) == {}
    assert unlike_stacks(HEAD, [frame(skull=False)]) == {0: "skull"}


def test_images_without_a_place_are_counted() -> None:
    loose = [replace(one, position_mm=None) for one in stack_of([180.0] * 8, 1)]
    assert unlike_stacks(HEAD, loose) == {0: "skull"}


def test_where_no_header_states_a_size_the_skull_alone_tells() -> None:
    assert unlike_stacks(HEAD, stack_of([None] * 8, 8)) == {}
    assert unlike_stacks(HEAD, stack_of([None] * 8, 0)) == {0: "skull"}


def test_of_pictures_and_of_packages_that_ask_for_nothing_nothing_is_said() -> None:
    pictures = [Frame(NO_PIXELS, "display")] * 4
    assert unlike_stacks(HEAD, pictures) == {}
    assert unlike_stacks(None, stack_of([500.0] * 8, 0)) == {}
    assert unlike_stacks(BodyRule(), stack_of([500.0] * 8, 0)) == {}
    assert unlike_stacks(BodyRule(skull_mm=20), stack_of([500.0] * 8, 8)) == {}


def test_slices_of_air_are_of_no_size() -> None:
    assert unlike_stacks(HEAD, stack_of([180.0] * 3 + [0.0] * 5, 3)) == {}


def test_each_stack_is_asked_for_itself() -> None:
    head = stack_of([180.0] * 8, 8)
    chest = [replace(one, stack=1) for one in stack_of([350.0] * 30, 0)]
    assert unlike_stacks(HEAD, head + chest) == {1: "size"}


@pytest.fixture(scope="module")
def package() -> Package:
    """The shipped head package, with the rule and a guard that knows everything."""
    found = load_package(shipped_models() / "head-ct-ich")
    rule = Abstention(max_foreign=0.5, min_share=0.5, max_spread=9.0)
    changes = {"body": HEAD, "abstention": rule}
    return replace(found, manifest=found.manifest.model_copy(update=changes))


def scores(logit: float, foreign: float, images: int = 8) -> np.ndarray:
    return np.array([[logit, foreign, 0.1]] * images, np.float32)


@pytest.mark.parametrize(
    ("unlike", "logit", "foreign"),
    [("size", -9.0, -9.0), ("size", 9.0, -9.0), ("skull", -9.0, -9.0), ("skull", 9.0, 9.0)],
)
def test_another_part_is_not_judged_not_even_where_it_would_be_flagged(
    package: Package, unlike: Unlike, logit: float, foreign: float
) -> None:
    found = judge(package, scores(logit, foreign), unlike)
    assert (found.outcome, found.reason) == ("not_analysed", Reason.OUT_OF_DISTRIBUTION)
    assert found.unlike == unlike


def test_a_bleed_in_a_skull_that_is_open_on_both_sides_is_flagged(package: Package) -> None:
    found = judge(package, scores(9.0, -9.0), "skull")
    assert (found.outcome, found.unlike) == ("flagged", None)
    unguarded = package.manifest.model_copy(update={"abstention": None})
    alone = judge(replace(package, manifest=unguarded), scores(9.0, -9.0)[:, :1], "skull")
    assert alone.unlike == "skull"  # nothing else knows what it is


def test_what_the_guard_does_not_know_is_told_by_its_features(package: Package) -> None:
    assert judge(package, scores(9.0, 9.0)).unlike == "features"
    assert judge(package, scores(9.0, 9.0), "size").unlike == "size"
    assert judge(package, scores(9.0, -9.0)).unlike is None


def test_a_bleed_is_flagged_though_a_second_stack_is_of_the_chest(package: Package) -> None:
    head = stack_of([180.0] * 8, 8)
    chest = [replace(one, stack=1) for one in stack_of([350.0] * 8, 0)]
    bleeding, calm = scores(9.0, -9.0), scores(-9.0, -9.0)
    assert judge_stacks(package, np.concatenate([bleeding, calm]), head + chest) == "flagged"
    assert judge_stacks(package, np.concatenate([calm, bleeding]), head + chest) == "not_analysed"


def test_the_shipped_package_asks_for_what_its_recipe_says() -> None:
    shipped = load_package(shipped_models() / "head-ct-ich").manifest.body
    assert shipped == BodyRule.model_validate(RECIPES["head-ct-ich"].manifest["body"])
    assert load_package(shipped_models() / "chest-opacity").manifest.body is None


@pytest.mark.parametrize("sizes", [(280.0, 70.0), (0.0, 70.0), (70.0, 70.0)])
def test_sizes_that_no_body_has_are_refused(sizes: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        BodyRule(size_mm=sizes)
