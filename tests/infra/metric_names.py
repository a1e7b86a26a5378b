"""Which metrics the code declares, and which an expression names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

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
_SUFFIXES = {"Counter": ("",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
_NAME = re.compile(
    r"(?<![\w:.$\"])(?:[a-z]+:)?(?:vigie|process)_[a-z0-9_]+(?::[a-z0-9_]+)?|\bup\b(?=\{)"
)


@cache
def declared() -> dict[str, set[str]]:
    """Every metric that the four packages declare, as it is exposed → its labels."""
    found: dict[str, set[str]] = {}
    for package in ("streams", "triage", "worklist", "infra"):
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if not (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id in _SUFFIXES
                    and call.args
                ):
                    continue
                name = call.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    labels = set(ast.literal_eval(call.args[2])) if len(call.args) > 2 else set()
                    for suffix in _SUFFIXES[call.func.id]:
                        found[name.value + suffix] = labels | (
                            {"le"} if suffix == "_bucket" else set()
                        )
    return found


def rules() -> Iterator[dict[str, Any]]:
    """Every rule, recording or alerting."""
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


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
