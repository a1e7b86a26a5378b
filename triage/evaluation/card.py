"""The model card: what a package is for, what it learned from, what was measured."""

from __future__ import annotations

from collections.abc import Iterator

from triage.packages.load import Package
from triage.packages.manifest import EligibilityRule, Manifest, Output, Result


def card(package: Package) -> str:
    """The card as Markdown; every figure is the manifest's."""
    manifest, spec = package.manifest, package.input
    training, runner = manifest.training, manifest.runner
    size = " x ".join(map(str, spec.shape))
    lines = [
        f"# {manifest.title}",
        f"`{manifest.name}` {manifest.version}, {manifest.licence}, "
        f"{runner.architecture or runner.kind} of {size}",
        f"**Intended use.** {manifest.intended_use}",
        f"**Eligible.** {_eligible(manifest.eligible)}",
        f"**Looks for.** {', '.join(map(_codes, manifest.outputs))}",
        f"**Flags** {'; '.join(_flags(one, manifest) for one in manifest.outputs)} "
        f"({manifest.operating.chosen}). {_abstains(manifest)}",
        f"**Learned from** {training.cases} images, {training.positives} with the finding: "
        f"{training.data}. Split {training.split}. Seed {training.seed}.",
        f"**Limits.** {training.limits}",
        "\n".join([*_HEADER, *(_row(one) for one in manifest.results if not one.group)]),
        "Measured on people that the network never saw; "
        "brackets are 95 % bootstrap intervals over patients. Abstained cases are in the figures. "
        "*By chance* is the ECE that 95 % of calibrated models stay below, were all cases "
        "independent; *slope* is that of the calibration, 1 of a calibrated model.",
        *_by_group(manifest),
        *_foreign(manifest),
    ]
    return "\n\n".join(lines)


_HEADER = (
    "| source | by | n | positive | patients | abstained | AUROC | sensitivity | specificity "
    "| ECE | by chance | slope |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)
_JAILED = "as series in HU, through decoders and judgement"
_FOREIGN_HEADER = (
    "| not to be judged | the guard learned from such | n | abstained |",
    "|---|---|---|---|",
)
_FAMILY = {
    "corpus": "images of {}",
    "dicom": "DICOM images, {}",
    "film": "drawn films, {}",
    "body": "drawn CT slices, {}",
    "noise": "no patient, {}",
}


def _eligible(rule: EligibilityRule) -> str:
    years = rule.age_years
    age = f", {years[0]:g} to {years[1]:g} years" if years else ""
    views = f" Views: {', '.join(rule.views)}." if rule.views else ""
    return f"{', '.join(rule.modalities)}; {', '.join(rule.body_parts)}{age}.{views}"


def _codes(output: Output) -> str:
    return f"{output.label} (RadLex {output.radlex}, SNOMED CT {output.snomed})"


def _flags(output: Output, manifest: Manifest) -> str:
    image, series = output.image, output.series
    what = f"{output.label.lower()} " if len(manifest.outputs) > 1 else ""
    if image == series:
        return f"{what}at a calibrated probability of {image.threshold:g} or more"
    return (
        f"{what}a series at a calibrated probability of {series.threshold:g} or more, "
        f"one image alone at {image.threshold:g}"
    )


def _abstains(manifest: Manifest) -> str:
    if manifest.abstention is None:
        return "**Never abstains**: it scores whatever it is shown."
    rule = manifest.abstention
    return (
        f"**Abstains** where less than {rule.min_share:.0%} of the images are like those it "
        f"learned from (foreign with a probability below {rule.max_foreign:g}: *out of "
        "distribution*), and, where it does not flag, where the logits of its members have a "
        f"standard deviation above {rule.max_spread:g} (*unsure*)."
    )


def _foreign(manifest: Manifest) -> Iterator[str]:
    """How much it abstains of what is not to be judged, by kind."""
    if not manifest.foreign:
        return
    rows = (
        f"| {_kind(one.kind)} | {'yes' if one.learned else '**no**'} | {one.n} | "
        f"{one.abstained / one.n:.0%} |"
        for one in manifest.foreign
    )
    yield "\n".join([*_FOREIGN_HEADER, *rows])
    left_out = [_kind(one.kind) for one in manifest.foreign if not one.learned]
    yield f"Left out of what the guard learned from: {'; '.join(left_out)}."


def _by_group(manifest: Manifest) -> Iterator[str]:
    rows = [_row(one) for one in manifest.results if one.group]
    if rows:
        yield (
            "By group; a kind of finding is measured against all images that have none. "
            "What the data do not state (size of a finding, slice thickness) is not here."
        )
        yield "\n".join([*_HEADER, *rows])


def _kind(kind: str) -> str:
    """As `triage/train/foreign.py` names it, in words."""
    family, _, name = kind.partition("/")
    return _FAMILY.get(family, f"{family} {{}}").format(name)


def _row(result: Result) -> str:
    abstained = f"{result.abstained / result.n:.1%}"
    counts = map(str, (result.n, result.positives, result.patients, abstained))
    shown = _JAILED if result.shown == "hounsfield" else ""
    source = ", ".join(part for part in (result.source, result.group, shown) if part)
    measured = [
        _with_interval(getattr(result, name), getattr(result, f"{name}_ci95"))
        for name in ("auroc", "sensitivity", "specificity", "ece")
    ]
    bound = "" if result.ece_bound95 is None else f"≤ {result.ece_bound95:.3f}"
    slope = _with_interval(result.slope, result.slope_ci95)
    return f"| {' | '.join([source, result.unit, *counts, *measured, bound, slope])} |"


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
