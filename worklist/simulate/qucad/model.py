"""QuCAD's scenarios: FDA's model of a worklist with one triage AI, exact where theory reaches, and
simulated.

Its model: Poisson arrivals, exponential reading times, alike readers on one list. Some studies
interrupt (they are not on the AI's list); of the others AI calls some positive, and these go first.
Source: Y. Thompson et al., Queueing Systems 108 (2024) 579, doi 10.1007/s11134-024-09927-w.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worklist.order.policy import Allowance, Policy
from worklist.simulate.closed_forms import Stream
from worklist.simulate.disciplines import Discipline, discipline, places
from worklist.simulate.engine import Floats, Staff, serve
from worklist.simulate.statistics import Figure, ratio
from worklist.simulate.studies import Exponential, Flag, Kind, steady
from worklist.simulate.theory import Service, mean_waits

Progress = Callable[[int, int], None]

#: The kinds of study, and which of them each of QuCAD's classes is made of.
KINDS = ("interrupting", "TP", "FP", "FN", "TN")
CLASSES: dict[str, tuple[str, ...]] = {
    "interrupting": ("interrupting",),
    "non-interrupting": ("TP", "FP", "FN", "TN"),
    "diseased": ("TP", "FN"),
    "non-diseased": ("FP", "TN"),
    "positive": ("TP", "FP"),
    "negative": ("FN", "TN"),
    "TP": ("TP",),
    "FP": ("FP",),
    "FN": ("FN",),
    "TN": ("TN",),
}
_LISTS: dict[str, tuple[tuple[str, ...], ...]] = {  # the order of reading
    "without_cadt": (("interrupting",), ("TP", "FP", "FN", "TN")),
    "with_cadt": (("interrupting",), ("TP", "FP"), ("FN", "TN")),
}


#: Simulation goes on until each mean's interval is within this share of it, or this many studies;
#: what would need more even for the least replications is not simulated.
PRECISION, MOST = 0.02, 120_000_000
_LONGEST = 1e11  # minutes that microseconds can count
_TINY = 0.0005  # minutes: a smaller mean counts as this much
_PILOT, _LEAST = 16, 40  # replications

_WEEKS = Allowance(target=1440, horizon=43200)
POLICY = Policy(
    name="QuCAD",
    classes={"unknown": _WEEKS, "stat": Allowance(target=60, horizon=60)},
    findings={"flag": Allowance(target=15, horizon=15)},
)


@dataclass(frozen=True)
class Scenario:
    """One of QuCAD's inputs. Shares from 0 to 1, times in minutes."""

    name: str
    traffic: float
    interrupting: float
    readers: int
    prevalence: float
    sensitivity: float
    specificity: float
    read_diseased: float
    read_other: float
    read_interrupting: float

    @property
    def shares(self) -> dict[str, float]:
        """How many of all studies are of each kind."""
        on_list, sick = 1 - self.interrupting, self.prevalence
        return {
            "interrupting": self.interrupting,
            "TP": on_list * sick * self.sensitivity,
            "FP": on_list * (1 - sick) * (1 - self.specificity),
            "FN": on_list * sick * (1 - self.sensitivity),
            "TN": on_list * (1 - sick) * self.specificity,
        }

    @property
    def reads(self) -> dict[str, float]:
        """Mean reading time of each kind."""
        return {
            "interrupting": self.read_interrupting,
            **dict.fromkeys(("TP", "FN"), self.read_diseased),
            **dict.fromkeys(("FP", "TN"), self.read_other),
        }

    @property
    def rate(self) -> float:
        """Studies a minute, so that the load of each reader is `traffic`."""
        work = sum(share * self.reads[kind] for kind, share in self.shares.items())
        return self.traffic * self.readers / work

    @property
    def kinds(self) -> list[Kind]:
        """For the event loop, in the order of `KINDS`."""
        flag = (Flag("ai", "flag"),)
        return [
            Kind(
                share,
                Exponential(mean=self.reads[kind]),
                disease="disease" if kind in ("TP", "FN") else "",
                order_class="stat" if kind == "interrupting" else "unknown",
                flags=flag if kind in ("TP", "FP") else (),
            )
            for kind, share in self.shares.items()
        ]


# ---- exact


def exact(scenario: Scenario, service: Service) -> dict[str, Any] | None:
    """Mean waits by theory, in the shape of the reference's `recommended`; None where there is no
    closed form.
    """
    lists = {name: _exact_list(scenario, service, order) for name, order in _LISTS.items()}
    if any(waits is None for waits in lists.values()):
        return None
    shares = scenario.shares
    result: dict[str, Any] = {"source": "exact"}
    for name, waits in lists.items():
        assert waits is not None
        result[name] = {
            group: _weighted([(shares[kind], waits[kind]) for kind in kinds])
            for group, kinds in CLASSES.items()
        }
    without, with_ai = (result[name]["diseased"] for name in _LISTS)
    result["time_saving_diseased"] = None if without is None else without - with_ai
    result["ci95_halfwidth_saving"] = 0.0
    return result


def _weighted(parts: Sequence[tuple[float, float]]) -> float | None:
    total = sum(share for share, _ in parts)
    return sum(share * wait for share, wait in parts) / total if total else None


def _exact_list(
    scenario: Scenario, service: Service, order: Sequence[Sequence[str]]
) -> dict[str, float] | None:
    rate, shares, reads = scenario.rate, scenario.shares, scenario.reads
    streams = [[Stream.exponential(rate * shares[k], reads[k]) for k in kinds] for kinds in order]
    found = mean_waits(streams, scenario.readers, service)
    if found is None:
        return None
    return {
        kind: wait
        for kinds, waits in zip(order, found, strict=True)
        for kind, wait in zip(kinds, waits, strict=True)
    }


# ---- simulated


@dataclass(frozen=True)
class Sums:
    """Per replication: studies of each kind, and their minutes of waiting on each list.

    `alone`: interrupting studies on a list of their own, where they see nothing of the rest.
    """

    counts: Floats
    waits: dict[str, Floats]
    alone: Sums | None = None

    def figure(self, name: str, group: str) -> Figure:
        """Mean wait of `group` on the list `name`."""
        if group == "interrupting" and self.alone is not None:
            return self.alone.figure(name, group)
        chosen = [KINDS.index(kind) for kind in CLASSES[group]]
        return ratio(self.waits[name][:, chosen].sum(axis=1), self.counts[:, chosen].sum(axis=1))

    @property
    def saving(self) -> Figure:
        """Of the diseased: without AI less with it, each study against itself."""
        chosen = [KINDS.index(kind) for kind in CLASSES["diseased"]]
        saved = self.waits["without_cadt"] - self.waits["with_cadt"]
        return ratio(saved[:, chosen].sum(axis=1), self.counts[:, chosen].sum(axis=1))

    def worst(self, groups: Iterable[str]) -> float:
        """The widest interval, as a share of its mean."""
        figures = (self.figure(name, group) for name in _LISTS for group in groups)
        return max((f.half_width / max(f.value, _TINY) for f in figures if f.value > 0), default=0)


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
    relaxation = _relaxation(traffic)
    return int(max(100_000, 400 * relaxation)), int(20 * relaxation)


def _relaxation(traffic: float) -> float:
    forgets = (1 - math.sqrt(traffic)) ** 2
    return 1 / forgets if forgets else math.inf


def _alone(scenario: Scenario, service: Service) -> Scenario | None:
    """What interrupts, by itself; None where nothing does."""
    if service == "non-preemptive" or not 0 < scenario.interrupting < 1:
        return None
    load = scenario.rate * scenario.interrupting * scenario.read_interrupting / scenario.readers
    return replace(scenario, traffic=load, interrupting=1.0)


def not_simulated(scenario: Scenario, service: Service) -> str | None:
    """Why simulation would need too much, known before anything is drawn; None if it can be."""
    for one in filter(None, (scenario, _alone(scenario, service))):
        least = (_PILOT + _LEAST) * max(100_000, 400 * _relaxation(one.traffic))
        if least > MOST:
            return (
                f"not simulated: at traffic {one.traffic:g} the list remembers so long that "
                f"{least:,.0f} studies are needed, and {MOST:,} are the most: lower the traffic"
            )
        if not one.rate or lengths(one.traffic)[0] / one.rate > _LONGEST:
            return (
                f"not simulated: at traffic {one.traffic:g} studies come too seldom to be timed: "
                "raise the traffic or shorten the reads"
            )
    return None


def simulate(
    scenario: Scenario,
    service: Service,
    seed: int,
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """Mean waits by simulation, in the shape of `recommended`, with each mean's half width.
    `not_simulated` says beforehand whether it can be done.

    Where studies interrupt, they wait for each other only; they are few and wait little, so they
    are simulated once more alone, in numbers, rather than all the others with them.
    """
    few, alone = _alone(scenario, service), None
    if few is not None:
        alone = _enough(few, service, seed, ("interrupting",), progress)
    groups = [g for g in CLASSES if alone is None or g != "interrupting"]
    return _shape(replace(_enough(scenario, service, seed, groups, progress), alone=alone))


def _enough(
    scenario: Scenario, service: Service, seed: int, groups: Sequence[str], progress: Progress
) -> Sums:
    """Replications until the intervals of `groups` are narrow. A pilot says how many are needed;
    its own are not used, so that the number was fixed before.
    """
    count, dropped = lengths(scenario.traffic)
    orders = lists()
    most = MOST // count - _PILOT
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

    # 1.15: the pilot's own interval is uncertain.
    wanted = _PILOT * (1.15 * run(0, range(_PILOT)).worst(groups) / PRECISION) ** 2
    return run(1, range(min(most, max(_LEAST, math.ceil(wanted)))))


def _shape(sums: Sums) -> dict[str, Any]:
    def value(number: float) -> float | None:
        return None if math.isnan(number) else number

    figures = {name: {group: sums.figure(name, group) for group in CLASSES} for name in _LISTS}
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
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """What ``--qucad`` prints for a scenario: the best there is (exact, else simulated) in the
    shape of `recommended`, and both; `warnings` says why there is no simulation.
    """
    theory = exact(scenario, service)
    why_not = not_simulated(scenario, service)
    simulated = None if why_not else simulate(scenario, service, seed, progress)
    best = theory or simulated or {}
    kept = ("source", *_LISTS, "time_saving_diseased", "ci95_halfwidth_saving")
    return {
        "id": scenario.name,
        "discipline": service,
        **{name: best.get(name) for name in kept},
        "exact": theory,
        "simulated": simulated,
        "warnings": [why_not] if why_not else [],
    }
