"""*Not flagged* needs the whole of a primary series."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.errors import Reason
from triage.decoding.frames import Read
from triage.judging.coverage import why_incomplete
from triage.packages.load import load_package
from triage.packages.manifest import BodyRule
from triage.settings import shipped_models

HEAD, FILM = (
    load_package(shipped_models() / name).manifest.coverage
    for name in ("head-ct-ich", "chest-opacity")
)
WHOLE = Read(28, 28, 140.0, 5.0, 5.0)


def test_a_whole_head_is_whole() -> None:
    assert why_incomplete(HEAD, WHOLE, 28, None) is None
    assert why_incomplete(HEAD, WHOLE, 28, 29) is None
    assert why_incomplete(FILM, Read(2, 2), 3, None) is None


@pytest.mark.parametrize(
    "read",
    [
        replace(WHOLE, read=27),
        replace(WHOLE, extent_mm=99.0),
        replace(WHOLE, extent_mm=None, spacing_mm=None, largest_gap_mm=None),
        replace(WHOLE, largest_gap_mm=7.6),
        Read(1, 1, 5.0, 5.0),
        Read(1, 24, 5.0, 5.0),
        Read(3, 3, 15.0, 5.0, 5.0),
    ],
    ids=["unreadable", "short", "no places", "hole", "one slice", "23 cut off", "three slices"],
)
def test_less_than_a_whole_head_is_incomplete(read: Read) -> None:
    assert why_incomplete(HEAD, read, 28, None) is Reason.INCOMPLETE


@pytest.mark.parametrize(
    "read",
    [replace(WHOLE, cut=1, vertex=True), replace(WHOLE, vertex=False), WHOLE],
    ids=["cut", "no vertex", "no size or place of a slice is stated"],
)
def test_a_head_that_is_cut_or_has_no_vertex_is_incomplete_where_one_is_asked_for(
    read: Read,
) -> None:
    head = BodyRule(skull_mm=20.0)
    assert why_incomplete(HEAD, read, 28, None, head) is Reason.INCOMPLETE
    assert why_incomplete(HEAD, replace(WHOLE, vertex=True), 28, None, head) is None
    for other in (BodyRule(size_mm=(300.0, 600.0)), None):
        assert why_incomplete(HEAD, read, 28, None, other) is None


def test_images_that_were_announced_and_did_not_come_are_missed() -> None:
    assert why_incomplete(HEAD, WHOLE, 28, 30) is Reason.INCOMPLETE
    assert why_incomplete(FILM, Read(1, 1), 1, 2) is Reason.INCOMPLETE


@pytest.mark.parametrize(("width", "height"), [(35, 43), (43, 35), (56, 40), (30, 30)])
def test_half_a_film_is_never_not_flagged(width: int, height: int) -> None:
    def said(*aspects: float) -> Reason | None:
        read = Read(len(aspects), len(aspects), aspects=(min(aspects), max(aspects)))
        return why_incomplete(FILM, read, len(aspects), None)

    whole = width / height
    assert said(whole) is None
    left, upper = whole / 2, whole * 2
    for part in (left, *([upper] if upper > 2 else [])):
        assert said(part) is said(whole, part) is Reason.INCOMPLETE


def test_a_film_that_cannot_be_read_is_missed() -> None:
    assert why_incomplete(FILM, Read(1, 2), 2, None) is Reason.INCOMPLETE


def test_captures_and_derived_images_are_never_not_flagged() -> None:
    assert why_incomplete(HEAD, replace(WHOLE, primary=False), 28, None) is Reason.NOT_PRIMARY
