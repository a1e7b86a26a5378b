"""Which closed form, if any, says how long each class of a list waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from worklist.simulate import closed_forms
from worklist.simulate.closed_forms import Stream
from worklist.simulate.disciplines import Discipline
from worklist.simulate.studies import Kind

#: Readers times phases³ that the chain of `interrupted_class` may have: seconds, not hours.
_MOST_WORK = 1e11

Service = Literal["preemptive-resume", "non-preemptive"]


def mean_waits(
    classes: Sequence[Sequence[Stream]], readers: int, service: Service
) -> list[list[float]] | None:
    """Mean wait of each stream of each class, first come first read within one; None where there is
    no closed form. Raises NoSteadyState.
    """
    if readers == 1 and service == "preemptive-resume":
        return closed_forms.preemptive_resume(classes)
    found = (
        closed_forms.non_preemptive(classes)
        if readers == 1
        else _several_readers(classes, readers, service)
    )
    if found is None:
        return None
    return [[wait] * len(streams) for wait, streams in zip(found, classes, strict=True)]


def waits_of_kinds(
    kinds: Sequence[Kind], rate: float, order: Discipline, readers: int, service: Service
) -> list[float] | None:
    """Mean wait of each kind in a Poisson stream of `rate` a minute; None where there is no closed
    form: AI answers that come late, waits that raise, lanes that are not in order of arrival.
    """
    if order.guard is not None or any(flag.after for kind in kinds for flag in kind.flags):
        return None
    placed = [order.place(kind, kind.flags) for kind in kinds]
    ordered = sorted(set(placed))
    if len({lane for lane, _ in ordered}) < len(ordered):
        return None  # within a lane some are due sooner than others
    numbers = [[n for n, place in enumerate(placed) if place == one] for one in ordered]
    streams = [
        [Stream(rate * kinds[n].share, kinds[n].read.mean, kinds[n].read.square) for n in chosen]
        for chosen in numbers
    ]
    found = mean_waits(streams, readers, service)
    if found is None:
        return None
    waits = [0.0] * len(kinds)
    for chosen, values in zip(numbers, found, strict=True):
        for number, value in zip(chosen, values, strict=True):
            waits[number] = value
    return waits


def _several_readers(
    classes: Sequence[Sequence[Stream]], readers: int, service: Service
) -> list[float] | None:
    """A mean wait for each class, where reads are exponential and alike; the first class may have a
    mean of its own if it interrupts.
    """
    streams = [s for of_class in classes for s in of_class if s.rate]
    if any(not math.isclose(s.square, 2 * s.mean**2) for s in streams):
        return None
    rates = [sum(s.rate for s in of_class) for of_class in classes]
    means = [{s.mean for s in of_class if s.rate} for of_class in classes]
    everywhere, behind = set().union(*means), set().union(*means[1:])
    if len(everywhere) == 1:
        formula = (
            closed_forms.preemptive_resume_readers
            if service == "preemptive-resume"
            else closed_forms.non_preemptive_readers
        )
        return formula(rates, everywhere.pop(), readers)
    if len(behind) > 1 or len(means[0]) > 1 or service == "non-preemptive":
        return None
    high = Stream.exponential(rates[0], means[0].pop())
    load = high.rate * high.mean / readers
    if load < 1 and readers * closed_forms.phases(high, readers) ** 3 > _MOST_WORK:
        return None  # an answer exists, but its chain is too large
    return _behind_one(high, rates[1:], behind.pop(), readers)


def _behind_one(high: Stream, rates: Sequence[float], mean: float, readers: int) -> list[float]:
    """The first class sees only itself. The others read alike, so the first k of them are together
    one class that it interrupts; what a class adds to the waiting is its own (Little).
    """
    waits = closed_forms.preemptive_resume_readers([high.rate], high.mean, readers)
    before, total = 0.0, 0.0
    for rate in rates:
        total += rate
        low = Stream.exponential(total, mean)
        waiting = total * closed_forms.interrupted_class(high, low, readers)
        waits.append((waiting - before) / rate if rate else 0.0)
        before = waiting
    return waits
