"""The model card: what a package is for, what it learned from, what was measured; and its plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triage.evaluation.figures import reliability, roc
from triage.packages.load import Manifest, Package, Result

#: What `draw` can write, by the end of the file's name.
DRAWN = (".png", ".svg", ".pdf")
Bins = Sequence[tuple[float, float, int]]
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """What one row of plots shows; `roc` is empty where all cases are alike."""

    title: str
    n: int
    auroc: float | None
    reliability: Bins
    roc: Curve


def card(package: Package) -> str:
    """The card as Markdown; every figure is the manifest's."""
    m = package.manifest
    eligible = m.eligible
    age = (
        f", {eligible.age_years[0]:g} to {eligible.age_years[1]:g} years"
        if eligible.age_years
        else ""
    )
    size = f"{m.input.channels} x {m.input.height} x {m.input.width}"
    lines = [
        f"# {m.title}",
        "",
        f"`{m.name}` {m.version}, {m.licence}, {m.architecture} of {size}",
        "",
        f"**Intended use.** {m.intended_use}",
        "",
        f"**Eligible.** {', '.join(eligible.modalities)}; {', '.join(eligible.body_parts)}{age}."
        + (f" Views: {', '.join(eligible.views)}." if eligible.views else ""),
        "",
        f"**Looks for.** {', '.join(f'{f.label} (RadLex {f.radlex}, SNOMED CT {f.snomed})' for f in m.findings)}",
        "",
        f"**Flags** {_flags(m)} ({m.operating.chosen}). "
        f"**Abstains** where less than {m.abstention.min_share:.0%} of the images are like those it learned from.",
        "",
        f"**Learned from** {m.training.cases} images, {m.training.positives} with the finding: {m.training.data}. "
        f"Split {m.training.split}. Seed {m.training.seed}.",
        "",
        f"**Limits.** {m.training.limits}",
        "",
        "| source | by | n | positive | patients | AUROC | sensitivity | specificity | ECE |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(result) for result in m.results),
        "",
        "Measured on people that the network never saw; brackets are 95 % bootstrap intervals over patients.",
    ]
    return "\n".join(lines)


def _flags(m: Manifest) -> str:
    if m.image == m.series:
        return f"at a calibrated probability of {m.image.threshold:g} or more"
    return f"a series at a calibrated probability of {m.series.threshold:g} or more, one image alone at {m.image.threshold:g}"


def _row(result: Result) -> str:
    cells = [result.source, result.unit, str(result.n), str(result.positives), str(result.patients)]
    for name in ("auroc", "sensitivity", "specificity", "ece"):
        value, interval = getattr(result, name), getattr(result, f"{name}_ci95")
        cells.append(
            ""
            if value is None
            else f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
        )
    return f"| {' | '.join(cells)} |"


def panels(package: Package) -> list[Panel]:
    """The plots of the card: one row for each result. Raises ValueError where the package carries
    no curves.
    """
    found = [
        Panel(f"{r.source} by {r.unit}", r.n, r.auroc, r.reliability, r.roc)
        for r in package.manifest.results
        if r.reliability
    ]
    if not found:
        raise ValueError(
            f"{package.name} {package.version}: its results carry no curves; `vigie evaluate --plot` draws those of a set"
        )
    return found


def panel(
    title: str, truth: Sequence[int], probability: Sequence[float], auroc: float | None
) -> Panel:
    """The plots of cases that were measured just now."""
    y, p = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    return Panel(title, len(y), auroc, reliability(y, p), roc(y, p, most=400))


def draw(rows: Sequence[Panel], file: Path) -> None:
    """Writes reliability and ROC side by side, a row for each panel. Raises OSError when the file
    cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), row in zip(axes, rows, strict=True):
        for side in (left, right):
            side.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            side.set(xlim=(0, 1), ylim=(0, 1))
        left.plot(
            [b[0] for b in row.reliability],
            [b[1] for b in row.reliability],
            color="C0",
            linewidth=1,
        )
        largest = max(b[2] for b in row.reliability)
        left.scatter(
            [b[0] for b in row.reliability],
            [b[1] for b in row.reliability],
            [20 + 80 * b[2] / largest for b in row.reliability],
        )
        left.set(
            xlabel="calibrated probability",
            ylabel="observed share",
            title=f"{row.title}: reliability (dots: cases)",
        )
        right.set(
            xlabel="1 - specificity", ylabel="sensitivity", title=f"{row.title}: ROC, n = {row.n}"
        )
        if row.roc:
            label = None if row.auroc is None else f"AUROC {row.auroc:.3f}"
            right.plot([x for x, _ in row.roc], [y for _, y in row.roc], label=label)
            right.legend(loc="lower right")
        else:
            right.text(0.5, 0.5, "no ROC: all cases are alike", ha="center", va="center")
    figure.savefig(file)
