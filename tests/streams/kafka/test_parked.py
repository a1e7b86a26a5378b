"""What is parked, read by `vigie parked`, on the embedded broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from infra.embedded import MockKafka
from streams.commands import app
from streams.events import encode
from streams.identity.seal import KeyRing
from streams.kafka.parked import entry
from streams.kafka.produce import Publisher
from streams.settings import StreamsSettings
from tests.parked import parked_message
from tests.streams.hl7.conftest import order


@pytest.fixture
def settings(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamsSettings]:
    kafka = MockKafka()
    monkeypatch.setenv("VIGIE_KAFKA", kafka.address)
    settings = StreamsSettings()
    publisher = Publisher(settings)
    for number in range(3):
        parked = parked_message(
            ring.seal(order("ZZ")),
            datetime(2026, 3, 14, 12, number, tzinfo=UTC),
            sender="ris",
            where="ORC-1",
        )
        publisher.publish_sync("parked", "k", encode(parked))
    publisher.publish_sync("parked", "k", b"of a later release")
    publisher.close()
    yield settings
    kafka.stop()


def listed(*words: str) -> str:
    done = CliRunner().invoke(app, ["parked", "list", *words])
    assert done.exit_code == 0
    return done.stdout


def test_all_that_is_parked_is_listed_without_its_content(settings: StreamsSettings) -> None:
    assert "bad_field ORC-1 ris" in listed()
    found = json.loads(listed("--json"))
    assert [one["parked_at"][14:16] for one in found] == ["00", "01", "02"]
    assert "original" not in found[0]


def test_an_id_finds_its_own_and_one_that_names_nothing_finds_nothing(
    settings: StreamsSettings,
) -> None:
    ids = [one["id"] for one in json.loads(listed("--json"))]
    for minute, name in enumerate(ids):
        found = entry(settings, name)
        assert found is not None
        assert (found.id, found.parked.parked_at.minute) == (name, minute)
    place = ids[0].partition("-")[0]
    for name in (f"{place}-3", f"{place}-99", "77-0", "x", "", f"{place}-", "-1-0", "0-1x"):
        assert entry(settings, name) is None
