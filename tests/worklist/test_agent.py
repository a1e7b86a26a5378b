"""What the list's agent does to a batch, whatever is in it and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from streams.errors import Reason, Unavailable
from streams.events import Event, Number, Parked, decode, encode
from streams.identity.seal import KeyRing, new_ring
from streams.kafka.consume import Fate, Origin, Settler
from tests.worklist.conftest import T0, Make
from worklist import metrics
from worklist.agent import Stage
from worklist.order.policy import Policy
from worklist.record.acts import Act
from worklist.sql import policy_store, queue
from worklist.sql.writing.opening import Opener
from worklist.sql.writing.positions import Look, read


class Parking:
    """Where parked events go; `down` refuses them."""

    def __init__(self) -> None:
        self.events: list[Parked] = []
        self.down = False

    async def publish(self, _topic: str, _key: str, value: bytes) -> None:
        if self.down:
            raise Unavailable(Reason.BROKER_DOWN)
        event = decode(value)
        assert isinstance(event, Parked)
        self.events.append(event)


@pytest.fixture
def parking() -> Parking:
    return Parking()


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


def nothing_between(_place: tuple[str, int], wanted: int) -> tuple[int, int]:
    raise AssertionError(f"nothing is missing before {wanted}")


def make_stage(
    engine: Engine,
    ring: KeyRing,
    parking: Parking,
    sleep: Any = no_pause,
    look: Look = nothing_between,
    opener: Opener | None = None,
    **more: Any,
) -> Stage:
    def clock() -> datetime:
        return T0

    return Stage(
        engine,
        Settler("worklist", ring, parking.publish, clock, sleep, lambda: 0.0, **more),
        opener or Opener(ring, ring),
        clock,
        look,
    )


def origins(*values: Event | bytes, since: int = 0) -> list[Origin]:
    return [
        Origin("orders", 0, n, b"k", v if isinstance(v, bytes) else encode(v))
        for n, v in enumerate(values, since)
    ]


def accessions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(
            i["accession"] for i in queue.listing(connection, state="all", limit=1000).items
        )


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"type": "OrderChanged"}',
        b"[" * 5000,
        b'{"schema_version": 999}',
    ],
)
async def test_a_poison_event_is_parked_alone_and_the_others_of_its_batch_arrive(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking, poison: bytes
) -> None:
    batch = origins(make.order("A1"), poison, make.order("A2", patient="P2"))
    assert await make_stage(engine, ring, parking).settle(batch) is Fate.ACK
    assert accessions(engine) == ["A1", "A2"]
    (parked,) = parking.events
    assert parked.reason is (Reason.NEWER_SCHEMA if b"schema" in poison else Reason.BAD_EVENT)
    assert (parked.offset, ring.open(parked.original)) == (1, poison)


async def test_events_that_can_never_be_rows_are_parked_with_their_reason(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    sealed = make.order("A1").model_copy(update={"identity": "k1.AAAA"})
    nameless = make.order().model_copy(update={"numbers": ()})
    # PostgreSQL keeps no NUL: the database refuses it, today and always.
    refused = make.order("A3").model_copy(update={"description": "CT\x00head"})
    assert (
        await make_stage(engine, ring, parking).settle(
            origins(sealed, nameless, refused, make.order("A4"))
        )
        is Fate.ACK
    )
    assert accessions(engine) == ["A4"]
    assert [e.reason for e in parking.events] == [
        Reason.BAD_SEAL,
        Reason.NO_STUDY_KEY,
        Reason.BAD_EVENT,
    ]


async def test_when_parking_fails_the_stage_stops_and_acknowledges_nothing(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    parking.down = True
    assert (
        await make_stage(engine, ring, parking).settle(origins(b"poison", make.order("A1")))
        is Fate.STOP
    )


async def test_one_senders_many_bad_messages_in_a_row_stop_nobody(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    stage = make_stage(engine, ring, parking, park_limit=3)
    nul = [make.order(f"B{n}", description="CT\x00head") for n in range(5)]
    batch = origins(b"1", b"2", b"3", b"4", *nul, make.order("A1"))
    assert await stage.settle(batch) is Fate.ACK
    assert len(parking.events) == 9
    assert accessions(engine) == ["A1"]


async def test_too_many_faults_of_ours_in_a_row_stop_the_stage(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    stage = make_stage(engine, ring, parking, park_limit=3)
    closed_to_us = [
        make.order(f"A{n}").model_copy(update={"identity": "k1.AAAA"}) for n in range(5)
    ]
    assert await stage.settle(origins(*closed_to_us)) is Fate.STOP
    assert len(parking.events) == 3


async def test_no_active_policy_is_waited_for_and_parks_nothing(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing, parking: Parking
) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE policy_version"))
    waits: list[float] = []

    async def activate_meanwhile(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            with engine.begin() as connection:
                policy_store.activate(connection, policy, actor="lead", now=T0)

    stage = make_stage(engine, ring, parking, activate_meanwhile)
    assert await stage.settle(origins(make.order("A1"), make.order("A2", patient="P2"))) is Fate.ACK
    assert accessions(engine) == ["A1", "A2"]
    assert parking.events == []
    assert len(waits) == 3


async def test_a_batch_read_twice_is_the_same_list(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    stage = make_stage(engine, ring, parking)
    batch = origins(make.order(), make.series(accession="A1"), make.finding())
    assert [await stage.settle(batch) for _ in range(3)] == [Fate.ACK] * 3
    assert accessions(engine) == ["A1"]


async def test_how_far_was_read_is_noted_for_what_was_parked_too(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    stage = make_stage(engine, ring, parking)
    assert await stage.settle(origins(make.order("A1"), b"poison")) is Fate.ACK
    assert await stage.settle(origins(b"more poison", since=2)) is Fate.ACK
    with engine.connect() as connection:
        assert [(p.place, p.offset) for p in read(connection)] == [(("orders", 0), 2)]
    assert stage.done == 3


async def test_an_error_of_ours_parks_its_event_alone(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    class Careless(Opener):
        def fact(self, event: Event) -> Any:
            if event == guilty:
                raise KeyError("no such thing")
            return super().fact(event)

    guilty = make.order("A2", patient="P2")
    stage = make_stage(engine, ring, parking, opener=Careless(ring, ring))
    batch = origins(make.order("A1"), guilty, make.order("A3", patient="P3"))
    assert await stage.settle(batch) is Fate.ACK
    assert accessions(engine) == ["A1", "A3"]
    assert [(e.offset, e.reason) for e in parking.events] == [(1, Reason.UNEXPECTED)]


@pytest.fixture
def trouble(engine: Engine) -> Iterator[Callable[[str, int], None]]:
    """`trouble(state, times)`: so often the database refuses the order BOOM with that SQLSTATE."""

    def make_it(state: str, times: int) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE SEQUENCE boom"))
            connection.execute(
                text(f"""CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                             IF NEW.body->>'description' = 'BOOM' AND nextval('boom') <= {times}
                             THEN RAISE EXCEPTION 'boom' USING ERRCODE = '{state}'; END IF;
                             RETURN NEW; END $$""")
            )
            connection.execute(
                text("""CREATE TRIGGER boom BEFORE INSERT ON fact FOR EACH ROW
                        EXECUTE FUNCTION boom()""")
            )

    yield make_it
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION boom CASCADE"))
        connection.execute(text("DROP SEQUENCE boom"))


@pytest.mark.parametrize(
    ("state", "waited_for"),
    [
        ("08006", "database"),  # connection failure
        ("53300", "database"),  # too many connections
        ("57P01", "database"),  # shut down
        ("25006", "database"),  # read-only after a failover
        ("42P01", "schema"),
        ("55P03", "lock"),
    ],
)
async def test_what_passes_by_itself_is_waited_for_by_name_and_parks_nothing(
    engine: Engine,
    make: Make,
    ring: KeyRing,
    parking: Parking,
    trouble: Callable[[str, int], None],
    state: str,
    waited_for: str,
) -> None:
    trouble(state, 12)  # more often than a transient failure is tried
    waits: list[str] = []

    async def note(_seconds: float) -> None:
        waits.append(stage.settler.waits_for)

    stage = make_stage(engine, ring, parking, note)
    batch = origins(make.order("A1"), make.order("A2", patient="P2", description="BOOM"))
    assert await stage.settle(batch) is Fate.ACK
    assert accessions(engine) == ["A1", "A2"]
    assert parking.events == []
    assert waits == [waited_for] * 12
    assert stage.settler.waits_for == ""


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_conflict_is_tried_again(
    engine: Engine,
    make: Make,
    ring: KeyRing,
    parking: Parking,
    trouble: Callable[[str, int], None],
    state: str,
) -> None:
    trouble(state, 3)
    batch = origins(make.order("A1"), make.order("A2", patient="P2", description="BOOM"))
    assert await make_stage(engine, ring, parking).settle(batch) is Fate.ACK
    assert (accessions(engine), parking.events) == (["A1", "A2"], [])


@pytest.mark.parametrize("state", ["54000", "54001", "22P05", "23505", "57014", "XX000"])
async def test_what_the_database_refuses_for_good_parks_its_event_alone(
    engine: Engine,
    make: Make,
    ring: KeyRing,
    parking: Parking,
    trouble: Callable[[str, int], None],
    state: str,
) -> None:
    trouble(state, 1000)
    boom = make.order("A2", patient="P2", description="BOOM")
    batch = origins(make.order("A1"), boom, make.order("A3", patient="P3"))
    assert await make_stage(engine, ring, parking).settle(batch) is Fate.ACK
    assert accessions(engine) == ["A1", "A3"]
    reason = Reason.BAD_EVENT if state == "22P05" else Reason.CONSTRAINT
    assert [(e.offset, e.reason) for e in parking.events] == [(1, reason)]


async def test_a_lock_that_somebody_holds_is_waited_for(
    engine: Engine, database_url: str, make: Make, ring: KeyRing, parking: Parking
) -> None:
    impatient = create_engine(
        engine.url, connect_args={"options": "-c lock_timeout=100ms -c timezone=UTC"}
    )
    waits: list[str] = []
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE fact IN SHARE MODE"))  # as CREATE INDEX does

        async def note(_seconds: float) -> None:
            waits.append(stage.settler.waits_for)
            if len(waits) == 7:
                holder.rollback()

        stage = make_stage(impatient, ring, parking, note)
        assert await stage.settle(origins(make.order("A1"))) is Fate.ACK
    impatient.dispose()
    assert (waits, parking.events) == (["lock"] * 7, [])


async def test_what_a_person_did_is_applied_once_and_read_again_without_effect(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    opener = Opener(ring, ring)
    stage = make_stage(engine, ring, parking, opener=opener)
    await stage.settle(origins(make.series(accession="A1"), make.order("A1")))
    (row,) = listed(engine)
    act = Act(
        act_id="a" * 32,
        act="pin",
        item=row["study"],
        actor="anne",
        role="lead",
        at=T0,
        numbers=(Number(kind="study", value="1.2.1"),),
    )
    sealed = encode(opener.seal_act(act))
    for _ in range(2):
        assert await stage.settle(origins(sealed, since=2)) is Fate.ACK
        (row,) = listed(engine)
        assert row["lane"] == 0
    forged = encode(Opener(ring, new_ring()).seal_act(act.model_copy(update={"act_id": "b" * 32})))
    assert await stage.settle(origins(forged, since=3)) is Fate.ACK
    assert [e.reason for e in parking.events] == [Reason.BAD_SEAL]


def listed(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return queue.listing(connection, limit=100).items


async def test_a_database_that_is_away_is_waited_for_as_long_as_it_takes(
    make: Make, ring: KeyRing, parking: Parking
) -> None:
    nobody = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    waits = 0

    class EnoughError(BaseException):
        pass

    async def count(_seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 40:
            raise EnoughError

    with pytest.raises(EnoughError):
        await make_stage(nobody, ring, parking, count).settle(origins(make.order("A1")))
    assert parking.events == []


async def test_fragments_of_a_modality_whose_clock_is_off_are_counted_under_its_name(
    engine: Engine, make: Make, ring: KeyRing, parking: Parking
) -> None:
    old = [make.series(f"1.{n}", sender="ct9", acquired_at=T0 - timedelta(900)) for n in range(3)]
    stage = make_stage(engine, ring, parking)
    assert await stage.settle(origins(*old, make.series("1.9", sender="ct9"))) is Fate.ACK
    assert metrics.doubtful_clocks.labels("ct9")._value.get() == 3
