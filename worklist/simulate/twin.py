"""Runs a scenario: the same studies under each policy, and what each group of patients gains or
loses against the baseline.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from worklist.order.policy import Policy
from worklist.simulate.disciplines import WITH_AI, Discipline, discipline, places
from worklist.simulate.engine import Floats, Ints, Served, Staff, serve
from worklist.simulate.scenario import Scenario
from worklist.simulate.statistics import Figure, mean, ratio
from worklist.simulate.studies import DAY, Kind, Studies, draw_kinds, draw_reads, weekly
from worklist.simulate.theory import waits_of_kinds

Progress = Callable[[int, int], None]


class Group(NamedTuple):
    """Some kinds of study. `by`: what it is a group of (all, disease, call, order)."""

    by: str
    name: str
    kinds: tuple[bool, ...]


@dataclass(frozen=True)
class Day:
    """Studies that were played under each policy. `counted`: to which batch (replication, day) each
    study counts; -1 to none.
    """

    studies: Studies
    counted: Ints
    served: Mapping[str, Served]


class NeverRead(ValueError):
    """Studies were left when the readers had gone."""


def play(
    studies: Studies,
    staff: Staff,
    orders: Iterable[Discipline],
    counted: Ints,
    *,
    preemptive: bool,
) -> Day:
    """`studies` under each of `orders`. Raises NeverRead."""
    served = {}
    for order in orders:
        found = serve(
            places(studies, order), studies.read, studies.pool, staff, preemptive=preemptive
        )
        left = int(np.isnan(found.finished).sum())
        if left:
            first = float(studies.arrived[np.isnan(found.finished)][0])
            raise NeverRead(
                f"under {order.name} {left} studies are never read, the first arrived on day "
                f"{first / DAY:.1f}: nobody comes who reads them; give the readers more shifts"
            )
        served[order.name] = found
    return Day(studies, counted, served)


def orders_of(names: Sequence[str], policy: Policy, guard: float) -> list[Discipline]:
    """The disciplines of these names, each once."""
    return [discipline(name, policy, guard) for name in dict.fromkeys(names)]


def draw(scenario: Scenario, random: np.random.Generator) -> Studies:
    """One replication's studies, in the order of their arrival."""
    minutes = (scenario.days + 2 * scenario.warm_up_days) * DAY
    kinds = scenario.kinds()
    arrived = weekly(scenario.rates(), minutes, random)
    kind = draw_kinds(kinds, len(arrived), random)
    for burst in scenario.arrivals.bursts:
        count = int(random.poisson(burst.per_day * minutes / DAY))
        starts = np.repeat(random.random(count) * minutes, burst.studies)
        more = starts + random.random(len(starts)) * burst.over_minutes
        shares = [k.share if burst.examination in ("", k.group) else 0.0 for k in kinds]
        arrived = np.concatenate((arrived, more))
        kind = np.concatenate((kind, draw_kinds(kinds, len(more), random, shares)))
    by_time = np.argsort(arrived, kind="stable")
    arrived, kind = arrived[by_time], kind[by_time]
    return Studies(arrived, draw_reads(kinds, kind, random), kind, kinds)


def run(
    scenario: Scenario, policy: Policy, progress: Progress = lambda done, of: None
) -> Iterator[Day]:
    """The replications, one after the other; several are computed at once."""
    orders = orders_of((scenario.baseline, *scenario.policies), policy, scenario.guard_minutes)
    first, last = scenario.warm_up_days * DAY, (scenario.warm_up_days + scenario.days) * DAY
    # Long enough for whatever is left at the end to be read.
    staff = scenario.staff(scenario.days + 2 * scenario.warm_up_days + 400)

    def one(number: int) -> Day:
        studies = draw(scenario, np.random.default_rng((scenario.seed, number)))
        inside = (studies.arrived >= first) & (studies.arrived < last)
        return play(
            studies,
            staff,
            orders,
            np.where(inside, number, -1),
            preemptive=scenario.service == "preemptive-resume",
        )

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, day in enumerate(threads.map(one, range(scenario.replications)), start=1):
            progress(number, scenario.replications)
            yield day


# ---- what came of it


def groups_of(kinds: Sequence[Kind]) -> list[Group]:
    """Everybody; each disease and no finding; each AI call; each order class."""

    def group(by: str, name: str, of: Callable[[Kind], bool]) -> Group:
        return Group(by, name, tuple(of(kind) for kind in kinds))

    found = [group("all", "", lambda kind: True)]
    for disease in sorted({k.disease for k in kinds} - {""}):
        found.append(group("disease", disease, lambda k, d=disease: k.disease == d))  # type: ignore[misc]
    if any(k.disease for k in kinds):
        found.append(group("disease", "", lambda k: not k.disease))
    calls = {
        "flagged": lambda k: bool(k.flags),
        "not_flagged": lambda k: bool(k.seen_by) and not k.flags,
        "not_analysed": lambda k: not k.seen_by and not k.flags,
    }
    found += [group("call", name, of) for name, of in calls.items()]
    for order in sorted({k.order_class for k in kinds}):
        found.append(group("order", order, lambda k, o=order: k.order_class == o))  # type: ignore[misc]
    return [one for one in found if any(one.kinds)]


def _batches(counted: Ints) -> list[slice]:
    """Where each batch lies: studies are in order of arrival, so a batch is one stretch."""
    edges = np.flatnonzero(np.diff(counted)) + 1
    starts, ends = [0, *edges], [*edges, len(counted)]
    found = [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
    return [one for one in found if one.stop > one.start and counted[one.start] >= 0]


class Tally:
    """Adds up days: per policy, group and batch what the figures are made of."""

    def __init__(self, baseline: str, worthwhile: float) -> None:
        self._baseline, self._worthwhile = baseline, worthwhile
        self._rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
        self._net: dict[str, list[tuple[float, float]]] = {}
        self.groups: list[Group] = []
        self.policies: list[str] = []
        self.studies = 0

    def add(self, day: Day, targeted: frozenset[str]) -> None:
        """One more day. `targeted`: urgent diseases that an AI looks for."""
        studies = day.studies
        self.groups = self.groups or groups_of(studies.kinds)
        self.policies = list(day.served)
        base = day.served[self._baseline]
        seen = np.array([bool(k.seen_by) for k in studies.kinds])[studies.kind]
        sick = np.array([k.disease in targeted for k in studies.kinds])[studies.kind]
        masks = {group: np.array(group.kinds)[studies.kind] for group in self.groups}
        for inside in _batches(day.counted):
            self.studies += inside.stop - inside.start
            for name, served in day.served.items():
                saved = (base.finished - served.finished)[inside]
                for group, mask in masks.items():
                    chosen = np.flatnonzero(mask[inside])
                    row = self._row(studies, served, saved, inside.start, chosen)
                    self._rows.setdefault((name, group.by, group.name), []).append(row)
                helped = saved[sick[inside]]
                net = self._sooner(helped) - self._sooner(-helped)
                self._net.setdefault(name, []).append((net, float(seen[inside].sum())))

    def _sooner(self, saved: Floats) -> float:
        return float((saved >= self._worthwhile).sum())

    def _row(
        self, studies: Studies, served: Served, saved: Floats, start: int, chosen: Ints
    ) -> dict[str, float]:
        """The figures of the studies `chosen` of a batch that begins at `start`."""
        turnaround = served.finished[start + chosen] - studies.arrived[start + chosen]
        # Never below 0 but for the last bits of large times.
        wait = np.maximum(turnaround - studies.read[start + chosen], 0.0)
        saved = saved[chosen]
        row = {"count": float(len(wait))}
        for name, values in (("wait", wait), ("turnaround", turnaround)):
            row[f"{name}_sum"] = float(values.sum())
            median, p95, most = (
                np.quantile(values, (0.5, 0.95, 1.0)) if len(values) else (np.nan,) * 3
            )
            row |= {f"{name}_median": median, f"{name}_p95": p95, f"{name}_max": most}
        row |= {
            "saved": float(saved.sum()),
            "gained": float(saved[saved > 0].sum()),
            "lost": float(-saved[saved < 0].sum()),
            "sooner": self._sooner(saved),
            "later": self._sooner(-saved),
        }
        return row

    def result(self, policy: str, group: Group) -> dict[str, Any]:
        """The figures of one group under one policy."""
        rows = self._rows[policy, group.by, group.name]
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        count = columns["count"]

        def figures(name: str) -> dict[str, Any]:
            spread = {s: mean(columns[f"{name}_{s}"]) for s in ("median", "p95", "max")}
            all_of_them = {"mean": ratio(columns[f"{name}_sum"], count), **spread}
            return {key: as_json(figure) for key, figure in all_of_them.items()}

        result = {
            "by": group.by,
            "name": group.name,
            "studies": int(count.sum()),
            "wait": figures("wait"),
            "turnaround": figures("turnaround"),
        }
        if policy != self._baseline:
            result |= {
                key: as_json(ratio(columns[key], count))
                for key in ("saved", "gained", "lost", "sooner", "later")
            }
        return result

    def needed(self, policy: str) -> dict[str, Any]:
        """Number needed to triage: studies that AI looks at for one more urgent patient, of those
        it looks for, who is read sooner by a worthwhile time (those read later are taken off).
        """
        pairs = np.array(self._net[policy])
        net = ratio(pairs[:, 0], pairs[:, 1])
        low, high = net.value - net.half_width, net.value + net.half_width
        return {
            "value": 1 / net.value if net.value > 0 else None,
            "low": 1 / high if high > 0 else None,
            "high": 1 / low if low > 0 else None,
        }


def as_json(figure: Figure) -> dict[str, float | None]:
    """A figure for JSON: null where there is none."""
    return {
        name: None if np.isnan(value) else round(float(value), 6)
        for name, value in figure._asdict().items()
    }


def summarise(
    tally: Tally, *, about: Mapping[str, Any], urgent: Iterable[str], targeted: Iterable[str]
) -> dict[str, Any]:
    """The whole result, ready for JSON, text and the report."""
    baseline = tally.policies[0]
    return {
        **about,
        "studies": tally.studies,
        "baseline": baseline,
        "urgent": sorted(urgent),
        "untargeted": sorted(set(urgent) - set(targeted)),
        "warnings": [],
        "policies": {
            name: {
                "groups": [tally.result(name, group) for group in tally.groups],
                **(
                    {"needed_to_triage": tally.needed(name)}
                    if name != baseline and name in WITH_AI
                    else {}
                ),
            }
            for name in tally.policies
        },
    }


def simulate(
    scenario: Scenario, policy: Policy, progress: Progress = lambda done, of: None
) -> dict[str, Any]:
    """The scenario's result: per policy and group waits, turnaround, minutes saved and lost.
    Raises ValueError for names that the policy does not have.
    """
    check_names(scenario, policy)
    urgent = {d.name for e in scenario.examinations for d in e.diseases if d.urgent}
    targeted = urgent & {ai.finds for ai in scenario.ais}
    tally = Tally(scenario.baseline, scenario.worthwhile_minutes)
    for day in run(scenario, policy, progress):
        tally.add(day, frozenset(targeted))
    about = {
        "name": scenario.name,
        "seed": scenario.seed,
        "service": scenario.service,
        "replications": scenario.replications,
        "days": scenario.days,
        "load": round(scenario.load(), 4),
        "worthwhile_minutes": scenario.worthwhile_minutes,
        "policy": policy.name,
    }
    result = summarise(tally, about=about, urgent=urgent, targeted=targeted)
    if scenario.alike:
        _add_theory(result, scenario, policy, tally.groups)
    return result


def check_names(scenario: Scenario, policy: Policy) -> None:
    """Raises ValueError for order classes and finding codes that `policy` does not have."""
    classes = {
        name
        for exam in scenario.examinations
        for orders in (exam.orders, *(d.orders for d in exam.diseases))
        for name in orders
    }
    if unknown := sorted(classes - {*policy.classes, *policy.emergent.classes}):
        raise ValueError(
            f"orders: {unknown} are no classes of the policy {policy.name!r}: it has "
            f"{', '.join(sorted(policy.classes))}"
        )
    if unknown := sorted({ai.code for ai in scenario.ais} - set(policy.findings)):
        raise ValueError(
            f"ais: codes {unknown} are no findings of the policy {policy.name!r}: it has "
            f"{', '.join(sorted(policy.findings)) or 'none'}"
        )


def _add_theory(
    result: dict[str, Any], scenario: Scenario, policy: Policy, groups: Sequence[Group]
) -> None:
    """Beside each simulated mean wait the exact one, where a closed form exists, and a warning for
    each policy some of whose intervals do not hold it.
    """
    kinds, readers = scenario.kinds(), sum(r.count for r in scenario.readers)
    share = np.array([kind.share for kind in kinds])
    for order in orders_of(list(result["policies"]), policy, scenario.guard_minutes):
        waits = waits_of_kinds(kinds, scenario.steady_rate(), order, readers, scenario.service)
        if waits is None:
            continue
        rows = result["policies"][order.name]["groups"]
        for group, row in zip(groups, rows, strict=True):
            of = share * np.array(group.kinds)
            row["exact_mean_wait"] = round(float((of * waits).sum() / of.sum()), 6)
        if missed := [row for row in rows if _missed(row)]:
            worst = max(missed, key=lambda row: abs(row["wait"]["mean"]["value"] - _exact(row)))
            mean = worst["wait"]["mean"]
            result["warnings"].append(
                f"{order.name}: {len(missed)} of {len(rows)} intervals do not hold the exact mean "
                f"wait (by chance 1 in 20 does not), the farthest {worst['by']} {worst['name']}: "
                f"{mean['value']:.2f} ± {mean['half_width']:.2f} min, exactly {_exact(worst):.2f}: "
                "trust the exact one, or give more warm_up_days and replications"
            )


def _exact(row: Mapping[str, Any]) -> float:
    return float(row["exact_mean_wait"])


def _missed(row: Mapping[str, Any]) -> bool:
    value, half = row["wait"]["mean"].values()
    return value is not None and half is not None and abs(value - _exact(row)) > half + 1e-6
