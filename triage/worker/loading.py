"""Packages on disk become loaded models: warm, and joined to the events they are meant for."""

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
from triage.packages.eligibility import SeriesFacts
from triage.packages.load import Package, PackageError, find_packages, load_package
from triage.packages.manifest import WEIGHTS
from triage.packages.thresholds import read_thresholds
from triage.settings import TriageSettings
from triage.worker.constancy import ReferenceSeries, reference_series
from triage.worker.loaded_model import LoadedModel, Verdict

log = structlog.get_logger()
#: A batch's thread asks for the interpreter after each eight images, and has it back sooner so.
_SWITCH_S = 0.0005


def load_models(settings: TriageSettings) -> tuple[list[LoadedModel], list[ReferenceSeries]]:
    """Every package of the site that passes its checks, loaded and warm, and its references.

    A package that does not pass is left out, and said so. Raises ValueError where the site's
    thresholds are wrong.
    """
    folders = find_packages(settings.models)
    thresholds = read_thresholds(settings.site, [folder.name for folder in folders])
    torch.set_num_threads(settings.torch_threads)
    sys.setswitchinterval(_SWITCH_S)
    metrics.packages_refused.set(0)
    models, references = list[LoadedModel](), list[ReferenceSeries]()
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
        _log_loaded(package, screener.mode)
        models.append(loaded_model(package, screener))
        references += reference_series(package)
    return models, references


def _log_loaded(package: Package, mode: str) -> None:
    log.info(
        "package_loaded",
        package=package.name,
        version=package.version,
        mode=mode,
        threshold=package.manifest.series.threshold,
        threshold_of_one_image=package.manifest.image.threshold,
    )


def loaded_model(package: Package, screener: Screener) -> LoadedModel:
    """`package` as the worker uses it."""
    return LoadedModel(
        package.name,
        package.version,
        partial(_why_ineligible, package),
        package.input.max_frames,
        package.input.axial,
        partial(_prepare, package),
        screener.scores,
        partial(_judge, package),
        package.input.min_side_px,
        screener.concurrent_batches,
        package.manifest.files[WEIGHTS],
    )


def _why_ineligible(package: Package, series: SeriesReceived) -> Reason | None:
    return package.why_ineligible(
        SeriesFacts(
            modality=series.modality,
            body_part=series.body_part,
            description=f"{series.description} {series.series_description}",
            age_years=series.age_years,
            view=series.view or None,
            sop_class=series.sop_class,
        )
    )


def _prepare(package: Package, frames: Sequence[Frame]) -> NDArray[np.float32]:
    try:
        return prepare(frames, package.input)
    except ValueError:  # a frame too small, or in a unit that this input cannot read
        raise NotAnalysed(Reason.BAD_GEOMETRY) from None


def _judge(package: Package, logits: NDArray[np.float32], images: NDArray[np.float32]) -> Verdict:
    judgement = judge(package, logits, images)
    findings = tuple(
        Finding(
            code=codes.radlex,
            name=codes.label,
            flagged=judgement.outcome == "flagged",
            probability=judgement.probability,
            threshold=judgement.threshold,
            threshold_source=package.threshold_source,
            score=judgement.score,
        )
        for codes in package.manifest.findings
    )
    return Verdict(judgement.outcome, judgement.reason, findings)
