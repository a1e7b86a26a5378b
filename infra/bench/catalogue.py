"""Which benches there are; each is imported only when it runs: not all need torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from infra.bench.measure import Result, compare

#: Each is a module here with `measure(runs=, quick=)`, or one of `_PAIRS`.
NAMES = (
    "cstore",
    "decode",
    "model",
    "screening",
    "image-to-rank",
    "worklist",
    "pipeline",
    "top50",
    "claim",
    "sse",
    "bad-numbers",
    "twin",
    "hl7",
    "mllp",
)
#: Modules of triage, whose function of the bench's name gives the two sides.
_PAIRS = {
    "decode": "triage.bench.decode",
    "model": "triage.bench.model",
    "screening": "triage.bench.screening",
}
RUNS, QUICK_RUNS = 7, 2


def run(name: str, *, quick: bool) -> list[Result]:
    """Measures `name`. Raises KeyError when there is none; LookupError, saying why, when it cannot
    be measured here.
    """
    if name not in NAMES:
        raise KeyError(name)
    runs = QUICK_RUNS if quick else RUNS
    if name in _PAIRS:
        sides: Any = getattr(importlib.import_module(_PAIRS[name]), name)
        with sides(quick=quick) as pairs:
            return [compare(name, p.what, p.unit, p.ours, p.reference, runs=runs) for p in pairs]
    measured: Sequence[Result] = importlib.import_module(
        f"infra.bench.{name.replace('-', '_')}"
    ).measure(runs=runs, quick=quick)
    return list(measured)
