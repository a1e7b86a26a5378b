"""``vigie demo``: starts an installation, plays the day, waits for what is under way, reports."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.demo.api import Api
from infra.demo.case import Day
from infra.demo.day import with_pictures, write_day
from infra.demo.installation import AE_TITLE, Installation
from infra.demo.odd.situations import situations, situations_in_words
from infra.demo.odd.stories import stories, stories_in_words
from infra.demo.pictures import read_pictures
from infra.demo.readers import Readers
from infra.demo.report import (
    count_studies,
    flags,
    flags_in_words,
    latencies,
    percentiles,
    rank_history,
    rows_of,
    unsettled,
    waits,
)
from infra.demo.traffic import Traffic
from infra.demo.waits import ACTS, Act, against_simulator
from streams.health import write_whole
from streams.kafka.topics import PARKED
from streams.logs import tell
from worklist.order.policy import Policy

_HEADLESS_READERS = 2
#: With a page to look at, readers take so many times as long: the list has something to show.
_PACE = 2.0
_DRAIN_S = 90.0
_LOOK_S = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Options:
    """What the command line asks for. `seconds`: of traffic, wall clock; `speed`: simulated seconds
    in one.
    """

    empty: bool = False
    kafka: str = ""
    database: str = ""
    ready: Path | None = None
    images: Path | None = None
    labels: Path | None = None
    headless: bool = False
    seconds: float = 120.0
    speed: float = 60.0
    seed: int = 1
    report: Path | None = None


class Interrupted(BaseException):
    """SIGINT or SIGTERM, raised in the main thread wherever it is; `code` is the exit code."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for name in _SIGNALS:  # once: the end that this one begins is not to be interrupted
        signal.signal(name, signal.SIG_IGN)
    raise Interrupted(number)


def run(options: Options) -> int:
    """Runs the demo; the exit code: 0, 1 when something was lost or doubled, 128 + the signal's
    number when it was ended before it had reported.
    """
    for name in _SIGNALS:
        signal.signal(name, _interrupt)
    try:
        return _run(options)
    except Interrupted as interrupt:
        tell("demo: ended before the day was over: there is no report")
        return interrupt.code


def _run(options: Options) -> int:
    tell("demo: starting Kafka and PostgreSQL" if not options.kafka else "demo: starting")
    installation = Installation(
        kafka=options.kafka,
        database=options.database,
        ready=options.ready,
        historic=not (options.empty or options.images),
        speed=1.0 if options.headless or options.empty else options.speed,
    )
    day = None if options.empty else _day(options)
    with installation, _hurried(installation):
        tell(
            f"demo: the reading list: {installation.http}/   HL7 (MLLP): {installation.mllp}   "
            f"DICOM: {installation.dicom}, AE title {AE_TITLE}"
        )
        installation.supervisor.wait()  # the list's agent and screening take longer
        tell("demo: everything serves")
        if day and not options.headless:
            reader = next(iter(installation.readers.values()))
            tell(
                f"demo: three readers read; to log in at {installation.http}/login: "
                f"as a reader {reader}   as a lead {installation.token}"
            )
        code = 0 if day is None else _play(options, installation, day)
        if not options.headless:
            tell("demo: it keeps running: Ctrl-C ends it")
            _until_interrupted()
            installation.hurry()
    return code


@contextmanager
def _hurried(installation: Installation) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        installation.hurry()
        raise


def _until_interrupted() -> None:
    try:
        threading.Event().wait()
    except Interrupted:
        return


def _day(options: Options) -> Day:
    day = write_day(options.seed, options.seconds * options.speed)
    if options.images is None:
        return day
    labels = options.labels or options.images / "labels.csv"
    return with_pictures(day, read_pictures(options.images, labels, options.seed))


def _play(options: Options, installation: Installation, day: Day) -> int:
    traffic = Traffic(
        day,
        options.speed,
        installation.mllp,
        installation.dicom,
        AE_TITLE,
        installation.kafka,
        installation.door,
        installation.token,
    )
    tell(
        f"demo: a day of {len(day.cases)} studies and {len(day.steps)} acts, "
        f"{options.seconds:g} s of it, {options.speed:g} times as fast"
    )
    tokens = list(installation.readers.values())
    if options.headless:
        readers = Readers(
            installation.http, tokens[:_HEADLESS_READERS], _read_seconds(day, options.speed)
        )
    else:
        pace = options.speed / _PACE
        readers = Readers(installation.http, tokens, _read_seconds(day, pace))
    readers.start()
    try:
        traffic.play(_progress)
    finally:
        traffic.stop()
    # `--for` is the length of the traffic: readers sit until its end.
    time.sleep(max(0.0, traffic.started + options.seconds - time.monotonic()))
    readers.stop()
    rows = _drain(installation, traffic)
    report = _report(installation, traffic, readers, rows)
    text = json.dumps(report, indent=2)
    if options.report:
        write_whole(options.report, text + "\n")
    if options.headless and not options.report:
        sys.stdout.write(text + "\n")
    studies = report["studies"]
    tell("demo: " + ", ".join(f"{name} {count}" for name, count in studies.items()))
    tell("demo: " + flags_in_words(studies))
    if report["situations"]:
        tell("demo: " + situations_in_words(report["situations"]))
    if report["stories"]:
        tell("demo: " + stories_in_words(report["stories"]))
    return 1 if studies["lost"] or studies["doubled"] else 0


def _read_seconds(day: Day, speed: float) -> Callable[[Mapping[str, Any]], float]:
    by_accession = {case.accession: case.read_s for case in day.cases}
    by_uid = {case.study_uid: case.read_s for case in day.cases}

    def seconds(row: Mapping[str, Any]) -> float:
        found = (
            by_accession.get(row.get("accession") or "")
            or by_uid.get(row.get("study_uid") or "")
            or 300.0
        )
        return found / speed

    return seconds


def _drain(installation: Installation, traffic: Traffic) -> list[dict[str, Any]]:
    """The list, once each study that was answered is on it and was looked at, or after 90 s."""
    api = Api(installation.http, installation.token)
    deadline = time.monotonic() + _DRAIN_S
    rows: list[dict[str, Any]] = []
    told: int | None = None
    while time.monotonic() < deadline:
        try:
            rows = api.rows()
            left = unsettled(traffic.day.cases, traffic.seen, rows)
            parked = _parked_count(installation.kafka)
        except (OSError, http.client.HTTPException, KafkaException):
            time.sleep(_LOOK_S)  # something is being restarted
            continue
        if left == 0 and parked >= traffic.poisoned:
            break
        if left != told:
            tell(f"demo: draining: {left} studies on their way")
            told = left
        time.sleep(_LOOK_S)
    api.close()
    return rows


def _parked_count(address: str) -> int:
    """How many events the topic `parked` of the broker at `address` holds."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "vigie-demo-report", "log_level": 2}
    )
    try:
        found = consumer.list_topics(PARKED.name, timeout=10).topics[PARKED.name].partitions
        marks = [
            consumer.get_watermark_offsets(TopicPartition(PARKED.name, number), timeout=10)
            for number in found
        ]
    finally:
        consumer.close()
    return sum(high - low for low, high in marks)


def _audited(database: str) -> tuple[Policy, dict[str, list[tuple[float, str]]], list[Act]]:
    """The policy, when each study was ranked, and the acts. The session is over then: what is made
    of them may take longer than the server lets one idle.
    """
    from sqlalchemy import text

    from worklist.sql import policy_store
    from worklist.sql.database import make_engine

    engine = make_engine(database, pool=1)
    with engine.connect() as connection:
        policy = policy_store.active(connection)
        acts = connection.execute(
            text(
                "SELECT m.name, extract(epoch FROM a.at)::float8, a.detail->>'ai' FROM audit a "
                "JOIN member m ON m.member = a.item WHERE a.act = 'rank' ORDER BY a.id"
            )
        )
        history = rank_history((study, at, ai or "pending") for study, at, ai in acts)
        lines = connection.execute(
            # Nobody sees a rank before its transaction ends.
            text(
                "SELECT m.name, max(a.at) OVER (PARTITION BY a.xid), a.act, a.detail FROM audit a "
                "JOIN member m ON m.member = a.item WHERE a.act = ANY(:acts) ORDER BY 2, a.id"
            ),
            {"acts": list(ACTS)},
        )
        found = [Act._make(line) for line in lines]
    engine.dispose()
    return policy, history, found


def _report(
    installation: Installation, traffic: Traffic, readers: Readers, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    policy, history, lines = _audited(installation.database)
    simulated = against_simulator(lines, policy, policy, traffic.speed)
    to_list, to_rank = latencies(traffic, rows, history)
    studies = count_studies(
        traffic.day.cases, traffic.seen, rows, _parked_count(installation.kafka)
    )
    return {
        "sent": dict(traffic.tally.sent),
        "answered": dict(traffic.tally.answered),
        "retried": dict(traffic.tally.retried),
        "studies": studies,
        "flags": flags(studies),
        "situations": situations(
            traffic.day.cases, {case.number: rows_of(case, rows) for case in traffic.day.cases}
        ),
        "stories": stories(
            traffic.day.cases, {case.number: rows_of(case, rows) for case in traffic.day.cases}
        ),
        "door_to_list_s": percentiles(to_list),
        "last_image_to_rank_s": percentiles(to_rank),
        "mean_wait_s": waits(
            traffic, readers.reads, rows, history, policy, time.time() - time.monotonic()
        ),
        "readers_and_simulator": simulated,
        "reads": len(readers.reads),
        "restarts": installation.supervisor.restarts,
    }


def _progress(done: int, count: int) -> None:
    if done % max(1, count // 10) == 0:
        tell(f"demo: played {done} of {count} acts")
