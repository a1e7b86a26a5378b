"""A whole head as files, and what the head package's rule says of what was read of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from streams.errors import Reason
from tests.triage.decoding.heads import MakeCt, slice_of, written
from triage.decoding.frames import Read
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series
from triage.judging.coverage import why_incomplete
from triage.packages.load import load_package
from triage.phantoms.heads import head_ct
from triage.settings import shipped_models

PACKAGE = load_package(shipped_models() / "head-ct-ich")
VOLUME = head_ct(np.random.default_rng(2), None, 28, 64) + np.int16(1024)


def sent(
    make_ct: MakeCt, spacing: float = 5.0, slices: int = 28, thick: float | None = 5.0
) -> list[FileDataset]:
    made = []
    for at in range(slices):
        dataset = slice_of(make_ct, VOLUME[at * 28 // slices], spacing * at, at, side_mm=3.6)
        dataset.BodyPartExamined = "HEAD"
        if thick is not None:
            dataset.SliceThickness = thick
        made.append(dataset)
    return made


def read(datasets: Sequence[FileDataset], folder: Path) -> tuple[Read, Reason | None]:
    found = read_series(Request(written(datasets, folder), PACKAGE.wanted), Limits()).read
    rules = PACKAGE.manifest
    return found, why_incomplete(rules.coverage, found, len(datasets), None, rules.body)
