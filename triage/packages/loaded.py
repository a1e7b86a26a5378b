"""Packages on disk become residents: loaded, warm, and joined to the events they are meant for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from streams.errors import Reason
from streams.events import Finding, SeriesReceived
from triage import metrics
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.inference.network import Screener
from triage.inputs.prepare import prepare
from triage.judging.flagging import judge
from triage.packages.load import Package, PackageError, SeriesFacts, find_packages, load_package
from triage.packages.thresholds import read_thresholds
from triage.settings import TriageSettings
from triage.worker.constancy import Reference, references
from triage.worker.series import Resident, Verdict

log = structlog.get_logger()
MOST = {"head_ct": 24, "chest_film": 2}  # frames of one series that each kind of input reads


def load_residents(settings: TriageSettings) -> tuple[list[Resident], list[Reference]]:
    """Every package of the site that passes its checks, loaded and warm, and its constancy
    references.

    A package that does not pass is left out, and said so. Raises ValueError where the site's
    thresholds are wrong.
    """
    folders = find_packages(settings.models)
    thresholds = read_thresholds(settings.site, [folder.name for folder in folders])
    torch.set_num_threads(settings.torch_threads)
    sys.setswitchinterval(
        0.0005
    )  # the forward thread has the interpreter back sooner: it asks for it after each eight images
    metrics.packages_refused.set(0)
    residents, packages = [], []
    for folder in folders:
        try:
            package = load_package(folder).flagging_at(thresholds.get(folder.name))
            screener = Screener(
                package, package.input.shape, device=settings.device, compiled=settings.compiled
            )
        except PackageError as error:
            log.error("package_refused", package=folder.name, why=str(error))
            metrics.packages_refused.inc()
            continue
        at = {
            "threshold": package.manifest.series.threshold,
            "threshold_of_one_image": package.manifest.image.threshold,
        }
        log.info(
            "package_loaded",
            package=package.name,
            version=package.version,
            mode=screener.mode,
            **at,
        )
        residents.append(resident(package, screener))
        packages.append(package)
    return residents, references(packages)


def resident(package: Package, screener: Screener) -> Resident:
    """`package` as the agent uses it."""
    kind = package.input.kind
    return Resident(
        package.name,
        package.version,
        partial(_eligible, package),
        MOST[kind],
        kind == "head_ct",
        partial(_prepare, package),
        screener.scores,
        partial(_judge, package),
        package.input.side,
        screener.at_once,
    )


def facts(series: SeriesReceived) -> SeriesFacts:
    """What a package may know of `series` before its pixels are read."""
    return SeriesFacts(
        modality=series.modality,
        body_part=series.body_part,
        description=f"{series.description} {series.series_description}",
        age_years=series.age_years,
        view=series.view or None,
        sop_class=series.sop_class,
        frames=max(1, len(series.instances)),
    )


def _eligible(package: Package, series: SeriesReceived) -> Reason | None:
    reason = package.eligible(facts(series))
    return None if reason is None else Reason(reason)


def _prepare(package: Package, frames: Sequence[Frame]) -> NDArray[np.float32]:
    try:
        return prepare(frames, package.input)
    except ValueError:  # a frame too small, or in a unit that this input cannot read
        raise NotAnalysed(Reason.BAD_GEOMETRY) from None


def _judge(package: Package, logits: NDArray[np.float32], images: NDArray[np.float32]) -> Verdict:
    judgement = judge(package, logits, images)
    reason = None if judgement.reason is None else Reason(judgement.reason)
    flagged = judgement.outcome == "flagged"
    findings = tuple(
        Finding(
            code=f.radlex,
            name=f.label,
            flagged=flagged,
            probability=judgement.probability,
            threshold=judgement.threshold,
        )
        for f in package.manifest.findings
    )
    return Verdict(judgement.outcome, reason, findings)
