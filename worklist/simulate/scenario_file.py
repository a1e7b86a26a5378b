"""Reads a scenario from TOML: each mistake is a line that says where, what, and what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from worklist.order import policy as policies
from worklist.order.policy import Policy
from worklist.simulate.scenario import Scenario


class BadScenario(ValueError):
    """What is wrong with a scenario, one line for each mistake."""


def read_scenario(path: Path) -> Scenario:
    """The scenario in a file. Raises BadScenario, with a line for each mistake, or OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadScenario(f"{path.name} is no text in UTF-8: {error}") from None
    try:
        return Scenario.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadScenario(f"{path.name} is no TOML: {error}") from None
    except ValidationError as error:
        lines = []
        for mistake in error.errors():
            where = tuple(
                p for p in mistake["loc"] if p not in ("exponential", "lognormal", "empirical")
            )
            what = mistake["msg"].removeprefix("Value error, ")
            given = mistake.get("input")
            if isinstance(given, str | int | float):
                what += f" (it is {given!r})"
            field = ".".join(map(str, where))
            lines.append(
                f"{path.name}, line {_line(text, where)}: {field + ': ' if field else ''}{what}"
            )
        raise BadScenario("; ".join(lines)) from None


def read_policy(scenario: Scenario, path: Path, default: Callable[[], Policy]) -> Policy:
    """The policy that a scenario names, else `default`. Raises BadScenario."""
    try:
        if not scenario.policy:
            return default()
        return policies.parse((path.parent / scenario.policy).read_text())
    except (OSError, ValueError) as error:
        which = repr(scenario.policy) if scenario.policy else "of the site (none is named)"
        raise BadScenario(f"{path.name}: policy {which}: {error}") from None


def _line(text: str, where: tuple[int | str, ...]) -> int:
    """The line of the innermost part of `where` that is found; good enough for a person to look."""
    lines, found = text.splitlines(), 1
    start = 0
    for part, index in zip(where, (*where[1:], None), strict=False):
        if isinstance(part, int):
            continue
        name = re.escape(part)
        header, key = rf"^\s*\[\[?[^]=]*\b{name}\]", rf'(^|[{{,])\s*"?{name}"?\s*='
        pattern = re.compile(f"{header}|{key}")
        hits = [n for n in range(start, len(lines)) if pattern.search(lines[n])]
        if not hits:
            continue
        tables = [n for n in hits if lines[n].lstrip().startswith("[[")]
        at = tables[index] if isinstance(index, int) and index < len(tables) else hits[0]
        start = found = at
        found += 1
    return found
