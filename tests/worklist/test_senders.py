"""What gateways say, from the broker to the database: neither restart nor outage loses it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine
from typer.testing import CliRunner

from infra.embedded import MockKafka
from streams.errors import Unavailable
from streams.events import Parked, SenderSeen, encode
from streams.kafka.produce import Publisher
from streams.senders.site import Sender, Site, load_site
from streams.settings import StreamsSettings
from tests.parked import parked_message
from tests.worklist.conftest import ROOT
from worklist.commands import app
from worklist.senders import Keeper
from worklist.sql.senders import asking

NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
LISTED = (Sender(name="ris", hl7=("RIS|HOSP",)), Sender(name="ct", ae=("CT",)))
SITE = load_site(ROOT / "infra" / "site").model_copy(update={"senders": LISTED})
Tell = Callable[..., None]


def seen(count: int, minute: int = 0, sender: str = "ris", door: str = "mllp") -> SenderSeen:
    return SenderSeen(
        gateway="g1",
        sender=sender,
        door=door,
        since=NOW,
        at=NOW + timedelta(minutes=minute),
        last_at=NOW + timedelta(minutes=minute) if count else None,
        answers={"AA": count, "AE": 1} if count else {},
        refusals={"bad_field": 1} if count else {},
    )


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    broker = MockKafka()
    yield broker
    broker.stop()


@pytest.fixture
def settings(kafka: MockKafka) -> StreamsSettings:
    return StreamsSettings(kafka=kafka.address, kafka_mock=True)


@pytest.fixture
def tell(settings: StreamsSettings) -> Iterator[Tell]:
    publisher = Publisher(settings)

    def say(*events: SenderSeen | Parked) -> None:
        for event in events:
            topic = "doors" if isinstance(event, SenderSeen) else "parked"
            publisher.publish_sync(topic, event.sender, encode(event))

    yield say
    publisher.close()


@pytest.fixture
def keeper(engine: Engine, settings: StreamsSettings) -> Iterator[Callable[[], Keeper]]:
    made = []

    def start(site: Site = SITE) -> Keeper:
        made.append(Keeper(engine, settings, site, lambda: NOW + timedelta(hours=1)))
        return made[-1]

    yield start
    for one in made:
        one.close()


def parked() -> Parked:
    return parked_message("sealed", NOW, sender="ris", where="ORC-1")


def answered(engine: Engine) -> dict[tuple[str, str], int]:
    with engine.begin() as connection:
        found = asking.senders(connection, NOW)
    return {(view.sender, view.door): view.answers.get("AA", 0) for view in found}


def test_what_gateways_said_outlives_web_and_is_counted_once(
    engine: Engine, tell: Tell, keeper: Callable[[], Keeper]
) -> None:
    tell(seen(3), seen(0, sender="ct", door="dicom"), parked())
    first, second = keeper(), keeper()
    first.round()
    second.round()
    tell(seen(5, 1))
    second.round()
    first.round()
    assert answered(engine) == {("ris", "mllp"): 5, ("ct", "dicom"): 0}
    keeper().round()  # started anew
    assert answered(engine) == {("ris", "mllp"): 5, ("ct", "dicom"): 0}


def test_a_broker_that_is_away_is_waited_for_and_nothing_is_forgotten(
    engine: Engine, tell: Tell, keeper: Callable[[], Keeper]
) -> None:
    tell(*(seen(count, count) for count in range(1, 4)))
    keeper().round()
    away = Keeper(engine, StreamsSettings(kafka="127.0.0.1:1"), SITE, lambda: NOW)
    with pytest.raises(Unavailable):
        away.round()
    away.close()
    assert answered(engine)["ris", "mllp"] == 3


def test_each_listed_sender_has_its_time_and_its_bound_in_the_metrics(
    tell: Tell, keeper: Callable[[], Keeper]
) -> None:
    tell(seen(3, 5), seen(0, sender="ct", door="dicom"), seen(1, sender="unknown"))
    one = keeper()
    one.round()
    one.round()  # who is told of for the first time is judged in the next round
    for name, value in (
        ("vigie_sender_heard_timestamp_seconds", (NOW + timedelta(minutes=5)).timestamp()),
        ("vigie_sender_silent_after_seconds", 12 * 3600),
    ):
        assert REGISTRY.get_sample_value(name, {"sender": "ris", "door": "mllp"}) == value
        assert REGISTRY.get_sample_value(name, {"sender": "unknown", "door": "mllp"}) is None
    heard = {"sender": "ct", "door": "dicom"}
    assert (
        REGISTRY.get_sample_value("vigie_sender_heard_timestamp_seconds", heard) == NOW.timestamp()
    )


def test_an_integrator_sees_why_it_was_refused(
    database_url: str,
    tell: Tell,
    keeper: Callable[[], Keeper],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIGIE_DATABASE", database_url)
    tell(seen(3), parked())
    keeper().round()
    run = CliRunner().invoke
    (told,) = json.loads(run(app, ["senders", "--json"]).stdout)
    assert (told["sender"], told["door"], told["refusals"]) == ("ris", "mllp", {"bad_field": 1})
    assert [one["id"] for one in told["parked"]] == ["0-0"]
    assert "AA 3 AE 1" in (line := run(app, ["senders"]).stdout)
    assert "bad_field 1 0-0" in line
    assert "sealed" not in line
