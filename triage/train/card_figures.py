"""The figures of a package that exists: of all cases, of groups, of series through the jail."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from triage.decoding.pool import DecoderPool
from triage.decoding.protocol import Request
from triage.inference.opening import Opened, open_network
from triage.inputs.head import BRAIN_WINDOW_HU
from triage.inputs.prepare import prepare
from triage.judging.coverage import why_incomplete
from triage.judging.flagging import judge
from triage.judging.outputs import judge_stacks
from triage.packages.load import Package, load_package
from triage.packages.manifest import MANIFEST, Scale
from triage.packages.manifest_text import to_toml
from triage.phantoms.files import write_slice
from triage.train.calibration import Group, result, series, singles
from triage.train.corpus import Case, read_cases, read_image
from triage.train.examples import prepare_plain
from triage.train.package import in_order
from triage.train.recipes import Recipe

_AIR_HU, _BONE_HU = -1000.0, 700.0  # what lies below and above the window of a picture
_BANDS = ((0.0, 18.0, "under 18"), (18.0, 60.0, "18 to 59"), (60.0, 200.0, "60 or more"))
_LEAST = 5  # cases of a group: fewer tell nothing
_CURVES = {"reliability", "roc"}
#: Of one kind against all that have none these would tell that there are fewer of it.
_AT_THRESHOLD = {"sensitivity", "sensitivity_ci95", "specificity", "specificity_ci95"}
#: The group of what members and their twins said of patients that they never saw.
UNSEEN = "calibration, by networks that never saw them"
_CALIBRATION = {"ece", "ece_ci95", "ece_bound95", "slope", "slope_ci95"}


def record_figures(folder: Path, recipe: Recipe, images: Path) -> None:
    """Measures the package as it stands, and writes the results into its manifest."""
    package = load_package(folder)
    network = open_network(package, device="cpu")
    rows = list[dict[str, Any]]()
    for source in (recipe.source, *recipe.also_measured):
        cases = _measured_cases(recipe, images, source)
        given = network.scores(prepare_plain(cases, recipe.spec))
        rows += _rows(package, source, cases, given)
    if recipe.spec.axial:
        rows.append(_through_the_jail(package, network, _measured_cases(recipe, images)))
    document = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    made = [row for row in document.get("results", []) if row.get("group") == UNSEEN]
    document["results"] = rows + made
    (folder / MANIFEST).write_text(to_toml(in_order(document)), encoding="utf-8")


def unseen_rows(
    recipe: Recipe, cases: Sequence[Case], logits: NDArray[np.float32]
) -> Iterator[dict[str, Any]]:
    """By image and by series: of cases that were each scored by networks that never saw them.

    Only how well they rank: the scale and the threshold come from these very cases.
    """
    units: dict[str, Callable[..., list[Group]]] = {"image": singles}
    if recipe.top_k > 1:
        units["series"] = series
    scale = Scale(slope=1.0, intercept=0.0, threshold=0.5)
    for unit, grouped in units.items():
        row = result(recipe.source, unit, grouped(cases, logits), scale, recipe.top_k)
        yield {"group": UNSEEN} | _without(row, _CURVES | _CALIBRATION | _AT_THRESHOLD)


def _measured_cases(recipe: Recipe, images: Path, source: str = "") -> list[Case]:
    """Those of `source` that the package never saw: of its own one fold, of any other all."""
    source = source or recipe.source
    return [
        case
        for case in read_cases(images, [source])
        if source != recipe.source or case.fold == recipe.held_out
    ]


def _rows(
    package: Package, source: str, cases: Sequence[Case], given: NDArray[np.float32]
) -> Iterator[dict[str, Any]]:
    """By image, and where slices are stacked by series; then by image of each group."""
    units: dict[str, Callable[..., list[Group]]] = {"image": singles}
    if package.manifest.operating.top_k > 1:
        units["series"] = series
    for unit, grouped in units.items():
        yield _row(package, source, unit, grouped(cases, given))
    for name, which in _groups(cases):
        if _LEAST <= len(which) < len(cases):
            some = singles([cases[at] for at in which], given[which])
            row = {"group": name} | _row(package, source, "image", some)
            yield _without(row, _CURVES | (_CALIBRATION if name in _kinds(cases) else set()))


def _row(package: Package, source: str, unit: str, groups: Sequence[Group]) -> dict[str, Any]:
    manifest = package.manifest
    scale = manifest.output.image if unit == "image" else manifest.output.series
    raw = [
        replace(group, logits=group.logits.reshape(len(group.logits), -1)[:, 0]) for group in groups
    ]
    row = result(source, unit, raw, scale, manifest.operating.top_k)
    row["abstained"] = sum(judge(package, one.logits).outcome == "not_analysed" for one in groups)
    return row


def _groups(cases: Sequence[Case]) -> Iterator[tuple[str, list[int]]]:
    """Names of groups, and the places of their cases.

    A kind of finding is measured against all that have none.
    """
    for kind in _kinds(cases):
        yield kind, [at for at, case in enumerate(cases) if not case.truth or kind in case.kinds]
    for sex in sorted({case.sex for case in cases} - {""}):
        yield sex, [at for at, case in enumerate(cases) if case.sex == sex]
    for low, high, name in _BANDS:
        found = [at for at, c in enumerate(cases) if c.age is not None and low <= c.age < high]
        yield f"{name} years", found


def _kinds(cases: Sequence[Case]) -> list[str]:
    return sorted({kind for case in cases for kind in case.kinds})


def _through_the_jail(package: Package, network: Opened, cases: Sequence[Case]) -> dict[str, Any]:
    """Each patient's pictures as a series in Hounsfield units: decoded, prepared, judged as served.

    A series that could not be called calm, by what was read of it, counts as abstained.
    """
    groups, abstained = list[Group](), 0
    with closing(DecoderPool(1)) as decoders:
        for patient in sorted({case.patient for case in cases}):
            mine = sorted((c for c in cases if c.patient == patient), key=_place)
            uid = generate_uid(entropy_srcs=[patient])
            with TemporaryDirectory(prefix="vigie-series-") as folder:
                files = [
                    write_slice(Path(folder), _hounsfield(case), at, uid, compressed=False)[0]
                    for at, case in enumerate(mine)
                ]
                wanted = replace(package.wanted, rule=None)
                found = decoders.decode(Request(tuple(map(str, files)), wanted))
            given = network.scores(prepare(found.frames, package.input))
            outcome = judge_stacks(package, given, found.frames)
            rules = package.manifest
            short = why_incomplete(rules.coverage, found.read, len(files), None, rules.body)
            abstained += outcome == "not_analysed" or (
                outcome == "not_flagged" and short is not None
            )
            groups.append(Group(given, max(case.truth for case in mine), patient))
    row = _row(package, cases[0].source, "series", groups) | {"abstained": abstained}
    return {"shown": "hounsfield"} | _without(row, _CURVES)


def _without(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _place(case: Case) -> int:
    """Of a slice in its stack, as its file says."""
    return int((re.search(r"_s(\d+)", case.file.stem) or [0, 0])[1])


def _hounsfield(case: Case) -> NDArray[np.int16]:
    """A slice that was shown in the brain's window; what was black is air, what was white bone."""
    low, high = BRAIN_WINDOW_HU
    shown = read_image(case.file)
    values = low + shown * (high - low)
    values = np.where(shown <= 0.02, _AIR_HU, np.where(shown >= 0.98, _BONE_HU, values))
    return values.round().astype(np.int16)
