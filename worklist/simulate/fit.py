"""A scenario out of a site's history: its week, its studies, its readers, its AI."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from worklist.simulate.engine import Floats
from worklist.simulate.history import BadHistory, Row, presence

_HOUR = timedelta(hours=1)
_IMPOSSIBLE = 40.0  # arrivals that a gap would have had: by chance once in 10^17
_MOST_VALUES = 200


def check_gaps(rows: Sequence[Row], name: str) -> None:
    """Raises BadHistory where nothing arrives for so long that something must be missing."""
    profile = profile_of(rows)
    for before, row in pairwise(rows):
        if row.arrived - before.arrived <= _HOUR:
            continue
        missing = sum(
            profile[_weekend(hour), hour.hour] for hour in _hours(before.arrived, row.arrived)
        )
        if missing >= _IMPOSSIBLE:
            length = (row.arrived - before.arrived).total_seconds() / 3600
            raise BadHistory(
                f"{name}, line {row.line}: nothing arrived for {length:.0f} hours after line "
                f"{before.line}, where some {missing:.0f} studies come otherwise: cut the file "
                "there, or say --allow-gaps if nothing did come"
            )


def profile_of(rows: Sequence[Row]) -> Floats:
    """Arrivals an hour on weekdays and on weekends (2 × 24), by the clock on the wall."""
    came, covered = np.zeros((2, 24)), np.zeros((2, 24))
    for row in rows:
        came[_weekend(row.arrived), row.arrived.hour] += 1
    for hour in _hours(rows[0].arrived, rows[-1].arrived + _HOUR):
        covered[_weekend(hour), hour.hour] += 1
    result: Floats = came / np.maximum(covered, 1)
    return result


def _weekend(time: datetime) -> int:
    return int(time.weekday() >= 5)


def _hours(start: datetime, end: datetime) -> list[datetime]:
    """The hours from `start` to `end`, each by one moment of it."""
    count = int((end - start) / _HOUR)
    return [start + n * _HOUR for n in range(count)]


def fit(rows: Sequence[Row], name: str, seed: int) -> dict[str, Any]:
    """What `Scenario` is made of. Rates and shares are those of the file, reads are drawn from its
    own, readers come as often as they came, in whole persons by the hour.
    """
    profile = profile_of(rows)
    by_exam: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_exam[row.texts["examination"] or "study"].append(row)
    ais = _ais(rows, by_exam)
    scenario: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "arrivals": {
            "weekday": [round(float(x), 3) for x in profile[0]],
            "weekend": [round(float(x), 3) for x in profile[1]],
        },
        "readers": _readers(rows),
        "examinations": [_examination(exam, of, len(rows)) for exam, of in by_exam.items()],
    }
    # Shares are rounded for the reader of the file, and add up to 1 all the same.
    _add_up(scenario["examinations"])
    if ais:
        scenario["ais"] = ais
    return scenario


def _shares(values: Sequence[str]) -> dict[str, float]:
    counts = Counter(values)
    shares = {key: round(count / len(values), 5) for key, count in counts.items()}
    first = max(shares, key=lambda key: shares[key])
    shares[first] = round(shares[first] + 1 - sum(shares.values()), 5)
    return shares


def _add_up(exams: list[dict[str, Any]]) -> None:
    most = max(exams, key=lambda exam: exam["share"])
    most["share"] = round(most["share"] + 1 - sum(exam["share"] for exam in exams), 6)


def _examination(name: str, rows: Sequence[Row], total: int) -> dict[str, Any]:
    reads = sorted(
        (row.finished - row.started).total_seconds() / 60
        for row in rows
        if row.started and row.finished
    )
    if not reads:
        raise BadHistory(
            f"no study of {name!r} has started and finished: nothing says how long it takes"
        )
    if len(reads) > _MOST_VALUES:
        reads = list(np.quantile(reads, (np.arange(_MOST_VALUES) + 0.5) / _MOST_VALUES))
    pools = Counter(row.texts["subspecialty"] for row in rows)
    findings = Counter(row.texts["finding"] for row in rows)
    exam: dict[str, Any] = {
        "name": name,
        "share": round(len(rows) / total, 6),
        "subspecialty": pools.most_common(1)[0][0],
        "orders": _shares([row.texts["order_class"] or "unknown" for row in rows]),
        "read": {"family": "empirical", "values": [round(float(value), 2) for value in reads]},
        "diseases": [
            {"name": finding, "prevalence": round(count / len(rows), 6), "urgent": True}
            for finding, count in sorted(findings.items())
            if finding
        ],
    }
    if any(row.texts["location"] for row in rows):
        exam["locations"] = _shares([row.texts["location"] for row in rows])
    return exam


def _ais(rows: Sequence[Row], by_exam: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """One for each code that was raised, as well as it found what the reports say."""
    found = []
    for code in sorted({code for row in rows for code in row.texts["flags"].split()}):
        sick = [row for row in rows if row.texts["finding"] == code]
        exams = [
            exam for exam, of in by_exam.items() if any(row.texts["finding"] == code for row in of)
        ]
        well = [row for exam in exams for row in by_exam[exam] if row.texts["finding"] != code]
        if not sick or not well:
            continue
        hits, false = (sum(code in r.texts["flags"].split() for r in of) for of in (sick, well))
        found.append(
            {
                "name": f"ai {code}",
                "code": code,
                "finds": code,
                "examinations": exams,
                "sensitivity": round(hits / len(sick), 4),
                "specificity": round(1 - false / len(well), 4),
            }
        )
    return found


def _readers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Layers of one reader each: the first is there in every hour in which one was on average."""
    minutes, covered = np.zeros((2, 24)), np.zeros((2, 24))
    for hour in _hours(rows[0].arrived, rows[-1].arrived + _HOUR):
        covered[_weekend(hour), hour.hour] += 60
    for windows in presence(rows).values():
        for start, end in windows:
            for minute in range(int((end - start).total_seconds() // 60)):
                moment = start + timedelta(minutes=minute)
                minutes[_weekend(moment), moment.hour] += 1
    count = np.rint(minutes / np.maximum(covered, 60)).astype(int)
    layers = []
    for layer in range(1, int(count.max(initial=0)) + 1):
        shifts = []
        for weekend, days in enumerate(("weekdays", "weekend")):
            shifts += _runs(count[weekend] >= layer, days)
        layers.append({"count": 1, "shifts": shifts})
    if not layers:
        raise BadHistory(
            "--write: no hour of the week has a reader for half of it on average: a longer record "
            "is needed, or write the scenario's readers by hand"
        )
    return layers


def _runs(there: Any, days: str) -> list[dict[str, str]]:
    """Shifts that cover the hours in which somebody is there."""
    shifts, hour = [], 0
    while hour < 24:
        if not there[hour]:
            hour += 1
            continue
        start = hour
        while hour < 24 and there[hour]:
            hour += 1
        shifts.append({"days": days, "start": f"{start:02}:00", "end": f"{hour % 24:02}:00"})
    return shifts


def as_toml(scenario: dict[str, Any]) -> str:
    """`fit`'s scenario as a file that a person can change."""
    lines = [f"{key} = {_value(scenario[key])}" for key in ("name", "seed")]
    lines += ["", "[arrivals]"]
    lines += [f"{key} = {_value(value)}" for key, value in scenario["arrivals"].items()]
    for table in ("readers", "examinations", "ais"):
        for entry in scenario.get(table, []):
            lines += ["", f"[[{table}]]"]
            lines += [f"{key} = {_value(value)}" for key, value in entry.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(
            f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else "\\" + c if c in '"\\' else c
            for c in value
        )
        return f'"{escaped}"'
    return repr(value)
