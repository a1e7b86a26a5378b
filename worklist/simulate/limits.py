"""How large a scenario may be: what would not fit or not end is told before anything is drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worklist.simulate.scenario import Scenario

KINDS = 20_000
POOLS = 61  # bits of a reader's mask
READERS = 5_000
SHIFTS = 2_000_000
#: Studies of one replication, and of all under all policies.
STUDIES, PLAYED = 5_000_000, 500_000_000
#: Loads above it settle so slowly that the warm-up has to be thought about.
SETTLED = 0.97


def check_parts(scenario: Scenario) -> None:
    """Raises ValueError where there are too many kinds of study, readers or shifts."""
    kinds = 0
    for exam in scenario.examinations:
        looking = sum(exam.name in ai.examinations for ai in scenario.ais)
        orders = sum(len(d.orders or exam.orders) or 1 for d in exam.diseases)
        orders += len(exam.orders) or 1
        kinds += 2 ** min(looking, 60) * orders * (len(exam.locations) or 1)
    _most("examinations and ais", kinds, KINDS, "kinds of study", "fewer ais an examination")
    pools = len(scenario.pools) - 1
    _most("examinations", pools, POOLS, "subspecialties", "join some")
    readers = sum(r.count for r in scenario.readers)
    _most("readers", readers, READERS, "readers", "fewer")
    weeks = (scenario.days + 2 * scenario.warm_up_days + 400) / 7
    shifts = sum(r.count * len(r.windows()) for r in scenario.readers) * weeks
    _most("readers", shifts, SHIFTS, "shifts", "fewer days, readers or shifts")


def check_studies(scenario: Scenario) -> None:
    """Raises ValueError where there would be too many studies; the load is below 1."""
    days = scenario.days + 2 * scenario.warm_up_days
    daily = float(scenario.rates().sum()) * 60 / 7
    daily += sum(b.per_day * b.studies for b in scenario.arrivals.bursts)
    why = "fewer arrivals, days or warm_up_days"
    _most("arrivals", days * daily, STUDIES, "studies in a replication", why)
    policies = len({scenario.baseline, *scenario.policies})
    played = days * daily * scenario.replications * policies
    _most("replications", played, PLAYED, "studies to play under all policies", "fewer of them")


def check_warm_up(scenario: Scenario) -> None:
    """Raises ValueError where the load is high and nobody said how long it takes to settle."""
    load = scenario.load()
    if load <= SETTLED or "warm_up_days" in scenario.model_fields_set:
        return
    daily = float(scenario.rates().sum()) * 60 / 7
    # Twenty times the time in which a queue forgets where it began (P. Morse 1955).
    enough = 20 / (1 - math.sqrt(load)) ** 2 / daily
    raise ValueError(
        f"warm_up_days: at a load of {load:.3f} the list takes long to settle, and the default of "
        f"{scenario.warm_up_days:g} may be too short: give it (about {enough:.0f} are enough)"
    )


def _most(field: str, number: float, most: int, what: str, remedy: str) -> None:
    if number > most:
        raise ValueError(f"{field}: {number:,.0f} {what}, {most:,} are the most: {remedy}")
