"""The embedded parts start, answer and end; a process of ours that dies is started again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from infra.embedded import MockKafka, Postgres, StartError
from infra.supervisor import Supervisor
from streams.kafka.topics import ALL


def test_postgresql_answers_only_on_loopback_and_ends(tmp_path: Path) -> None:
    with Postgres(tmp_path) as server:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url.replace("vigie_app:", "vigie_app:wrong"), connect_timeout=3)
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_database_that_somebody_stops_is_started_again(
    tmp_path: Path, end: signal.Signals
) -> None:
    with Postgres(tmp_path) as server:
        server.keep()
        with psycopg.connect(server.admin, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        old = server.pid
        os.kill(old, end)
        patience = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(server.admin, connect_timeout=2) as connection:
                    assert connection.execute("SELECT seven FROM kept").fetchone() == (7,)
                if server.pid != old:
                    break
            except psycopg.OperationalError:
                assert time.monotonic() < patience
                time.sleep(0.05)
        new = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(new, 0)


def test_the_mock_has_our_topics_before_anybody_asks() -> None:
    broker = MockKafka()
    found = (
        Producer({"bootstrap.servers": broker.address, "log_level": 0})
        .list_topics(timeout=10)
        .topics
    )
    assert {topic.name for topic in ALL} <= set(found)
    broker.stop()


def environment(tmp_path: Path, kafka: str, database: str) -> dict[str, str]:
    from streams.identity.seal import new_ring, write_ring

    for name in ("keys.json", "act-keys.json", "audit-keys.json"):
        write_ring(new_ring(), tmp_path / name)
    return {
        "VIGIE_KAFKA": kafka,
        "VIGIE_KAFKA_MOCK": "1",
        "VIGIE_KEYS": str(tmp_path / "keys.json"),
        "VIGIE_ACT_KEYS": str(tmp_path / "act-keys.json"),
        "VIGIE_AUDIT_KEYS": str(tmp_path / "audit-keys.json"),
        "VIGIE_STATE": str(tmp_path),
        "VIGIE_DATABASE": database,
        "VIGIE_METRICS_PORT": "0",
    }


def test_what_is_killed_is_started_again_within_two_seconds(tmp_path: Path) -> None:
    changes: list[float] = []
    broker = MockKafka()
    with Postgres(tmp_path) as server:
        supervisor = Supervisor(tmp_path, lambda: changes.append(time.monotonic()))
        supervisor.add("worklist", "worklist", environment(tmp_path, broker.address, server.url))
        supervisor.start()
        try:
            supervisor.wait()
            old = supervisor.pids()["worklist"]
            os.kill(old, signal.SIGKILL)
            killed = time.monotonic()
            while supervisor.pids().get("worklist", old) == old:
                assert time.monotonic() - killed < 2
                time.sleep(0.02)
            while len(changes) < 2:
                assert time.monotonic() - killed < 30
                time.sleep(0.05)
            assert supervisor.restarts == 1
        finally:
            supervisor.stop()
        assert supervisor.pids() == {}
    broker.stop()


def test_what_never_serves_is_said_with_its_last_line(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.add("worklist", "nonsense", {})
    supervisor.start()
    try:
        with pytest.raises(StartError, match="nonsense"):
            supervisor.wait(timeout_s=4)
    finally:
        supervisor.stop()
