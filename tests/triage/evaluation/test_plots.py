"""The plots of a card are drawn from its manifest alone, and are of its cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.triage.evaluation.cards import NAMES, groups, told, with_curves
from triage.evaluation.card import card
from triage.evaluation.figures import auroc, ece
from triage.evaluation.plots import draw, panel, panels
from triage.model_commands import app
from triage.packages.load import load_package
from triage.settings import shipped_models

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", NAMES)
def test_curves_and_figures_of_a_card_are_of_the_same_cases(name: str) -> None:
    shipped = load_package(shipped_models() / name)
    for result in (
        *with_curves(shipped).manifest.results,
        *(r for r in shipped.manifest.results if r.reliability),
    ):
        assert sum(count for _, _, count in result.reliability) == result.n
        assert sum(round(rate * count) for _, rate, count in result.reliability) == result.positives
        assert sum(
            abs(p - rate) * count for p, rate, count in result.reliability
        ) / result.n == pytest.approx(result.ece, abs=0.001)
        assert len(result.roc) <= 40
        if result.auroc is None:
            assert result.roc == ()
        else:
            assert np.trapezoid(
                [y for _, y in result.roc], [x for x, _ in result.roc]
            ) == pytest.approx(result.auroc, abs=0.01)


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_card_is_drawn_from_the_manifest_alone(
    suffix: str, magic: bytes, tmp_path: Path
) -> None:
    package = with_curves(load_package(shipped_models() / NAMES[0]))
    rows = panels(package)
    assert [row.title for row in rows] == ["one by image", "positives only by image"]
    assert (rows[0].roc != (), rows[1].roc) == (True, ())
    draw(rows, tmp_path / f"card.{suffix}")
    assert (tmp_path / f"card.{suffix}").read_bytes().startswith(magic)
    assert "one | image | 300" in card(package)


def test_a_card_without_curves_is_told_and_a_bad_name_is_wrong_usage(tmp_path: Path) -> None:
    shipped = load_package(shipped_models() / NAMES[0])
    bare = tuple(
        result.model_copy(update={"reliability": (), "roc": ()})
        for result in shipped.manifest.results
    )
    with pytest.raises(ValueError, match="no curves"):
        panels(told(shipped, results=bare))
    assert (
        CliRunner()
        .invoke(app, ["models", "card", NAMES[0], "--plot", str(tmp_path / "card.gif")])
        .exit_code
        == 2
    )


def test_a_panel_of_measured_cases_has_their_figures() -> None:
    cases = groups()
    truth, p = [g.truth for g in cases], [float(1 / (1 + np.exp(-g.logits[0]))) for g in cases]
    shown = panel("here", truth, p, 0.5)
    y, given = np.array(truth, float), np.array(p)
    assert np.trapezoid([b for _, b in shown.roc], [a for a, _ in shown.roc]) == pytest.approx(
        auroc(y, given), abs=0.002
    )
    assert sum(abs(m - r) * c for m, r, c in shown.reliability) / shown.n == pytest.approx(
        ece(y, given)
    )
