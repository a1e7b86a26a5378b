"""Reads scenarios of the form of QuCAD's reference: each mistake says which scenario and field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worklist.simulate.closed_forms import NoSteadyState
from worklist.simulate.qucad.model import Scenario


class BadScenario(ValueError):
    """A scenario that cannot be simulated: which one, which field, what to do."""


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file of the form of QuCAD's reference. Raises BadScenario."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
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
        if not isinstance(derived, dict):
            raise BadScenario(f"scenario {name}: derived is no object: give it Se and Sp")
        sensitivity, specificity = (number_of(f, 0, 1, derived) for f in ("Se", "Sp"))
    else:
        sensitivity, specificity = number_of("TPFThresh", 0, 1), 1 - number_of("FPFThresh", 0, 1)
    traffic = number_of("traffic", 0, 1e6)
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
