"""QuCAD's scenarios, simulated: both lists on the same studies, until the intervals are narrow."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from worklist.order.policy import Policy, Term
from worklist.simulate.disciplines import Discipline, discipline, places
from worklist.simulate.engine import Floats, Staff, serve
from worklist.simulate.qucad import CLASSES, KINDS, LISTS, Scenario, Service, exact
from worklist.simulate.statistics import Figure, ratio
from worklist.simulate.studies import steady

#: Simulation goes on until each mean's interval is within this share of it, or this many studies.
PRECISION, MOST = 0.02, 100_000_000
_PILOT, _LEAST = 16, 40  # replications

_WEEKS = Term(target=1440, horizon=43200)
POLICY = Policy(
    name="QuCAD",
    classes={"unknown": _WEEKS, "stat": Term(target=60, horizon=60)},
    findings={"flag": Term(target=15, horizon=15)},
)


@dataclass(frozen=True)
class Sums:
    """Per replication: studies of each kind, and their minutes of waiting on each list."""

    counts: Floats
    waits: dict[str, Floats]

    def figure(self, name: str, group: str) -> Figure:
        """Mean wait of `group` on the list `name`."""
        chosen = [KINDS.index(kind) for kind in CLASSES[group]]
        return ratio(self.waits[name][:, chosen].sum(axis=1), self.counts[:, chosen].sum(axis=1))

    @property
    def saving(self) -> Figure:
        """Of the diseased: without AI less with it, each study against itself."""
        chosen = [KINDS.index(kind) for kind in CLASSES["diseased"]]
        saved = self.waits["without_cadt"] - self.waits["with_cadt"]
        return ratio(saved[:, chosen].sum(axis=1), self.counts[:, chosen].sum(axis=1))

    @property
    def worst(self) -> float:
        """The widest interval, as a share of its mean (of means that are not 0)."""
        figures = (self.figure(name, group) for name in LISTS for group in CLASSES)
        return max((f.half_width / f.value for f in figures if f.value > 0), default=0.0)


def lists() -> dict[str, Discipline]:
    """QuCAD's two lists: with AI, and the same with every flag left out."""
    strict = discipline("strict-priority", POLICY, 0)
    return {
        "without_cadt": Discipline("without_cadt", lambda kind, flags: strict.place(kind, ())),
        "with_cadt": strict,
    }


def replicate(
    scenario: Scenario,
    orders: Mapping[str, Discipline],
    service: Service,
    count: int,
    dropped: int,
    seed: Sequence[int],
) -> tuple[Floats, dict[str, Floats]]:
    """One replication of `count` studies, the first `dropped` not counted: studies and minutes of
    waiting by kind. The lists get the same studies.
    """
    studies = steady(scenario.kinds, scenario.rate, count, np.random.default_rng(seed))
    kind, staff = studies.kind[dropped:], Staff.always(scenario.readers)
    waits: dict[str, Floats] = {}
    for name, order in orders.items():
        served = serve(
            places(studies, order),
            studies.read,
            studies.pool,
            staff,
            preemptive=service == "preemptive-resume",
        )
        # Never below 0 but for the last bits of large times.
        wait = np.maximum(served.finished - studies.arrived - studies.read, 0.0)
        waits[name] = np.bincount(kind, wait[dropped:], len(KINDS)).astype(np.float64)
    return np.bincount(kind, minlength=len(KINDS)).astype(np.float64), waits


def lengths(traffic: float) -> tuple[int, int]:
    """Studies of one replication, and how many of them are its warm-up: twenty times the time in
    which a queue forgets where it began (its relaxation time, P. Morse 1955).
    """
    relaxation = 1 / (1 - math.sqrt(traffic)) ** 2
    return int(max(100_000, 400 * relaxation)), int(20 * relaxation)


def simulate(
    scenario: Scenario,
    service: Service,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Mean waits by simulation, in the shape of `recommended`, with each mean's half width.

    A pilot says how many replications are needed; its own are not used, so that the interval is of
    a number of replications that was fixed before.
    """
    count, dropped = lengths(scenario.traffic)
    orders = lists()
    most = max(_LEAST, MOST // count)
    own = zlib.crc32(scenario.name.encode())  # scenarios do not share their luck

    def run(stage: int, numbers: range) -> Sums:
        def one(number: int) -> tuple[Floats, dict[str, Floats]]:
            return replicate(scenario, orders, service, count, dropped, (seed, own, stage, number))

        done = []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for result in threads.map(one, numbers):
                done.append(result)
                progress(len(done), len(numbers))
        return Sums(
            np.array([counts for counts, _ in done]),
            {name: np.array([waits[name] for _, waits in done]) for name in orders},
        )

    # 1.2: the pilot's own interval is uncertain.
    wanted = _PILOT * (1.2 * run(0, range(_PILOT)).worst / PRECISION) ** 2
    return _shape(run(1, range(min(most, max(_LEAST, math.ceil(wanted))))))


def _shape(sums: Sums) -> dict[str, Any]:
    def value(number: float) -> float | None:
        return None if math.isnan(number) else number

    figures = {name: {group: sums.figure(name, group) for group in CLASSES} for name in LISTS}
    return {
        "source": "simulated",
        **{n: {g: value(f.value) for g, f in of.items()} for n, of in figures.items()},
        "time_saving_diseased": value(sums.saving.value),
        "ci95_halfwidth_saving": value(sums.saving.half_width),
        "ci95_halfwidth": {
            n: {g: value(f.half_width) for g, f in of.items()} for n, of in figures.items()
        },
        "replications": len(sums.counts),
        "studies": int(sums.counts.sum()),
    }


def answer(
    scenario: Scenario,
    service: Service,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """What ``--qucad`` prints for a scenario: the best there is (exact, else simulated) in the
    shape of `recommended`, and both.
    """
    theory = exact(scenario, service)
    simulated = simulate(scenario, service, seed, progress)
    best = theory or simulated
    kept = ("source", *LISTS, "time_saving_diseased", "ci95_halfwidth_saving")
    return {
        "id": scenario.name,
        "discipline": service,
        **{name: best[name] for name in kept},
        "exact": theory,
        "simulated": simulated,
    }
