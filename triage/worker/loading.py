"""Packages on disk become loaded models: warm, and joined to the events they are meant for."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from streams.errors import Reason
from streams.events import Finding, SeriesReceived
from triage import metrics
from triage.decoding.frames import Frame
from triage.eligibility.rule import Facts, Rule, series_decision
from triage.inference.opening import Opened, open_network
from triage.inference.where import Where
from triage.inputs.jailed import prepared
from triage.judging.bodies import Unlike, unlike_stacks
from triage.judging.coverage import why_incomplete
from triage.judging.key_image import draw
from triage.judging.outputs import judge_outputs
from triage.packages.load import Package, PackageError, find_packages, load_package
from triage.packages.manifest import MANIFEST, EligibilityRule
from triage.packages.thresholds import read_thresholds
from triage.packages.trust import read_keys, vouched_by
from triage.sandbox import RunnerLimits
from triage.settings import TriageSettings
from triage.worker.constancy import ReferenceSeries, reference_series
from triage.worker.loaded_model import LoadedModel, Verdict

log = structlog.get_logger()
#: A batch's thread asks for the interpreter after each eight images, and has it back sooner so.
_SWITCH_S = 0.0005


def load_models(settings: TriageSettings) -> tuple[list[LoadedModel], list[ReferenceSeries]]:
    """Every package of the site that passes its checks, loaded and warm, and its references.

    A package that does not pass, or that nobody vouches for, is left out, and said so. Raises
    ValueError where the site's thresholds or keys are wrong.
    """
    folders = find_packages(settings.models)
    thresholds = read_thresholds(settings.site, [folder.name for folder in folders])
    keys = read_keys(settings.site)
    torch.set_num_threads(settings.torch_threads)
    sys.setswitchinterval(_SWITCH_S)
    metrics.packages_refused.set(0)
    limits = RunnerLimits(
        settings.runner_memory, settings.runner_wall_s, threads=settings.torch_threads
    )
    models, references = list[LoadedModel](), list[ReferenceSeries]()
    for folder in folders:
        try:
            package = load_package(folder)
            if own := thresholds.get(folder.name):
                package = own.applied(package)
            voucher = vouched_by(package, keys)
            network = open_network(
                package,
                device=settings.device,
                compiled=settings.compiled,
                limits=limits,
            )
        except PackageError as error:
            log.error("package_refused", package=folder.name, why=str(error))
            metrics.packages_refused.inc()
            continue
        _log_loaded(package, network.mode, voucher)
        models.append(loaded_model(package, network))
        references += reference_series(package)
    return models, references


def _log_loaded(package: Package, mode: str, vouched_by: str) -> None:
    log.info(
        "package_loaded",
        package=package.name,
        version=package.version,
        mode=mode,
        vouched_by=vouched_by,
        thresholds={one.code: one.series.threshold for one in package.manifest.outputs},
        thresholds_of_one_image={one.code: one.image.threshold for one in package.manifest.outputs},
    )


def loaded_model(package: Package, network: Opened) -> LoadedModel:
    """`package` as the worker uses it."""
    return LoadedModel(
        package.name,
        package.version,
        partial(_why_ineligible, package.rule),
        replace(package.wanted, input=package.input.model_dump(mode="json")),
        partial(_prepare, package),
        network.scores,
        partial(_judge, package),
        network.concurrent_batches,
        package.network_sha256,
        network.mode,
        partial(why_incomplete, package.manifest.coverage, body=package.manifest.body),
        partial(_draw, Where(package)),
        partial(unlike_stacks, package.manifest.body),
    )


def _draw(where: Where, image: NDArray[np.float32], output: int) -> bytes:
    return draw(image, where(image, output))


def refused_packages(
    settings: TriageSettings, loaded: Collection[str]
) -> list[Callable[[SeriesReceived], Reason | None]]:
    """Of each package that was left out, why it would not have been meant for a series.

    One whose manifest cannot be read may have been meant for any.
    """
    refused = [folder for folder in find_packages(settings.models) if folder.name not in loaded]
    return [partial(_why_ineligible, _rule_in(folder)) for folder in refused]


def _rule_in(folder: Path) -> Rule:
    try:
        document = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return EligibilityRule.model_validate(document.get("eligible")).rule()
    # No TOML, no UTF-8, and pydantic's own are ValueErrors.
    except (OSError, ValueError, RecursionError):
        return Rule()


def _why_ineligible(rule: Rule, series: SeriesReceived) -> Reason | None:
    """Why all of `series` is outside the intended use; None: its images must tell."""
    facts = Facts(
        series.modality,
        series.body_part,
        series.series_description,
        series.description,
        series.age_years,
    )
    return series_decision(rule, facts).reason


def _prepare(package: Package, frames: Sequence[Frame]) -> NDArray[np.float32]:
    return prepared(frames, package.input.model_dump(mode="json"))


def _judge(package: Package, scores: NDArray[np.float32], unlike: Unlike | None) -> Verdict:
    series, outputs = judge_outputs(package, scores, unlike)
    findings = tuple(
        Finding(
            code=one.output.radlex,
            name=one.output.label,
            flagged=one.judgement.outcome == "flagged",
            probability=one.judgement.probability,
            threshold=one.judgement.threshold,
            threshold_source=package.threshold_source(len(scores)),
            score=one.judgement.score,
        )
        for one in outputs
    )
    return Verdict(
        series.outcome, series.reason, findings, doubt=series.doubt, unlike=series.unlike
    )
