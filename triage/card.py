"""The model card: what a package is for, what it learned from, what was measured; and its reliability plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from triage.figures import reliability
from triage.packages import Package, Result


def card(package: Package) -> str:
    """The card as Markdown; every figure is the manifest's."""
    m = package.manifest
    eligible = m.eligible
    age = f", {eligible.age_years[0]:g} to {eligible.age_years[1]:g} years" if eligible.age_years else ""
    size = f"{m.input.channels} x {m.input.height} x {m.input.width}"
    lines = [
        f"# {m.title}", "", f"`{m.name}` {m.version}, {m.licence}, {m.architecture} of {size}",
        "", f"**Intended use.** {m.intended_use}", "",
        f"**Eligible.** {', '.join(eligible.modalities)}; {', '.join(eligible.body_parts)}{age}."
        + (f" Views: {', '.join(eligible.views)}." if eligible.views else ""), "",
        f"**Looks for.** {', '.join(f'{f.label} (RadLex {f.radlex}, SNOMED CT {f.snomed})' for f in m.findings)}", "",
        f"**Flags** at a calibrated probability of {m.operating.threshold:g} or more ({m.operating.chosen}). "
        f"**Abstains** where less than {m.abstention.min_share:.0%} of the images are like those it learned from.", "",
        f"**Learned from** {m.training.cases} images, {m.training.positives} with the finding: {m.training.data}. "
        f"Split {m.training.split}. Seed {m.training.seed}.", "", f"**Limits.** {m.training.limits}", "",
        "| source | by | n | positive | patients | AUROC | sensitivity | specificity | ECE |", "|---|---|---|---|---|---|---|---|---|",
        *(_row(result) for result in m.results), "",
        "Measured on people that the network never saw; brackets are 95 % bootstrap intervals over patients.",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(result: Result) -> str:
    cells = [result.source, result.unit, str(result.n), str(result.positives), str(result.patients)]
    for name in ("auroc", "sensitivity", "specificity", "ece"):
        value, interval = getattr(result, name), getattr(result, f"{name}_ci95")
        cells.append("" if value is None else f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""))
    return f"| {' | '.join(cells)} |"


def plot(truth: Sequence[int], probability: Sequence[float], file: Path, title: str) -> None:
    """Writes the reliability plot and the ROC curve side by side. Raises OSError when the file cannot be written."""
    from matplotlib.figure import Figure

    y, p = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = reliability(y, p)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.plot([b[0] for b in bins], [b[1] for b in bins], "o-")
    left.set(xlabel="calibrated probability", ylabel="observed share", title=f"{title}: reliability", xlim=(0, 1), ylim=(0, 1))
    order = np.argsort(-p, kind="stable")
    hits, misses = np.cumsum(y[order]), np.cumsum(1 - y[order])
    right.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    right.plot([0, *(misses / max(1, misses[-1]))], [0, *(hits / max(1, hits[-1]))])
    right.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"{title}: ROC, n = {len(y)}", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(file)
