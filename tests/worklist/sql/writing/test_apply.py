"""The one transaction, on a real PostgreSQL, beside the pure rules: whatever arrives, in any order,
twice, in any batches, with persons' acts in between, the tables hold what the rules derive.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from streams.errors import Park, Reason, Retry
from streams.events import Event, Number
from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make, empty
from worklist.order.policy import Policy
from worklist.record.items import derive
from worklist.sql import leases, queue
from worklist.sql.acts import Wish, do
from worklist.sql.database import translated
from worklist.sql.invariants import violations
from worklist.sql.models import COLUMNS, JSON_COLUMNS
from worklist.sql.queue import QueueError
from worklist.sql.writing.apply import apply
from worklist.sql.writing.closure import Reached, decode_fact, world_of
from worklist.sql.writing.columns import columns
from worklist.sql.writing.opening import Opener

_WRITTEN = [name for name in COLUMNS if name not in ("changed", "changed_at")]
_ROWS = f"""SELECT name, true AS open, {", ".join(_WRITTEN)} FROM item
            UNION ALL SELECT name, false, {", ".join(_WRITTEN)} FROM closed"""
CHECKS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Rows = dict[str, dict[str, Any]]


def kept(connection: Connection) -> Rows:
    """What the tables hold, by name."""
    found = connection.execute(text(_ROWS)).mappings().all()
    rows = {row["name"]: dict(row) for row in found}
    assert len(rows) == len(found)
    return rows


def derived(connection: Connection, policy: Policy, opener: Opener) -> Rows:
    """What the pure rules say of all facts at once, by name."""
    found = connection.execute(text("SELECT key, xmin::text, body::text FROM fact")).all()
    facts = [opener.fact(decode_fact(body)) for _, _, body in found]
    for fact, (key, version, _) in zip(facts, found, strict=True):
        assert opener.recall(key, version) in (None, fact), "what is remembered is what is there"
    world = world_of(connection, Reached({fact.key: fact for fact in facts}), policy)
    rows = {}
    for item in derive(facts, world, policy):
        values = columns(item, world, policy, policy.version)
        for name in JSON_COLUMNS & values.keys():
            if isinstance(values[name], str):
                values[name] = orjson.loads(values[name])
        rows[item.name] = values | {"name": item.name, "open": item.open}
    return rows


def assert_right(engine: Engine, policy: Policy, opener: Opener) -> Rows:
    """The tables hold what the rules derive, and what must always hold does."""
    with engine.begin() as connection:
        rows, rules = kept(connection), derived(connection, policy, opener)
        assert rows == rules
        assert violations(connection) == {}
    return rows


PATIENTS = ["P1", "P1@A", "P1@", "P2", "P2/19700101/B", "P1/19700101/B", None]
ACCESSIONS = ["A1", "A2", "0"]
UIDS = ["1.1", "1.2"]
MAKE = Make(KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32))


@st.composite
def messages(draw: st.DrawFn) -> Event:
    """One message, as partial as senders are: few numbers, so that they collide."""
    patient = draw(st.sampled_from(PATIENTS))
    at = draw(st.integers(0, 50))
    accession, uid = draw(st.sampled_from(ACCESSIONS)), draw(st.sampled_from(UIDS))
    sender = draw(st.sampled_from(["ris", "ehr"]))
    kind = draw(st.sampled_from(["order", "order", "series", "series", "report", "exam", "adt"]))
    if kind == "order":
        said: dict[str, Any] = {
            "priority": draw(st.sampled_from([None, "stat", "routine"])),
            "status": draw(st.sampled_from([None, "scheduled", "cancelled", "performed"])),
            "location": draw(st.sampled_from([None, "emergency"])),
            "sender": sender,
        }
        also = draw(st.sampled_from(["", "p1", f"u{uid}", "f1@RIS"]))
        if draw(st.integers(0, 7)) == 0:
            said = {"sender": sender, "reading": True}
        return MAKE.order(accession, at=at, patient=patient, also=also, bare=True, **said)
    if kind == "series":
        found = MAKE.series(
            uid,
            n=draw(st.integers(1, 2)),
            at=at,
            patient=patient,
            series=draw(st.sampled_from(["1", "2"])),
            accession=draw(st.sampled_from([None, *ACCESSIONS])),
            primary=draw(st.booleans()),
            kind=draw(st.sampled_from(["modality", "archive"])),
        )
        if draw(st.booleans()):
            return MAKE.finding(of=found, at=at + 1, flagged=draw(st.booleans()))
        return found
    if kind == "report":
        status = draw(st.sampled_from(["preliminary", "final", "withdrawn", "addendum"]))
        return MAKE.report(accession, status, at=at, patient=patient, sender=sender)
    if kind == "exam":
        status = draw(st.sampled_from(["in_progress", "completed", "available"]))
        return MAKE.exam(uid, status, at=at, patient=patient)
    if draw(st.booleans()):
        told = draw(st.sampled_from([p for p in PATIENTS if p]))
        trigger = draw(st.sampled_from(["A08", "A28", "A03"]))
        return MAKE.patient(told, at=at, event=trigger, location="icu")
    survivor, retired = draw(st.sampled_from([("P1", "P2"), ("P2", "P1"), ("P1@A", "P1@")]))
    act = draw(st.sampled_from(["merge", "merge", "link", "unlink"]))
    return MAKE.merge(survivor, retired, at=at, act=act)


ACTS = ("pin", "unpin", "clear_flag", "set_priority", "finish", "reopen", "confirm_cancel",
        "outcome", "promote", "link", "unlink", "undo", "skip")  # fmt: skip


def act_somehow(
    engine: Engine, name: str, chance: random.Random, policy: Policy, opener: Opener
) -> None:
    """A person does something to some row; what makes no sense is refused and leaves nothing."""
    with engine.begin() as connection:
        rows = sorted(kept(connection))
    if not rows:
        return
    study, code = chance.choice(rows), {"set_priority": "urgent", "outcome": "referrer_called"}
    order = chance.choice(rows) if name in ("link", "unlink") else ""
    wish = Wish(name, study, "anna", "lead", "because", code.get(name, ""), order)  # type: ignore[arg-type]
    try:
        with engine.begin() as connection:
            if name == "finish":
                leases.claim(connection, study, "anna", 60)
            do(connection, wish, policy=policy, opener=opener)
    except QueueError:
        pass


def batches(events: Sequence[Event], chance: random.Random) -> Iterable[list[Event]]:
    at = 0
    while at < len(events):
        size = chance.randint(1, 4)
        yield list(events[at : at + size])
        at += size


@CHECKS
@given(
    said=st.lists(messages(), min_size=1, max_size=12),
    acts=st.lists(st.sampled_from(ACTS), max_size=5),
    seed=st.integers(0, 2**16),
)
def test_promise_5_any_messages_and_acts_in_any_order_and_twice_give_the_same_rows(
    engine: Engine,
    policy: Policy,
    opener: Opener,
    said: list[Event],
    acts: list[str],
    seed: int,
) -> None:
    chance = random.Random(seed)
    for event in chance.sample(said, min(3, len(said))):  # sent again, received at another time
        moved = timedelta(minutes=chance.choice((-5, 5)))
        said.append(event.model_copy(update={"received_at": event.received_at + moved}))
    empty(engine, policy)
    steps: list[Any] = [*batches(said, chance), *acts]
    chance.shuffle(steps)
    for step in steps:
        if isinstance(step, str):
            act_somehow(engine, step, chance, policy, opener)
            continue
        with engine.begin() as connection:
            apply(connection, step, policy=policy, opener=opener)
    first = assert_right(engine, policy, opener)
    with engine.begin() as connection:
        bodies = (
            connection.execute(text("SELECT body::text FROM fact ORDER BY key")).scalars().all()
        )
    again = [decode_fact(body) for body in bodies]
    again += chance.sample(again, min(4, len(again)))
    chance.shuffle(again)
    empty(engine, policy)
    for batch in batches(again, chance):
        with engine.begin() as connection:
            apply(connection, batch, policy=policy, opener=opener)
    assert assert_right(engine, policy, opener) == first


def test_promise_5_what_is_known_already_writes_nothing(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    said = [make.order("A1"), make.series("1.1", accession="A1"), make.finding("1.1")]
    feed(*said)

    def stamps() -> list[Any]:
        with engine.begin() as connection:
            rows = connection.execute(text("SELECT name, changed, xmin::text FROM item")).all()
            audits = connection.scalar(text("SELECT count(*) FROM audit"))
        return [*rows, audits]

    before = stamps()
    with engine.begin() as connection:
        assert apply(connection, said + said, policy=policy, opener=opener) == 0
    later = [e.model_copy(update={"received_at": e.received_at.replace(year=2027)}) for e in said]
    feed(*later)
    assert stamps() == before, "a copy that comes later changes nothing"


def test_an_earlier_receipt_of_the_same_message_counts(
    engine: Engine, make: Make, feed: Feed
) -> None:
    event = make.series("1.1", at=30, acquired_at=None)
    feed(event, event.model_copy(update={"received_at": make.series("1.1", at=10).received_at}))
    with engine.begin() as connection:
        (row,) = queue.listing(connection).items
    assert row["received_at"] == make.series("1.1", at=10).received_at


def test_an_event_that_names_nothing_or_whose_seal_is_not_ours_is_parked_and_leaves_nothing(
    engine: Engine, make: Make, policy: Policy, opener: Opener
) -> None:
    from worklist.record.acts import Act

    other = KeyRing("a1", {"a1": bytes(32)}, bytes(32))
    foreign = Opener(other, other).seal_act(
        Act(act_id="ab" * 16, act="pin", item="ab" * 12, actor="x", at=make.order().received_at)
    )
    guilty = [
        (make.order(patient=None).model_copy(update={"numbers": ()}), Reason.NO_STUDY_KEY),
        (make.order().model_copy(update={"identity": "k9.AAAA"}), Reason.BAD_SEAL),
        (foreign, Reason.BAD_SEAL),
    ]
    for event, reason in guilty:
        with pytest.raises(Park) as told, engine.begin() as connection:
            apply(connection, [make.series("1.1"), event], policy=policy, opener=opener)
        assert told.value.reason is reason
        with engine.begin() as connection:
            assert kept(connection) == {}


def test_promise_5_four_writers_at_once_beside_readers_make_no_deadlock_and_no_wrong_rank(
    engine: Engine, policy: Policy, opener: Opener, make: Make
) -> None:
    """Orders, images, findings and reports of ten patients, each kind from a writer of its own."""
    kinds: list[list[Event]] = [[], [], [], []]
    for n in range(40):
        who = f"P{n % 10}"
        kinds[0].append(make.order(f"A{n}", patient=who, priority=("stat", "routine")[n % 2]))
        kinds[1].append(make.series(f"1.{n}", patient=who, accession=f"A{n}"))
        kinds[2].append(make.finding(f"1.{n}", patient=who))
        kinds[2].append(make.patient(f"{who}/1960010{n % 3 + 1}/N", at=n))
        kinds[3].append(make.report(f"A{n}", ("preliminary", "final")[n % 2], patient=who))

    def write(events: list[Event]) -> int:
        chance, conflicts = random.Random(events[0].event_id), 0
        chance.shuffle(events)
        for batch in batches(events, chance):
            while True:
                try:
                    with translated(), engine.begin() as connection:
                        apply(connection, batch, policy=policy, opener=opener)
                    break
                except Retry:
                    conflicts += 1
        return conflicts

    def read(name: str) -> None:
        for _ in range(20):
            with engine.begin() as connection:
                claim = leases.next_study(connection, name, 60)
                if claim:
                    leases.release(connection, claim.study, name, claim.token)

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, events) for events in kinds]
        readers = [pool.submit(read, f"r{n}") for n in range(2)]
    assert [writer.result() for writer in writers] == [0, 0, 0, 0]
    for reader in readers:
        reader.result()
    assert len(assert_right(engine, policy, opener)) >= 40


def test_one_number_that_fourteen_patients_name_joins_nobody(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    """R1: accession 0. Each keeps its order by its own number and patient."""
    for n in range(14):
        feed(
            make.order("0", patient=f"P{n}", also=f"f{n}", priority=("stat", "routine")[n % 2]),
            make.series(f"1.{n}", patient=f"P{n}", accession="0"),
        )
    rows = assert_right(engine, policy, opener)
    assert len(rows) == 14
    assert {row["uid"] for row in rows.values()} == {f"1.{n}" for n in range(14)}
    assert all("shared_number" in row["marks"] for row in rows.values())


def test_an_mpps_with_a_hundred_study_uids_is_one_event_like_any_other(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    """R6: no key is a concatenation."""
    named = tuple(Number(kind="study", value=f"1.2.{n}" + "1" * 50) for n in range(100))
    feed(make.exam(numbers=named))
    (row,) = assert_right(engine, policy, opener).values()
    assert row["state"] == "arriving"
