"""The golden schemas of what travels: they only grow.

After a compatible change, renew them: ``python tests/streams/test_schemas.py``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from streams.events import (
    Event,
    FindingsMade,
    OrderChanged,
    Parked,
    SenderSeen,
    schemas,
)

GOLDEN = Path(__file__).parent / "schemas"
KINDS = [*get_args(Event), SenderSeen, Parked]
Schema = dict[str, Any]


def bare(schema: Any) -> Any:
    """Without what only people read."""
    if isinstance(schema, dict):
        return {
            k: bare(v)
            for k, v in schema.items()
            if k == "properties" or k not in ("description", "title")
        }
    return [bare(v) for v in schema] if isinstance(schema, list) else schema


def incompatible(old: Schema, new: Schema, at: str = "") -> list[str]:
    """What a reader or writer of `old` would trip over in `new`: only fields with a default may
    come, and closed lists may grow.
    """
    found: list[str] = []
    for name in sorted(set(old) | set(new)):
        a, b, here = old.get(name), new.get(name), f"{at}/{name}"
        if a == b:
            continue
        if name in ("properties", "$defs") and isinstance(a, dict) and isinstance(b, dict):
            found += [f"{here}/{gone}: removed or renamed" for gone in a.keys() - b.keys()]
            for kept in a.keys() & b.keys():
                found += incompatible(a[kept], b[kept], f"{here}/{kept}")
        elif name == "properties" or name == "$defs":
            found += [f"{here}: removed"] if a else []
        elif name == "required":
            found += [f"{here}: {field} has no default" for field in set(b or []) - set(a or [])]
        elif name == "enum" and isinstance(a, list) and isinstance(b, list):
            found += [f"{here}: {value!r} is gone" for value in a if value not in b]
        elif isinstance(a, dict) and isinstance(b, dict):
            found += incompatible(a, b, here)
        elif name == "anyOf" and isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for place, (one, other) in enumerate(zip(a, b, strict=True)):
                found += incompatible(one, other, f"{here}/{place}")
        else:
            found.append(f"{here}: {a!r} became {b!r}")
    return found


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_schema_is_compatible_with_the_golden_one(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert incompatible(bare(golden), bare(schemas()[name])) == []


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_golden_schema_is_renewed_with_every_field(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert bare(golden) == bare(schemas()[name]), (
        "compatible? then renew the golden schemas: python tests/streams/test_schemas.py"
    )


def test_every_event_type_has_a_golden_schema_and_none_was_dropped() -> None:
    assert (
        {path.stem for path in GOLDEN.glob("*.json")}
        == set(schemas())
        == {kind.__name__ for kind in KINDS}
    )


def _required(s: Schema) -> None:
    s["properties"]["new"] = {"type": "string"}
    s["required"].append("new")


def _renamed(s: Schema) -> None:
    s["properties"]["location_code"] = s["properties"].pop("location")


MUTATIONS: dict[str, Callable[[Schema], Any]] = {
    "removed": lambda s: s["properties"].pop("priority"),
    "renamed": _renamed,
    "retyped": lambda s: s["properties"]["site"].update(type="integer"),
    "required": _required,
    "made required": lambda s: s["required"].append("site"),
    "shorter": lambda s: s["properties"]["site"].update(maxLength=3),
    "other default": lambda s: s["properties"]["priority"].update(default="routine"),
    "status dropped": lambda s: s["properties"]["status"]["anyOf"][0]["enum"].remove("performed"),
    "inside a part": lambda s: s["$defs"]["Version"]["properties"].pop("sequence"),
}


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_the_compatibility_check_catches(mutation: str) -> None:
    old = bare(OrderChanged.model_json_schema())
    new = copy.deepcopy(old)
    MUTATIONS[mutation](new)
    assert incompatible(old, new)


def test_the_compatibility_check_lets_a_field_with_a_default_and_a_new_reason_pass() -> None:
    old = bare(FindingsMade.model_json_schema())
    new = copy.deepcopy(old)
    new["properties"]["extra"] = {"type": "string", "default": ""}
    new["$defs"]["Reason"]["enum"].append("from_tomorrow")
    assert incompatible(old, new) == []


def renew() -> None:
    """Writes the golden schemas as the code has them now."""
    GOLDEN.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    renew()
