"""The simulator's speed with the production rank, beside what QuCAD's own simulator does."""

from __future__ import annotations

import time

import numpy as np

from infra.bench.measure import Result, compare
from worklist.simulate.disciplines import discipline, places
from worklist.simulate.engine import COMPILED, Staff, serve
from worklist.simulate.qucad.model import POLICY, Scenario
from worklist.simulate.studies import steady

#: Patients a second through both queues of QuCAD's simulator, its default scenario in trials of
#: 1,000 (its fastest), measured on two virtual CPUs. It needs an older Python, so it does not run
#: here by turns.
QUCAD = 663.0
_DEFAULT = Scenario(
    name="QuCAD's default",
    traffic=0.8,
    interrupting=0.0,
    readers=1,
    prevalence=0.1,
    sensitivity=0.9,
    specificity=0.8085612,
    read_diseased=10,
    read_other=10,
    read_interrupting=5,
)


def once(count: int, seed: int) -> float:
    """Draws `count` patients, plays them with AI and without, takes means: patients a second."""
    started = time.perf_counter()
    studies = steady(_DEFAULT.kinds, _DEFAULT.rate, count, np.random.default_rng(seed))
    staff = Staff.always(1)
    for name in ("vigie", "ai-off"):
        order = discipline(name, POLICY, 0)
        served = serve(places(studies, order), studies.read, studies.pool, staff, preemptive=False)
        np.bincount(studies.kind, served.opened - studies.arrived)
    return count / (time.perf_counter() - started)


def measure(*, runs: int, quick: bool) -> list[Result]:
    """Ours is measured, the reference is the figure above."""
    if not COMPILED:
        raise LookupError("numba is missing: pip install 'vigie[simulate]'")
    count = 100_000 if quick else 1_000_000
    what = (
        "patients through two lists, the production rank with AI and without, one thread, "
        "beside QuCAD's own 663 a second (a fixed figure of two virtual CPUs)"
    )
    return [compare("twin", what, "patients/s", lambda: once(count, 1), lambda: QUCAD, runs=runs)]
