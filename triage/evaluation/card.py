"""The model card: what a package is for, what it learned from, what was measured."""

from __future__ import annotations

from triage.packages.load import Package
from triage.packages.manifest import EligibilityRule, FindingCodes, Manifest, Result


def card(package: Package) -> str:
    """The card as Markdown; every figure is the manifest's."""
    manifest, spec = package.manifest, package.input
    training, share = manifest.training, f"{manifest.abstention.min_share:.0%}"
    size = f"{spec.channels} x {spec.height} x {spec.width}"
    lines = [
        f"# {manifest.title}",
        f"`{manifest.name}` {manifest.version}, {manifest.licence}, "
        f"{manifest.architecture} of {size}",
        f"**Intended use.** {manifest.intended_use}",
        f"**Eligible.** {_eligible(manifest.eligible)}",
        f"**Looks for.** {', '.join(map(_codes, manifest.findings))}",
        f"**Flags** {_flags(manifest)} ({manifest.operating.chosen}). "
        f"**Abstains** where less than {share} of the images are like those it learned from.",
        f"**Learned from** {training.cases} images, {training.positives} with the finding: "
        f"{training.data}. Split {training.split}. Seed {training.seed}.",
        f"**Limits.** {training.limits}",
        "\n".join([*_HEADER, *(_row(result) for result in manifest.results)]),
        "Measured on people that the network never saw; "
        "brackets are 95 % bootstrap intervals over patients.",
    ]
    return "\n\n".join(lines)


_HEADER = (
    "| source | by | n | positive | patients | AUROC | sensitivity | specificity | ECE |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _eligible(rule: EligibilityRule) -> str:
    years = rule.age_years
    age = f", {years[0]:g} to {years[1]:g} years" if years else ""
    views = f" Views: {', '.join(rule.views)}." if rule.views else ""
    return f"{', '.join(rule.modalities)}; {', '.join(rule.body_parts)}{age}.{views}"


def _codes(finding: FindingCodes) -> str:
    return f"{finding.label} (RadLex {finding.radlex}, SNOMED CT {finding.snomed})"


def _flags(manifest: Manifest) -> str:
    image, series = manifest.image, manifest.series
    if image == series:
        return f"at a calibrated probability of {image.threshold:g} or more"
    return (
        f"a series at a calibrated probability of {series.threshold:g} or more, "
        f"one image alone at {image.threshold:g}"
    )


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
