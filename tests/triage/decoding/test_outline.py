"""The body in a slice: its size, whatever lies around it, and whether a skull is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.triage.decoding.bodies import Scan, head_slice
from triage.decoding.outline import Outline, outline_of
from triage.phantoms.bodies import BODIES, body_ct

scans = st.builds(
    Scan,
    long_mm=st.floats(95, 230),
    field_mm=st.floats(240, 500),
    turn=st.floats(-180, 180),
    open=st.sampled_from([0.0, 0.0, 60.0, 100.0]),
    level=st.sampled_from([0.25, 0.5, 0.75]),
    holder=st.booleans(),
    table=st.booleans(),
    drape=st.booleans(),
)
PARTS = [kind for kind in BODIES if kind != "shapes"]  # a ring that is drawn may look like one
seeds = st.integers(0, 10_000)


@settings(max_examples=3 * settings.default.max_examples // 5, deadline=None)
@given(seed=seeds, scan=scans)
def test_a_head_is_as_large_as_it_is_and_has_a_skull_however_it_is_scanned(
    seed: int, scan: Scan
) -> None:
    found = outline_of(head_slice(seed, scan))
    square_mm = scan.field_mm / 64
    turned = 1.05 if abs(scan.turn) % 90 > 1 else 1.0
    assert found.side_px * scan.side_mm <= turned * scan.long_mm + 3 * square_mm
    assert found.side_px * scan.side_mm >= 0.75 * scan.long_mm - 2 * square_mm
    assert found.skull
    assert not found.cut


@settings(max_examples=3 * settings.default.max_examples // 10, deadline=None)
@given(seed=seeds, kind=st.sampled_from(PARTS), side=st.sampled_from([128, 256, 512]))
def test_other_parts_of_a_body_have_no_skull(seed: int, kind: str, side: int) -> None:
    body = body_ct(np.random.default_rng(seed), kind, side).astype(np.float32)
    assert not outline_of(body).skull


@settings(max_examples=settings.default.max_examples // 5, deadline=None)
@given(seed=seeds, rows=st.integers(1, 90), columns=st.integers(1, 700))
def test_a_slice_of_any_shape_is_measured(seed: int, rows: int, columns: int) -> None:
    grains = np.random.default_rng(seed).normal(-300, 700, (rows, columns)).astype(np.float32)
    assert 0 <= outline_of(grains).side_px <= max(rows, columns)


@pytest.mark.parametrize("hounsfield", [-1000.0, 40.0])
def test_air_alone_is_no_body_and_one_that_fills_the_slice_is_as_large(hounsfield: float) -> None:
    found = outline_of(np.full((256, 256), hounsfield, np.float32))
    assert found == Outline(0 if hounsfield < -300 else 256, skull=False)


def test_half_a_skull_is_none() -> None:
    assert outline_of(head_slice(3, Scan(180, open=100))).skull
    assert not outline_of(head_slice(3, Scan(180, open=200))).skull


def test_a_table_that_is_wider_than_the_head_is_no_part_of_it() -> None:
    plain, lying = (outline_of(head_slice(5, Scan(150, 450, table=on))) for on in (False, True))
    assert lying == plain


def test_a_body_that_winds_through_the_slice_is_one_region() -> None:
    # A bar goes down, across and up again and again; a block beside it is larger than each part.
    cells = np.full((64, 64), -1000.0, np.float32)
    for at in range(0, 40, 8):
        cells[4:60, at : at + 4] = 40.0
    for at in range(0, 32, 8):
        cells[slice(56, 60) if at % 16 == 0 else slice(4, 8), at : at + 12] = 40.0
    cells[20:40, 44:62] = 40.0
    found = outline_of(np.repeat(np.repeat(cells, 4, 0), 4, 1))
    assert found.side_px == 56 * 4
