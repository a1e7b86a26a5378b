"""A site's own history: reads a CSV of arrivals and reads, and plays it again under each policy.

What is wrong with a file is one line: which line, what, and what to do.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from worklist.order.policy import Policy
from worklist.simulate import limits, twin
from worklist.simulate.engine import Ints, Served, Staff
from worklist.simulate.studies import DAY, Exponential, Flag, Kind, Studies

#: Every column that is known. Without `study` lines are numbered; the rest may be empty.
COLUMNS = {
    "study": "a name of the study that is nobody's",
    "arrived": "when it could be read (needed)",
    "started": "when its read began (needed to play it again)",
    "finished": "when its read ended",
    "reader": "who read it, by a pseudonym",
    "examination": "what kind of study",
    "subspecialty": "who may read it",
    "order_class": "as the policy names them",
    "location": "as the policy names them",
    "finding": "the truth by the report: a finding code, empty for none",
    "score": "of the AI",
    "flags": "finding codes that AI raised, with blanks between",
}
_PAUSE = timedelta(minutes=90)  # a reader who starts nothing for so long was away
_LONGEST = timedelta(hours=12)  # of one read


class BadHistory(ValueError):
    """What is wrong with the file."""


@dataclass(frozen=True)
class Row:
    """One line. Times carry their offset."""

    line: int
    study: str
    arrived: datetime
    started: datetime | None
    finished: datetime | None
    texts: Mapping[str, str]
    score: float | None

    @property
    def kind(self) -> tuple[str, ...]:
        """What its kind is made of."""
        names = ("examination", "subspecialty", "order_class", "location", "finding", "flags")
        return tuple(self.texts[name] for name in names)


def read_history(path: Path, zone: ZoneInfo | None) -> list[Row]:
    """The lines, by time of arrival. `zone` is that of times without an offset.

    Raises BadHistory, or OSError.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        try:
            _check_header(path.name, lines.fieldnames or [])
            rows = [_row(path.name, lines.line_num, line, zone) for line in lines]
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadHistory(
                f"{path.name}, after line {lines.line_num}: it is no CSV in UTF-8: {error}"
            ) from None
    if not rows:
        raise BadHistory(f"{path.name} has no studies below its header: export at least one day")
    first: dict[str, int] = {}
    for row in rows:
        if (before := first.setdefault(row.study, row.line)) != row.line:
            raise BadHistory(
                f"{path.name}, line {row.line}: the study of line {before} again: keep one of them"
            )
    return sorted(rows, key=lambda row: (row.arrived, row.study))


def _check_header(name: str, header: Sequence[str]) -> None:
    if "arrived" not in header:
        raise BadHistory(f"{name}, line 1: no column `arrived`: {_known()}")
    if unknown := [column for column in header if column not in COLUMNS]:
        raise BadHistory(f"{name}, line 1: no column is called {unknown[0]!r}: {_known()}")
    if len(set(header)) < len(header):
        raise BadHistory(f"{name}, line 1: a column stands twice: keep one of them")


def _known() -> str:
    return f"the columns are {', '.join(COLUMNS)}"


def _row(name: str, line: int, values: Mapping[Any, str | None], zone: ZoneInfo | None) -> Row:
    if None in values or any(value is None for value in values.values()):
        raise BadHistory(f"{name}, line {line}: another number of columns than the header has")
    texts = {column: (values.get(column) or "").strip() for column in COLUMNS}
    where = f"{name}, line {line}"
    times = {
        column: _time(f"{where}: {column}", texts[column], zone)
        for column in ("arrived", "started", "finished")
    }
    arrived, started, finished = times["arrived"], times["started"], times["finished"]
    if arrived is None:
        raise BadHistory(f"{where}: arrived is empty: leave the line out")
    if (started is None) != (finished is None):
        raise BadHistory(f"{where}: started and finished belong together: give both or neither")
    if started and finished:
        if started < arrived:
            raise BadHistory(f"{where}: it was read before it arrived: check both clocks")
        if not timedelta() < finished - started <= _LONGEST:
            raise BadHistory(
                f"{where}: the read takes {(finished - started).total_seconds() / 60:g} minutes: "
                "0 to 720 are possible; leave started and finished empty if nobody knows"
            )
        if not texts["reader"]:
            raise BadHistory(f"{where}: reader is empty: write a pseudonym")
    try:
        score = float(texts["score"]) if texts["score"] else None
    except ValueError:
        score = math.nan
    if score is not None and not math.isfinite(score):
        raise BadHistory(f"{where}: score {texts['score']!r} is no number")
    return Row(line, texts["study"] or f"line {line}", arrived, started, finished, texts, score)


def _time(where: str, text: str, zone: ZoneInfo | None) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadHistory(f"{where} {text!r} is no time: write 2026-03-14T09:30:00+01:00") from None
    if not 1990 <= found.year <= 2200:
        raise BadHistory(f"{where} {text!r}: the year lies between 1990 and 2200")
    if found.utcoffset() is not None:
        return found
    if zone is None:
        raise BadHistory(
            f"{where} {text!r} has no offset: write it, or say --timezone Europe/Paris"
        )
    early, late = found.replace(tzinfo=zone, fold=0), found.replace(tzinfo=zone, fold=1)
    if early.utcoffset() != late.utcoffset():
        back = early.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        what = "happens twice" if back == found else "does not exist"
        raise BadHistory(
            f"{where} {text!r} {what} in {zone.key}, where clocks change: write it with its offset"
        )
    # A fixed offset: between two times of one zone Python counts by the clock on the wall.
    return early.astimezone(timezone(early.utcoffset() or timedelta()))


# ---- what the event loop needs


@dataclass(frozen=True)
class History:
    """A file as studies, with who was there when; minutes from `origin`."""

    rows: Sequence[Row]
    studies: Studies
    staff: Staff
    origin: datetime

    @property
    def day(self) -> Ints:
        """Of each study, from 0."""
        days = np.floor(self.studies.arrived / DAY).astype(np.int64)
        return np.asarray(days - days[0])


def replayable(
    rows: Sequence[Row], random: np.random.Generator, *, add_readers: int = 0
) -> History:
    """`rows` with the readers that were there (and `add_readers` more whenever any was).

    A study that nobody read gets the reading time of another one.
    """
    durations = [
        (row.finished - row.started).total_seconds() / 60
        for row in rows
        if row.started and row.finished
    ]
    if not durations:
        raise BadHistory("no line has started, finished and reader: without them nobody can replay")
    origin = rows[0].arrived.replace(hour=0, minute=0, second=0, microsecond=0)
    pools = ["", *sorted({row.texts["subspecialty"] for row in rows} - {""})]
    if len(pools) > limits.POOLS + 1:
        raise BadHistory(
            f"subspecialty: {len(pools) - 1} of them, {limits.POOLS} are the most: join some"
        )
    kinds, kind = _kinds(rows, pools, float(np.mean(durations)))
    read = [
        (row.finished - row.started).total_seconds() / 60
        if row.started and row.finished
        else float(random.choice(durations))
        for row in rows
    ]
    arrived = np.array([_minutes(row.arrived, origin) for row in rows])
    studies = Studies(arrived, np.array(read), kind, kinds)
    return History(rows, studies, _staff(rows, pools, origin, add_readers), origin)


def _minutes(time: datetime, origin: datetime) -> float:
    return (time - origin) / timedelta(minutes=1)


def _kinds(rows: Sequence[Row], pools: Sequence[str], mean: float) -> tuple[list[Kind], Ints]:
    keys = list(zip((row.kind for row in rows), looked_at(rows), strict=True))
    counts = Counter(keys)
    kinds = [
        Kind(
            share=count / len(rows),
            read=Exponential(mean=mean),
            group=exam,
            disease=finding,
            order_class=order or "unknown",
            location=place,
            flags=tuple(Flag("ai", code) for code in flags.split()),
            seen_by=("ai",) if looked else (),
            pool=pools.index(subspecialty),
        )
        for (key, looked), count in counts.items()
        for exam, subspecialty, order, place, finding, flags in (key,)
    ]
    number = {key: n for n, key in enumerate(counts)}
    return kinds, np.array([number[key] for key in keys], np.int64)


def looked_at(rows: Sequence[Row]) -> list[bool]:
    """Whether AI looked at each: it has a score or a flag; where the file has no scores, all
    studies of an examination that has flags were looked at.
    """
    if any(row.score is not None for row in rows):
        return [row.score is not None or bool(row.texts["flags"]) for row in rows]
    exams = {row.texts["examination"] for row in rows if row.texts["flags"]}
    return [row.texts["examination"] in exams for row in rows]


def presence(rows: Iterable[Row]) -> dict[str, list[tuple[datetime, datetime]]]:
    """When each reader was there: from the first to the last read, without long pauses."""
    reads: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for row in rows:
        if row.started and row.finished:
            reads[row.texts["reader"]].append((row.started, row.finished))
    return {reader: merge(times, _PAUSE) for reader, times in reads.items()}


def merge(
    times: Iterable[tuple[datetime, datetime]], pause: timedelta
) -> list[tuple[datetime, datetime]]:
    """Stretches of time with no pause longer than `pause` between them, in order."""
    found: list[tuple[datetime, datetime]] = []
    for start, end in sorted(times):
        if found and start - found[-1][1] <= pause:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _staff(rows: Sequence[Row], pools: Sequence[str], origin: datetime, added: int) -> Staff:
    there = presence(rows)
    reads: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        reads[row.texts["reader"]].add(row.texts["subspecialty"])
    masks = [sum(1 << pools.index(name) for name in {"", *reads[reader]}) for reader in there]
    windows = list(there.values())
    anybody = merge((w for of_one in windows for w in of_one), timedelta())
    masks += [-1] * added
    windows += [anybody] * added
    shifts = [
        (_minutes(start, origin), _minutes(end, origin), reader)
        for reader, of_one in enumerate(windows)
        for start, end in of_one
    ]
    # What another order leaves at the end of the record is read by all who were there.
    last = max(max(end for _, end, _ in shifts), _minutes(rows[-1].arrived, origin))
    shifts += [(last, float("inf"), reader) for reader in range(len(windows))]
    shifts.sort()
    starts, ends, of = (np.array(column) for column in zip(*shifts, strict=True))
    return Staff(np.array(masks, np.int64), starts, ends, of.astype(np.int64))


# ---- what if


def with_threshold(rows: Sequence[Row], code: str, threshold: float) -> list[Row]:
    """The same studies, flagged with `code` where the score is at least `threshold`."""
    if all(row.score is None for row in rows):
        raise BadHistory("--threshold needs a column `score`")
    return [
        _flag(row, code, row.score >= threshold) if row.score is not None else row for row in rows
    ]


def with_model(
    rows: Sequence[Row], code: str, point: tuple[float, float], random: np.random.Generator
) -> list[Row]:
    """The same studies, but those that AI looks at (where it looks at none: the examinations that
    show the finding) by a model of another sensitivity and specificity.
    """
    if not any(row.texts["finding"] == code for row in rows):
        raise BadHistory(f"--model: no study has the finding {code!r} in the column `finding`")
    sensitivity, specificity = point
    looked = looked_at(rows)
    if not any(looked):
        exams = {row.texts["examination"] for row in rows if row.texts["finding"] == code}
        looked = [row.texts["examination"] in exams for row in rows]
    return [
        _flag(
            row, code, chance < (sensitivity if row.texts["finding"] == code else 1 - specificity)
        )
        if seen
        else row
        for row, seen, chance in zip(rows, looked, random.random(len(rows)), strict=True)
    ]


def _flag(row: Row, code: str, flagged: bool) -> Row:
    others = [other for other in row.texts["flags"].split() if other != code]
    return replace(
        row, texts={**row.texts, "flags": " ".join(sorted([*others, *([code] if flagged else [])]))}
    )


# ---- again, under each policy


def simulate(
    history: History,
    policy: Policy,
    names: Sequence[str],
    *,
    guard: float,
    worthwhile: float,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The result for the recorded studies, in the shape of a scenario's; intervals are from days.

    The first of `names` is what the others are compared with. `recorded` is what really happened,
    where every study was read.
    """
    orders = twin.orders_of(names, policy, guard)
    day = twin.play(history.studies, history.staff, orders, history.day, preemptive=False)
    if all(row.started for row in history.rows):
        times = (
            np.array([_minutes(t, history.origin) for t in of if t])
            for of in ([r.started for r in history.rows], [r.finished for r in history.rows])
        )
        day = replace(day, served={**day.served, "recorded": Served(*times)})
    diseases = {kind.disease for kind in history.studies.kinds} - {""}
    flagged = {flag.code for kind in history.studies.kinds for flag in kind.flags}
    targeted = diseases & (set(policy.findings) | flagged)
    tally = twin.Tally(names[0], worthwhile)
    tally.add(day, frozenset(targeted))
    days = len(np.unique(history.day))
    facts = {
        "service": "non-preemptive",
        "replications": days,
        "days": 1,
        "load": None,
        "worthwhile_minutes": worthwhile,
        "policy": policy.name,
    }
    result = twin.summarise(tally, about={**about, **facts}, urgent=diseases, targeted=targeted)
    result["warnings"] += _unmatched(history.studies.kinds, policy, flagged)
    return result


def _unmatched(kinds: Iterable[Kind], policy: Policy, flagged: set[str]) -> list[str]:
    """What stands in the file and nowhere in the policy: the live list takes it, and so do we."""
    classes = sorted({kind.order_class for kind in kinds} - set(policy.classes))
    codes = sorted(flagged - set(policy.findings))
    found = []
    if classes:
        found.append(f"order_class: the policy has no {classes}: they count as unknown")
    if codes:
        found.append(f"flags: the policy has no {codes}: they count as its most urgent finding")
    return found
