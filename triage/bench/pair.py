"""Two ways to do one thing, which `vigie bench` compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Two ways to do one thing; each call does it once and returns its rate in `unit`."""

    what: str
    unit: str
    ours: Callable[[], float]
    reference: Callable[[], float]
