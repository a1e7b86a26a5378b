"""From a film's event to its finding at 16 studies a second through the real process, beside the
sum of its parts, each alone.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from infra.bench.measure import Result, compare
from infra.bench.process import process
from infra.embedded import MockKafka
from streams.errors import ABSTENTIONS
from streams.events import FindingsMade, SeriesReceived, Version, decode, encode
from streams.identity.seal import new_ring
from streams.identity.studykey import digest
from streams.instances import pack
from streams.kafka.topics import FINDINGS, PARKED, SERIES
from streams.storage.store import Store
from triage.bench.stage_times import StageTimes, stage_times
from triage.phantoms.files import FILM_SOP_CLASS, film_file

RATE = 16.0  # studies a second: five times those of all France
_FILMS = 6
_END_S = 60.0
#: What Faust's consumer waits on the mock, which answers an empty fetch only when the wait is over;
#: and what ours waits.
_AGENT_WAIT_MS, _WAIT_MS = 50, 5


def measure(*, runs: int, quick: bool) -> list[Result]:
    """By turns: some seconds of traffic, and the parts while the process is idle."""
    seconds, repeats, runs = (2.0, 4, runs) if quick else (8.0, 24, max(3, runs // 2))
    with tempfile.TemporaryDirectory(prefix="vigie-bench-", ignore_cleanup_errors=True) as name:
        folder, broker = Path(name), MockKafka()
        store = Store(folder / "store", min_free=0.0)
        series, files = _films(store, _FILMS)
        agent = process(
            "triage",
            folder,
            broker.address,
            new_ring(),
            {"store": folder / "store", "store_min_free": 0},
        )
        with agent, stage_times(series[0], files, repeats) as alone:
            bench = _Bench(broker.address, series, int(RATE * seconds))
            seen: list[tuple[StageTimes, float, float]] = []

            def reference() -> float:
                seen.append(
                    (alone(), bench.hop(repeats, _AGENT_WAIT_MS), bench.hop(repeats, _WAIT_MS))
                )
                return 1 / (seen[-1][0].total + seen[-1][1] + seen[-1][2])

            result = compare(
                "image-to-rank", "", "1/s", lambda: 1 / bench.p95(), reference, runs=runs
            )
            text = _what(
                bench,
                [(stages.decode, stages.forward, there, back) for stages, there, back in seen[1:]],
            )
        broker.stop()
    return [replace(result, what=text)]


def _what(bench: _Bench, seen: Sequence[tuple[float, ...]]) -> str:
    told = (
        f"{name} {1000 * statistics.median(one):.1f}"
        for name, one in zip(_STEPS, zip(*seen, strict=True), strict=True)
    )
    reached = statistics.median(bench.rates[1:])
    return (
        f"event of a 2048² film to its finding, {reached:.1f} of {RATE:.0f} studies/s: "
        "1 / p95 beside 1 / sum of the stages alone "
        f"({', '.join(told)} ms); 0.333 is p95 = 3 × the sum"
    )


_STEPS = ("decode and prepare", "forward", "hop there", "hop back")


def _films(store: Store, count: int) -> tuple[list[SeriesReceived], list[Path]]:
    """Stored films, and for each the event that names it."""
    series, files = [], []
    now = datetime.now(UTC)
    for seed in range(count):
        study = f"1.2.826.0.{seed}"
        reference = store.folder(study, f"{study}.1")
        kept = store.put(reference, f"{seed:016x}", film_file(seed), lambda _: b"")
        files.append(store.path(reference, kept.name))
        series.append(
            SeriesReceived(
                event_id=digest(study.encode()),
                sender="bench",
                received_at=now,
                version=Version(time=now, message_time=now, digest=digest(b"v")),
                study_uid=study,
                series_uid=f"{study}.1",
                gateway="g",
                reference=reference,
                instances=pack([kept.name]),
                sop_class=FILM_SOP_CLASS,
                modality="DX",
                body_part="CHEST",
                view="PA",
                age_years=3,
            )
        )
    return series, files


@dataclass
class _Bench:
    """The two ends of the street: who publishes, and who reads what comes back."""

    address: str
    series: Sequence[SeriesReceived]
    studies: int

    def __post_init__(self) -> None:
        self.rates: list[float] = []
        self._turn = 0
        self._producer = Producer(
            {
                "bootstrap.servers": self.address,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "log_level": 0,
            }
        )

    def _reader(self, topic: str, wait_ms: int) -> Consumer:
        """Reads `topic` from now on."""
        one = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "bench",
                "fetch.wait.max.ms": wait_ms,
                "log_level": 0,
            }
        )
        places = [TopicPartition(topic, number) for number in range(FINDINGS.partitions)]
        ends = [one.get_watermark_offsets(place, timeout=10)[1] for place in places]
        one.assign(
            [
                TopicPartition(topic, place.partition, end)
                for place, end in zip(places, ends, strict=True)
            ]
        )
        one.consume(1, 0.5)  # fetching, before the clock starts
        return one

    def p95(self) -> float:
        """Seconds from a study's event to its finding that 95 of 100 do not exceed; notes the rate
        reached.

        Raises RuntimeError when a finding is missing after a minute, or does not come from a
        network.
        """
        self._turn += 1
        sent: dict[str, float] = {}
        found: dict[str, float] = {}
        reader = self._reader(FINDINGS.name, _WAIT_MS)
        thread = threading.Thread(target=self._publish, args=(sent,), daemon=True)
        thread.start()
        deadline = time.monotonic() + self.studies / RATE + _END_S
        while len(found) < self.studies:
            message = reader.poll(0.1)
            if message is not None and message.error() is None:
                event = decode(message.value() or b"")
                if not isinstance(event, FindingsMade) or (
                    event.reason is not None and event.reason not in ABSTENTIONS
                ):
                    raise RuntimeError(
                        f"a film of the bench was not screened: {getattr(event, 'reason', '')}"
                    )
                found.setdefault(event.study_uid, time.perf_counter())
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{len(found)} of {self.studies} films have a finding "
                    f"{_END_S:.0f} s after the last event"
                )
        thread.join()
        reader.close()
        self.rates.append((self.studies - 1) / (max(found.values()) - min(found.values())))
        return statistics.quantiles((found[study] - at for study, at in sent.items()), n=20)[-1]

    def _publish(self, sent: dict[str, float]) -> None:
        """Open loop: an answer that is late delays no event."""
        begun = time.perf_counter()
        for number in range(self.studies):
            study = f"1.2.826.1.{self._turn}.{number}"
            event = self.series[number % len(self.series)].model_copy(
                update={"study_uid": study, "series_uid": f"{study}.1"}
            )
            value = encode(event)
            self._producer.poll(max(0.0, begun + number / RATE - time.perf_counter()))
            while (wait := begun + number / RATE - time.perf_counter()) > 0:
                time.sleep(wait)
            sent[study] = time.perf_counter()
            self._producer.produce(SERIES.name, value, digest(study.encode()))
        self._producer.flush(10)

    def hop(self, times: int, wait_ms: int) -> float:
        """Median seconds from produce to consume of one small message, at moments that follow no
        rhythm.
        """
        reader, found = self._reader(PARKED.name, wait_ms), []
        for _ in range(times):
            time.sleep(random.random() * 2 * _AGENT_WAIT_MS / 1000)  # noqa: S311
            begun = time.perf_counter()
            self._producer.produce(PARKED.name, b"x" * 600, b"k")
            while (message := reader.poll(1.0)) is None or message.error() is not None:
                self._producer.poll(0)
                if time.perf_counter() - begun > _END_S:
                    raise RuntimeError("the broker does not give back what was sent")
            found.append(time.perf_counter() - begun)
        reader.close()
        return statistics.median(found)
