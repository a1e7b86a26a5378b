"""``vigie demo``: starts the street, plays the day, drains, reports."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.demo.api import Api
from infra.demo.case import Day
from infra.demo.day import with_pictures, write_day
from infra.demo.pictures import read_pictures
from infra.demo.readers import Readers
from infra.demo.report import (
    count_studies,
    flags,
    flags_in_words,
    latencies,
    percentiles,
    rank_history,
    unsettled,
    waits,
)
from infra.demo.stage import Stage
from infra.demo.street import AE_TITLE, Street
from infra.demo.waits import ACTS, Act, against_simulator
from streams.health import write_whole
from streams.kafka.topics import PARKED

_DRAIN_S = 90.0
_READERS = 2


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


def run(options: Options) -> int:
    """Runs the demo; the exit code: 0, or 1 when something was lost or doubled."""
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    say("starting Kafka and PostgreSQL" if not options.kafka else "starting")
    street = Street(
        kafka=options.kafka,
        database=options.database,
        ready=options.ready,
        historic=not (options.empty or options.images),
    )
    day = None if options.empty else _day(options)
    with street:
        street.supervisor.wait()
        say(
            f"the reading list: {street.http}/   HL7 (MLLP): {street.mllp}   DICOM: {street.dicom}, AE title {AE_TITLE}"
        )
        code = 0
        if day is not None:
            code = _play(options, street, day, ended)
        if not options.headless and not ended.is_set():
            say("it keeps running: Ctrl-C ends it")
        while (options.empty or not options.headless) and not ended.wait(1):
            pass
    return code


def _day(options: Options) -> Day:
    day = write_day(options.seed, options.seconds * options.speed)
    if options.images is None:
        return day
    labels = options.labels or options.images / "labels.csv"
    return with_pictures(day, read_pictures(options.images, labels, options.seed))


def _play(options: Options, street: Street, day: Day, ended: threading.Event) -> int:
    stage = Stage(day, options.speed, street.mllp, street.dicom, AE_TITLE, street.kafka)
    say(
        f"a day of {len(day.cases)} studies and {len(day.steps)} acts, {options.seconds:g} s of it, {options.speed:g} times as fast"
    )
    readers = Readers(
        street.http,
        street.token,
        _READERS if options.headless else 0,
        _read_seconds(day, options.speed),
    )

    def stop_early() -> None:
        ended.wait()
        stage.stop()

    watch = threading.Thread(target=stop_early, daemon=True)
    watch.start()
    readers.start()
    stage.play(lambda done, count: _progress(done, count))
    # `--for` is the length of the traffic: readers sit until its end.
    ended.wait(max(0.0, stage.started + options.seconds - time.monotonic()))
    readers.stop()
    rows = _drain(street, stage, ended)
    report = _report(street, stage, readers, rows)
    text = json.dumps(report, indent=2)
    if options.report:
        write_whole(options.report, text + "\n")
    if options.headless and not options.report:
        sys.stdout.write(text + "\n")
    studies = report["studies"]
    say(", ".join(f"{name} {count}" for name, count in studies.items()))
    say(flags_in_words(studies))
    return 1 if studies["lost"] or studies["doubled"] else 0


def _read_seconds(day: Day, speed: float) -> Any:
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


def _drain(street: Street, stage: Stage, ended: threading.Event) -> list[dict[str, Any]]:
    """Waits until each study that was answered is on the list and looked at; the list."""
    api = Api(street.http, street.token)
    deadline = time.monotonic() + _DRAIN_S
    rows: list[dict[str, Any]] = []
    while True:
        try:
            rows = api.rows()
            left = unsettled(stage.day.cases, stage.seen, rows)
            parked = _parked(street.kafka)
        except (OSError, http.client.HTTPException, KafkaException):  # something is being restarted
            left, parked = -1, 0
        if (left == 0 and parked >= stage.poisoned) or time.monotonic() > deadline:
            api.close()
            return rows
        say(f"draining: {left} studies on their way")
        ended.wait(0.5 if not ended.is_set() else 0)
        time.sleep(0.1)


def _report(
    street: Street, stage: Stage, readers: Readers, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    from sqlalchemy import text

    from worklist.sql import policy_store
    from worklist.sql.database import make_engine

    engine = make_engine(street.database, pool=1)
    with engine.connect() as connection:
        policy = policy_store.active(connection)
        acts = connection.execute(
            text(
                "SELECT study, extract(epoch FROM at)::float8, detail->>'ai' FROM audit WHERE act = 'rank' ORDER BY id"
            )
        )
        history = rank_history((study, at, ai or "pending") for study, at, ai in acts)
        lines = connection.execute(
            text(
                "SELECT a.study, a.at, a.act, a.detail, s.clock FROM audit a "
                "LEFT JOIN study s USING (study) WHERE a.act = ANY(:acts) ORDER BY a.id"
            ),
            {"acts": list(ACTS)},
        )
        simulated = against_simulator((Act(*line) for line in lines), policy, stage.speed)
    engine.dispose()
    to_list, to_rank = latencies(stage, rows, history)
    studies = count_studies(stage.day.cases, stage.seen, rows, _parked(street.kafka))
    return {
        "sent": dict(stage.tally.sent),
        "answered": dict(stage.tally.answered),
        "retried": dict(stage.tally.retried),
        "studies": studies,
        "flags": flags(studies),
        "door_to_list_s": percentiles(to_list),
        "last_image_to_rank_s": percentiles(to_rank),
        "mean_wait_s": waits(
            stage, readers.reads, rows, history, policy, time.time() - time.monotonic()
        ),
        "readers_and_simulator": simulated,
        "reads": len(readers.reads),
        "restarts": street.supervisor.restarts,
    }


def _parked(address: str) -> int:
    """How many events the parked topic holds."""
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


def _progress(done: int, count: int) -> None:
    if done % max(1, count // 10) == 0:
        say(f"played {done} of {count} acts")


def say(text: str) -> None:
    """One line of progress, for a person, on stderr."""
    sys.stderr.write(f"demo: {text}\n")
    sys.stderr.flush()
