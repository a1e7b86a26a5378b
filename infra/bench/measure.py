"""How two rates are compared: warm, then by turns in one process, because absolute numbers of a
shared machine mean little.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

#: One run: does the work, returns its rate in units a second.
Run = Callable[[], float]


@dataclass(frozen=True)
class Result:
    """One comparison. `ratio` is the median of the pairs' own ratios: ours over the reference,
    larger is better.
    """

    name: str
    what: str
    ours: float
    reference: float
    ratio: float
    unit: str
    runs: int
    machine: str

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return asdict(self)

    def as_line(self) -> str:
        """For a person."""
        rates = f"{self.ours:g} beside {self.reference:g} {self.unit}"
        return f"{self.name:10} {self.ratio:7.3g} × the reference  ({rates}) {self.what}"


def machine() -> str:
    """What it ran on, without a name that says whose it is."""
    cores, system = os.cpu_count(), platform.system()
    return f"{cores} × {_processor()}, {system}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")),
                platform.machine(),
            )
    except OSError:
        return platform.machine()


def compare(name: str, what: str, unit: str, ours: Run, reference: Run, *, runs: int) -> Result:
    """`runs` pairs, after one of each that is not counted; who goes first alternates."""
    ours(), reference()
    pairs: list[tuple[float, float]] = []
    for number in range(runs):
        if number % 2:
            other = reference()
            pairs.append((ours(), other))
        else:
            pairs.append((ours(), reference()))
    return Result(
        name,
        what,
        _round(statistics.median(own for own, _ in pairs)),
        _round(statistics.median(bare for _, bare in pairs)),
        _round(statistics.median(own / bare for own, bare in pairs)),
        unit,
        runs,
        machine(),
    )


def _round(value: float) -> float:
    return float(f"{value:.4g}")
