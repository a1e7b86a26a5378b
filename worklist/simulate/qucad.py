"""QuCAD's scenarios: FDA's model of a worklist with one triage AI, read and solved where theory
reaches.

Its model: Poisson arrivals, exponential reading times, alike readers on one list. Some studies
interrupt (they are not on the AI's list); of the others AI calls some positive, and these go first.
Source: Y. Thompson et al., Queueing Systems 108 (2024) 579, doi 10.1007/s11134-024-09927-w.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from worklist.simulate import closed_forms
from worklist.simulate.closed_forms import NoSteadyState, Stream
from worklist.simulate.studies import Exponential, Flag, Kind

Service = Literal["preemptive-resume", "non-preemptive"]

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
LISTS: dict[str, tuple[tuple[str, ...], ...]] = {  # the order of reading
    "without_cadt": (("interrupting",), ("TP", "FP", "FN", "TN")),
    "with_cadt": (("interrupting",), ("TP", "FP"), ("FN", "TN")),
}


class BadScenario(ValueError):
    """A scenario that cannot be simulated: which one, which field, what to do."""


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


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file of the form of QuCAD's reference. Raises BadScenario."""
    try:
        body = json.loads(path.read_text())
    except ValueError as error:
        raise BadScenario(f"{path.name} is no JSON: {error}") from None
    found = body.get("scenarios") if isinstance(body, dict) else body
    if not isinstance(found, list) or not found:
        raise BadScenario(f"{path.name} has no list `scenarios`: see infra/docs/simulate.md")
    return [_scenario(one, number) for number, one in enumerate(found)]


def _scenario(body: Any, number: int) -> Scenario:
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), dict):
        raise BadScenario(f"scenario {number + 1} has no `inputs`")
    name, inputs = str(body.get("id", number + 1)), body["inputs"]

    def number_of(
        field: str, least: float, most: float, where: Mapping[str, Any] = inputs
    ) -> float:
        value = where.get(field)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadScenario(f"scenario {name}: {field} is {value!r}: a number is needed")
        if not least <= value <= most:
            raise BadScenario(
                f"scenario {name}: {field} is {value}: it lies between {least:g} and {most:g}"
            )
        return float(value)

    readers = number_of("nRadiologists", 1, 1000)
    if readers != int(readers):
        raise BadScenario(f"scenario {name}: nRadiologists is {readers}: a whole number is needed")
    if inputs.get("FPFThresh") is None:  # the operating point lies on a curve that was fitted
        derived = body.get("derived") or {}
        sensitivity, specificity = (number_of(f, 0, 1, derived) for f in ("Se", "Sp"))
    else:
        sensitivity, specificity = number_of("TPFThresh", 0, 1), 1 - number_of("FPFThresh", 0, 1)
    traffic = number_of("traffic", 0, math.inf)
    if traffic >= 1:
        raise BadScenario(f"scenario {name}: traffic: {NoSteadyState(traffic)}")
    if traffic == 0:
        raise BadScenario(f"scenario {name}: traffic is 0: nothing arrives, nothing waits")
    return Scenario(
        name,
        traffic,
        number_of("fractionED", 0, 1),
        int(readers),
        number_of("prevalence", 0, 1),
        sensitivity,
        specificity,
        *(
            number_of(f"meanServiceTime{kind}Min", 1e-6, 1e6)
            for kind in ("Diseased", "NonDiseased", "Interrupting")
        ),
    )


def exact(scenario: Scenario, service: Service) -> dict[str, Any] | None:
    """Mean waits by theory, in the shape of the reference's `recommended`; None where there is no
    closed form.
    """
    lists = {name: _exact_list(scenario, service, order) for name, order in LISTS.items()}
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
    without, with_ai = (result[name]["diseased"] for name in LISTS)
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
    if scenario.readers == 1:
        by_class = (
            closed_forms.preemptive_resume(streams)
            if service == "preemptive-resume"
            else [
                [wait] * len(kinds)
                for wait, kinds in zip(closed_forms.non_preemptive(streams), order, strict=True)
            ]
        )
    else:
        found = _exact_readers(streams, scenario.readers, service)
        if found is None:
            return None
        by_class = [[wait] * len(kinds) for wait, kinds in zip(found, order, strict=True)]
    return {
        kind: wait
        for kinds, waits in zip(order, by_class, strict=True)
        for kind, wait in zip(kinds, waits, strict=True)
    }


def _exact_readers(
    classes: Sequence[Sequence[Stream]], readers: int, service: Service
) -> list[float] | None:
    """Several readers: a mean wait for each class where all reads on the list are alike."""
    rates = [sum(s.rate for s in streams) for streams in classes]
    on_list = {s.mean for streams in classes[1:] for s in streams if s.rate}
    everywhere = on_list | {s.mean for s in classes[0] if s.rate}
    if len(everywhere) == 1:
        formula = (
            closed_forms.preemptive_resume_readers
            if service == "preemptive-resume"
            else closed_forms.non_preemptive_readers
        )
        return formula(rates, everywhere.pop(), readers)
    if len(on_list) > 1 or service == "non-preemptive":
        return None
    mean, high = on_list.pop(), classes[0][0]
    # Interrupting studies see only each other. What is on the list reads alike, so the first k
    # classes of it are together one class that is interrupted; a class alone is the difference.
    waits = closed_forms.preemptive_resume_readers([high.rate], high.mean, readers)
    before, total = 0.0, 0.0
    for rate in rates[1:]:
        total += rate
        low = Stream.exponential(total, mean)
        waiting = total * closed_forms.interrupted_class(high, low, readers)
        waits.append((waiting - before) / rate if rate else 0.0)
        before = waiting
    return waits
