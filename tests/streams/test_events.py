"""What travels: round trips, sizes, and no identity outside a seal (promise 8)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest

from streams.errors import Park, Reason
from streams.events import (
    ActDone,
    Coverage,
    Event,
    ExamProgressed,
    Finding,
    FindingsMade,
    Number,
    OrderChanged,
    Parked,
    Patient,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SenderSeen,
    SeriesReceived,
    Version,
    decode,
    encode,
)
from streams.identity.seal import KeyRing
from streams.identity.studykey import patient_of, topic_key
from streams.instances import INSTANCE_BYTES, MOST_INSTANCES, pack, unpack
from streams.kafka.consume import Origin, Settler
from streams.sealed import Identity

GOLDEN = Path(__file__).parent / "schemas"
KINDS = [*get_args(Event), SenderSeen, Parked]
Travels = Event | SenderSeen | Parked
Schema = dict[str, Any]

times = st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER = OrderChanged(
    event_id="0" * 32,
    sender="ris",
    received_at=NOON,
    version=Version(time=NOON, message_time=NOON, digest="0" * 32),
    numbers=(Number(kind="accession", value="A1"),),
)
codes = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
hexes = st.text("0123456789abcdef", min_size=32, max_size=32)
uids = st.text("0123456789.", min_size=1, max_size=64)
names = st.text("0123456789abcdef", min_size=16, max_size=16)
numbers = st.builds(
    Number,
    kind=st.sampled_from(["accession", "placer", "filler", "study", "step", "visit", "account"]),
    authority=codes,
    value=codes.filter(bool),
)
patients = st.builds(Patient, value=hexes, authority=codes)
base: dict[str, Any] = {
    "event_id": hexes,
    "sender": codes,
    "received_at": times,
    "patient": st.none() | patients,
    "version": st.builds(
        Version,
        time=times,
        message_time=times,
        sequence=st.integers(-5, 2**40),
        digest=hexes,
    ),
    "identity": st.none() | st.text(max_size=40),
    "emptied": st.lists(codes, max_size=2).map(tuple),
}
study = base | {"numbers": st.lists(numbers, max_size=3).map(tuple), "site": codes}
findings = st.builds(
    Finding,
    code=codes,
    name=codes,
    flagged=st.booleans(),
    probability=st.floats(0, 1),
    threshold=st.floats(0, 1),
    threshold_source=st.sampled_from(["package", "site"]),
    score=st.none() | st.floats(-9, 9),
)
events = st.one_of(
    st.builds(
        OrderChanged,
        **study,
        priority=st.none() | codes,
        previous=st.lists(numbers, max_size=2).map(tuple),
        scheduled_at=st.none() | times,
        status=st.none() | st.sampled_from(["scheduled", "cancelled"]),
    ),
    st.builds(
        PatientChanged, **base, event=codes, visit=st.none() | codes, location=st.none() | codes
    ),
    st.builds(
        PatientMerged,
        **base,
        act=st.sampled_from(["merge", "link", "unlink", "move"]),
        retired=patients,
        moved=st.lists(numbers, max_size=2).map(tuple),
    ),
    st.builds(
        ReportReceived,
        **study,
        status=st.sampled_from(["preliminary", "final", "corrected", "addendum", "withdrawn"]),
    ),
    st.builds(
        SeriesReceived,
        **study,
        study_uid=uids,
        series_uid=uids,
        gateway=codes,
        reference=st.just("ab/cd"),
        sop_class=uids,
        instances=st.lists(names, max_size=4).map(pack),
        age_years=st.none() | st.floats(0, 150),
        acquired_at=st.none() | times,
        primary=st.booleans(),
        kind=st.sampled_from(["modality", "archive", "mixed"]),
    ),
    st.builds(
        ExamProgressed,
        **study,
        status=st.sampled_from(["in_progress", "completed"]),
        announced_instances=st.none() | st.integers(0, 9),
    ),
    st.builds(
        FindingsMade,
        **study,
        study_uid=uids,
        series_uid=uids,
        package=codes,
        package_version=codes,
        input_digest=hexes,
        outcome=st.sampled_from(["flagged", "not_flagged", "not_analysed"]),
        reason=st.none() | st.sampled_from(Reason),
        findings=st.lists(findings, max_size=3).map(tuple),
        coverage=st.none() | st.builds(Coverage, read=st.integers(0, 9), there=st.integers(0, 9)),
        weights=st.none() | hexes,
        screened_at=times,
    ),
    st.builds(ActDone, event_id=hexes, received_at=times, body=st.text(max_size=40)),
    st.builds(
        SenderSeen,
        gateway=codes,
        sender=codes,
        at=times,
        last_at=st.none() | times,
        answers=st.dictionaries(codes, st.integers(0, 9), max_size=3),
    ),
    st.builds(
        Parked,
        stage=codes,
        topic=codes,
        partition=st.integers(0, 9),
        offset=st.integers(0, 2**40),
        key=codes,
        reason=st.sampled_from(Reason),
        attempts=st.integers(1, 9),
        parked_at=times,
        original=codes,
    ),
)


@settings(max_examples=3 * settings.default.max_examples // 2, deadline=None)
@given(event=events)
def test_what_travels_comes_back_and_fits_its_schema(event: Travels) -> None:
    value = encode(event)
    assert decode(value) == event
    assert encode(decode(value)) == value
    _validator(event.type).validate(orjson.loads(value))


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((GOLDEN / f"{kind}.json").read_text()))


@given(event=events)
def test_a_field_of_a_later_minor_release_is_ignored(event: Travels) -> None:
    body = orjson.loads(encode(event)) | {"colour": "blue"}
    assert decode(orjson.dumps(body)) == event


@given(event=events, data=st.data())
def test_an_event_of_an_earlier_release_lacks_only_what_has_a_default(
    event: Travels, data: st.DataObject
) -> None:
    kind = type(event)
    optional = sorted(
        name
        for name, field in kind.model_fields.items()
        if not field.is_required() and name != "type"
    )
    gone = data.draw(st.sampled_from(optional))
    body = orjson.loads(encode(event))
    del body[gone]
    assert decode(orjson.dumps(body)) == event.model_copy(
        update={gone: kind.model_fields[gone].default}
    )


@given(
    value=st.binary(max_size=80)
    | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_what_is_no_event_is_parked_and_not_quoted(value: bytes) -> None:
    with pytest.raises(Park) as error:
        decode(value)
    assert error.value.reason is Reason.BAD_EVENT
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1899-12-31T23:59:59Z"],
)
@pytest.mark.parametrize("field", ["received_at", "scheduled_at", "ordered_at", "time"])
def test_a_time_that_no_clock_may_say_is_parked(field: str, time: str) -> None:
    body = orjson.loads(encode(ORDER))
    (body["version"] if field == "time" else body)[field] = time
    with pytest.raises(Park) as error:
        decode(orjson.dumps(body))
    assert error.value.reason is Reason.BAD_EVENT


def test_an_empty_number_is_parked() -> None:
    body = orjson.loads(encode(ORDER))
    body["numbers"] = [{"kind": "accession", "authority": "", "value": ""}]
    with pytest.raises(Park):
        decode(orjson.dumps(body))


def test_a_later_major_schema_is_told_apart() -> None:
    with pytest.raises(Park) as error:
        decode(b'{"type": "FromTomorrow", "schema_version": 3}')
    assert error.value.reason is Reason.NEWER_SCHEMA


@given(st.lists(names, max_size=9))
def test_names_are_packed_sorted_and_once(given_names: list[str]) -> None:
    assert unpack(pack(given_names)) == tuple(sorted(set(given_names)))


@pytest.mark.parametrize("packed", ["!", "AAAA", "AAAAAAAAAAA", "é"])
def test_what_is_no_packed_name_makes_no_event(packed: str) -> None:
    with pytest.raises(ValueError, match=r"name|base64|ASCII"):
        unpack(packed)


def test_the_largest_fragment_goes_through_a_broker_s_default_limit() -> None:
    """1 MiB, kafka's message.max.bytes; one instance more makes no event."""
    now = datetime(2026, 3, 14, tzinfo=UTC)
    series = SeriesReceived(
        event_id="ab" * 16,
        sender="s" * 64,
        received_at=now,
        version=Version(time=now, message_time=now, digest="cd" * 16),
        identity="i" * 4000,
        numbers=tuple(
            Number(kind="accession", authority="h" * 64, value=f"{n:064}") for n in range(200)
        ),
        study_uid="1" * 64,
        series_uid="1" * 64,
        gateway="g" * 64,
        reference="ab/cd",
        sop_class="1" * 64,
        instances=pack(f"{n:016x}" for n in range(MOST_INSTANCES)),
    )
    assert len(encode(series)) < 0.7 * 1024**2
    assert len(series.names()) == MOST_INSTANCES
    assert all(len(name) == 2 * INSTANCE_BYTES for name in series.names())
    body = orjson.loads(encode(series))
    body["instances"] = pack(f"{n:016x}" for n in range(MOST_INSTANCES + 1))
    with pytest.raises(Park):
        decode(orjson.dumps(body))


# --- promise 8

WHO = Identity(
    patient_id="PID4711", issuer="CHU", name="MARTIN^Anne", birth_date="19610412", sex="F"
)
SECRETS = ("MARTIN", "Anne", "PID4711", "19610412")


async def test_promise_8_no_identity_in_bytes_repr_key_log_metric_or_dead_letter() -> None:
    ring = KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32)
    now = datetime(2026, 3, 14, tzinfo=UTC)
    patient = patient_of(ring.pseudonym, WHO.issuer, WHO.patient_id)
    event = OrderChanged(
        event_id="ab" * 16,
        sender="ris",
        received_at=now,
        version=Version(time=now, message_time=now, digest="cd" * 16),
        patient=patient,
        identity=ring.seal_identity(WHO),
        numbers=(Number(kind="accession", value="A1"),),
    )
    said: list[Any] = [encode(event), repr(event), str(event), repr(WHO), str(WHO), f"{[WHO]}"]
    said.append(topic_key(ring.pseudonym, (), patient))

    async def keep(_topic: str, _key: str, value: bytes) -> None:
        said.append(value)

    async def fail() -> None:
        OrderChanged.model_validate({"sender": WHO.name, "identity": WHO})

    with structlog.testing.capture_logs() as logs:
        await Settler("test", ring, keep, lambda: now).settle(
            fail, Origin("orders", 0, 0, b"k", WHO.model_dump_json().encode())
        )
    said += [logs, generate_latest(REGISTRY)]
    for what in said:
        assert not [secret for secret in SECRETS if secret in str(what)], str(what)[:80]


@pytest.mark.parametrize("kind", KINDS)
def test_promise_8_no_event_has_a_field_for_an_open_identity(kind: type[Event]) -> None:
    assert not set(kind.model_fields) & {
        "patient_id",
        "name",
        "birth_date",
        "sex",
        "patient_name",
        "issuer",
    }
