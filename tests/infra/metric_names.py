"""Which metrics the code declares, and which an expression names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.docs.build import SUFFIXES, metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "infra" / "prometheus"
#: What every process of ours shows without declaring it, and what Prometheus makes itself.
GIVEN = {
    "up",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "ALERTS",
}
_NAME = re.compile(
    r"(?<![\w:.$\"])(?:[a-z]+:)?(?:vigie|process)_[a-z0-9_]+(?::[a-z0-9_]+)?|\bup\b(?=\{)"
)


@cache
def declared() -> dict[str, set[str]]:
    """Every metric that the four packages declare, as it is exposed → its labels."""
    return {
        metric.name + suffix: {*metric.labels, *(["le"] if suffix == "_bucket" else [])}
        for metric in metrics()
        for suffix in SUFFIXES[metric.kind.capitalize()]
    }


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Every rule, recording or alerting."""
    return tuple(
        rule
        for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    )


def recorded() -> set[str]:
    """The names that recording rules make."""
    return {rule["record"] for rule in rules() if "record" in rule}


def named(expression: str) -> set[str]:
    """The metrics that `expression` names."""
    return {match.group(0) for match in _NAME.finditer(expression)}


def selected(expression: str) -> Iterator[tuple[str, str]]:
    """(metric, label) for each label that a selector of `expression` asks for."""
    for metric, selector in re.findall(r"([a-z_:][a-z0-9_:]*)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            yield metric, label
