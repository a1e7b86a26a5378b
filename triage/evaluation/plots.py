"""Plots of a package's results: reliability and ROC, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triage.evaluation.figures import reliability, roc
from triage.packages.load import Package

#: What `draw` can write, by the end of the file's name.
DRAWN = (".png", ".svg", ".pdf")
_Bins = Sequence[tuple[float, float, int]]
_Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """What one row of plots shows; `roc` is empty where all cases are alike."""

    title: str
    n: int
    auroc: float | None
    reliability: _Bins
    roc: _Curve


def panels(package: Package) -> list[Panel]:
    """The plots of the card: one row for each result.

    Raises ValueError where the package carries no curves.
    """
    found = [
        Panel(f"{r.source} by {r.unit}", r.n, r.auroc, r.reliability, r.roc)
        for r in package.manifest.results
        if r.reliability
    ]
    if not found:
        raise ValueError(
            f"{package.name} {package.version}: its results carry no curves; "
            "`vigie evaluate --plot` draws those of a set"
        )
    return found


def panel(
    title: str, truth: Sequence[int], probability: Sequence[float], auroc: float | None
) -> Panel:
    """The plots of cases that were measured just now."""
    truths, likely = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    curve = roc(truths, likely, max_points=400)
    return Panel(title, len(truths), auroc, reliability(truths, likely), curve)


def draw(rows: Sequence[Panel], file: Path) -> None:
    """Writes reliability and ROC side by side, a row for each panel.

    Raises OSError when the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), panel in zip(axes, rows, strict=True):
        for side in (left, right):
            side.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            side.set(xlim=(0, 1), ylim=(0, 1))
        _draw_reliability(left, panel)
        _draw_roc(right, panel)
    figure.savefig(file)


def _draw_reliability(axes: Any, panel: Panel) -> None:
    means, shares, counts = zip(*panel.reliability, strict=True)
    axes.plot(means, shares, color="C0", linewidth=1)
    axes.scatter(means, shares, [20 + 80 * count / max(counts) for count in counts])
    title = f"{panel.title}: reliability (dots: cases)"
    axes.set(xlabel="calibrated probability", ylabel="observed share", title=title)


def _draw_roc(axes: Any, panel: Panel) -> None:
    title = f"{panel.title}: ROC, n = {panel.n}"
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=title)
    if not panel.roc:
        axes.text(0.5, 0.5, "no ROC: all cases are alike", ha="center", va="center")
        return
    label = None if panel.auroc is None else f"AUROC {panel.auroc:.3f}"
    axes.plot(*zip(*panel.roc, strict=True), label=label)
    axes.legend(loc="lower right")
