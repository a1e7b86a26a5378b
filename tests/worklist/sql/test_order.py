"""Twice, late, or in any order: the same list (promise 5), and every study on it (promise 2), on a
real PostgreSQL.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from streams.errors import Park, Reason, Retry
from streams.events import Event
from streams.seal import KeyRing
from streams.studykey import digest
from tests.worklist.conftest import Feed, Make, empty
from worklist.order.policy import Policy
from worklist.sql import leases, policy_store, queue
from worklist.sql.database import translated
from worklist.sql.invariants import violations
from worklist.sql.project import Identities, apply

CHECKS = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows(engine: Engine) -> list[dict[str, Any]]:
    """All rows by what they say; a public name is chosen at first sight and may differ with the
    order of arrival.
    """
    with engine.connect() as connection:
        assert violations(connection) == {}
        items = queue.listing(connection, state="all", limit=10_000).items
    return [{k: v for k, v in item.items() if k not in ("study", "changed")} for item in items]


def apply_all(
    engine: Engine, policy: Policy, ring: KeyRing, batches: Sequence[Sequence[Event]]
) -> list[dict[str, Any]]:
    empty(engine, policy)
    for batch in batches:
        with engine.begin() as connection:
            apply(connection, batch, policy=policy, identities=Identities(ring))
    return rows(engine)


def tales(make: Make) -> dict[str, list[Event]]:
    """Short stories that the first schema got wrong, or that are easy to get wrong."""
    tales = _tales(make)
    return {name: [_stamped(event) for event in tale] for name, tale in tales.items()}


def _stamped(event: Event) -> Event:
    """Another content is another message, with another digest."""
    body = event.model_dump_json(exclude={"identity"}).encode()
    return event.model_copy(
        update={"version": event.version.model_copy(update={"digest": digest(body)})}
    )


def _tales(make: Make) -> dict[str, list[Event]]:
    numbered = {"accessions": (), "order": "O7"}
    return {
        "accession given late": [
            make.order("x", **numbered),
            make.order("A7", at=3, order="O7"),
            make.series(accessions=("A7",)),
        ],
        "accession corrected": [
            make.order("A1", order="O1"),
            make.order("A2", at=5, order="O1", previous_accessions=("A1",)),
            make.series(accessions=("A1",)),
        ],
        "link taken back": [
            make.order(study_uids=("1.2.1",)),
            make.order(at=9, study_uids=()),
            make.series(),
            make.report(at=70),
        ],
        "merge chain": [
            make.order(patient="P3"),
            make.series(accessions=("A1",), patient="P3"),
            make.merge("P2", "P3"),
            make.merge("P1", "P2", at=7),
            make.patient("P1", at=8, location="icu"),
        ],
        "two patients, one accession": [
            make.order("A1", order="O1", patient="P1"),
            make.order("A1", order="O2", patient="P2", sender="other"),
            make.series(accessions=("A1",), patient="P2"),
        ],
        "two patients, one study": [
            make.order(),
            make.series(accessions=("A1",), patient=None),
            make.series(n=2, at=14, accessions=("A1",), patient="P2"),
        ],
        "split after a merge of rows": [
            make.order(),
            make.series(patient=None),
            make.series(n=2, at=12, accessions=("A1",), patient=None),
            make.series(n=3, at=14, accessions=("A1",), patient="P2"),
        ],
        "trauma": [
            make.order("A1"),
            make.order("A2", at=1, priority="stat"),
            make.series(accessions=("A1", "A2")),
            make.finding(),
            make.report("A2", "preliminary", at=40),
            make.report("A1", "final", at=50),
        ],
        "PET and CT": [
            make.order(),
            make.series("1.2.1", accessions=("A1",)),
            make.series("1.2.2", accessions=("A1",)),
            make.report(at=40, study_uids=("1.2.1",)),
            make.report(status="preliminary", at=45, study_uids=("1.2.2",)),
            make.finding("1.2.2", flagged=False),
        ],
        "booked, cancelled, booked again": [
            make.order(status="scheduled"),
            make.order(at=4, status="cancelled"),
            make.order(at=8, status="scheduled", priority="urgent"),
        ],
        "thresholds changed": [
            make.series(),
            make.finding(),
            make.finding(flagged=False, at=30),
            make.exam(status="in_progress"),
        ],
        "nothing but what AI said": [make.finding(), make.finding("1.2.2", flagged=False)],
    }


@pytest.mark.parametrize("name", list(tales(Make(KeyRing("k1", {"k1": bytes(32)}, bytes(32))))))
def test_promise_5_each_tale_ends_the_same_however_it_is_told(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing, name: str
) -> None:
    tale = tales(make)[name]
    told = apply_all(engine, policy, ring, [[e] for e in tale])
    assert told
    rng = random.Random(name)
    for _ in range(4):
        again = rng.sample(tale, len(tale)) + rng.choices(tale, k=2)
        assert apply_all(engine, policy, ring, [[e] for e in again]) == told
    assert apply_all(engine, policy, ring, [tale[::-1]]) == told


@CHECKS
@given(data=st.data())
def test_promise_5_tales_told_together_in_any_batches(
    session_engine: Engine, make: Make, policy: Policy, ring: KeyRing, data: st.DataObject
) -> None:
    every = [e for tale in tales(make).values() for e in tale]
    chosen = [
        every[i]
        for i in data.draw(
            st.lists(st.integers(0, len(every) - 1), min_size=2, max_size=10, unique=True)
        )
    ]
    shuffled = data.draw(
        st.permutations(chosen + data.draw(st.lists(st.sampled_from(chosen), max_size=4)))
    )
    cut = data.draw(st.integers(1, 5))
    batches = [shuffled[i : i + cut] for i in range(0, len(shuffled), cut)]
    one_by_one = apply_all(session_engine, policy, ring, [[e] for e in chosen])
    assert apply_all(session_engine, policy, ring, batches) == one_by_one


def test_promise_5_the_same_message_sent_again_tomorrow_changes_nothing(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    once: list[Event] = [
        make.order(),
        make.series(accessions=("A1",), acquired_at=None),
        make.finding(),
        make.report(at=50),
    ]
    late = [e.model_copy(update={"received_at": e.received_at + timedelta(days=1)}) for e in once]
    expected = apply_all(engine, policy, ring, [[e] for e in once])
    assert apply_all(engine, policy, ring, [[e] for e in (*once, *late)]) == expected
    assert apply_all(engine, policy, ring, [late, once]) == expected


def test_promise_5_nothing_is_written_for_what_is_known(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    events: list[Event] = [e for tale in tales(make).values() for e in tale]
    apply_all(engine, policy, ring, [events])
    with engine.begin() as connection:
        assert (
            apply(
                connection,
                random.Random(3).sample(events, len(events)),
                policy=policy,
                identities=Identities(ring),
            )
            == 0
        )


@CHECKS
@given(data=st.data())
def test_promise_2_every_study_that_anybody_named_is_on_the_list(
    session_engine: Engine, make: Make, policy: Policy, ring: KeyRing, data: st.DataObject
) -> None:
    every = [e for tale in tales(make).values() for e in tale]
    chosen = [
        every[i]
        for i in data.draw(st.lists(st.integers(0, len(every) - 1), min_size=1, max_size=8))
    ]
    empty(session_engine, policy)
    with session_engine.begin() as connection:
        for event in chosen:
            apply(connection, [event], policy=policy, identities=Identities(ring))
        found = queue.listing(connection, state="all", limit=1000).items
        shown = {i["study"] for i in queue.listing(connection, limit=1000).items}
    uids = {e.study_uid for e in chosen if e.type in ("SeriesReceived", "FindingsMade")}
    assert uids <= {i["study_uid"] for i in found}
    assert {
        a
        for e in chosen
        if e.type == "OrderChanged"
        for a in e.accessions[:1]
        if not _corrected(e, chosen)
    } <= {a for i in found for a in i["accessions"]}
    # Only a final report, or a cancel without images, takes a row off the list; nothing that AI
    # says does.
    assert all(i["study"] in shown or i["state"] in ("final", "cancelled") for i in found)
    with_images = {e.study_uid for e in chosen if e.type == "SeriesReceived"}
    assert all(i["state"] != "cancelled" for i in found if i["study_uid"] in with_images)


def _corrected(order: Any, chosen: Sequence[Any]) -> bool:
    return any(
        e.type == "OrderChanged" and e.order == order.order and e.accessions != order.accessions
        for e in chosen
    )


@pytest.mark.parametrize("batch", ["alone", "among others"])
def test_an_event_that_names_no_study_is_parked_and_never_swallowed(
    feed: Feed, make: Make, engine: Engine, batch: str, policy: Policy, ring: KeyRing
) -> None:
    nameless = make.order(accessions=(), order="")
    events: list[Event] = (
        [nameless] if batch == "alone" else [make.order("A5"), nameless, make.series()]
    )
    with pytest.raises(Park) as parked, engine.begin() as connection:
        apply(connection, events, policy=policy, identities=Identities(ring))
    assert parked.value.reason is Reason.NO_STUDY_KEY
    assert rows(engine) == []


def test_a_row_keeps_its_public_name_through_links_and_corrections(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order("x", accessions=(), order="O1"))
    with engine.connect() as connection:
        (first,) = queue.listing(connection).items
    feed(
        make.order("A1", at=2, order="O1"),
        make.order("A2", at=4, order="O1", previous_accessions=("A1",)),
    )
    feed(make.series(accessions=("A2",)))
    with engine.connect() as connection:
        (last,) = queue.listing(connection).items
    assert (last["study"], last["study_uid"], last["accession"]) == (first["study"], "1.2.1", "A2")


def test_a_pin_and_a_claim_survive_a_merge_of_rows(
    engine: Engine, make: Make, feed: Feed, policy: Policy, ring: KeyRing
) -> None:
    feed(
        make.order(),
        make.exam("9.9", "available", accessions=("A1",), study_uids=()),
        make.series(),
    )
    with engine.begin() as connection:
        by_order = next(
            i["study"] for i in queue.listing(connection).items if i["accession"] == "A1"
        )
        nodes = queue.act_on_rank(connection, by_order, "pin", "lead", "asked for")
        claim = leases.claim(connection, by_order, "early", 60)
        other = next(i["study"] for i in queue.listing(connection).items if i["study_uid"])
        leases.claim(connection, other, "late", 60)
    assert nodes
    feed(make.series(n=2, at=14, accessions=("A1",)))
    (row,) = [i for i in rows(engine) if i["state"] == "readable"]
    assert (row["lane"], row["claimed_by"]) == (0, "early")
    with engine.begin() as connection:
        leases.finish(connection, by_order, claim.token, "early")
    assert rows(engine)[0]["finished"]


def test_promise_5_four_writers_beside_readers_and_a_new_policy_no_deadlock_and_no_wrong_rank(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    events: list[Event] = []
    for n in range(80):
        uid, accession, patient = f"1.9.{n}", f"A{n}", f"P{n % 7}"
        events += [
            make.order(accession, patient=patient, at=n / 10),
            make.series(uid, accessions=(accession,), patient=patient),
            make.finding(uid, flagged=n % 3 == 0),
            make.patient(patient, location="emergency", at=n),
            make.exam(uid),
            make.report(accession, "preliminary", at=90)
            if n % 5 == 0
            else make.exam(uid, "completed", at=13),
        ]
    events = [_stamped(event) for event in events]
    random.Random(11).shuffle(events)
    other = policy.model_copy(update={"name": "other"})
    conflicts: list[str] = []
    failures: list[BaseException] = []

    def again(act: Any) -> None:
        for _ in range(20):
            try:
                with translated():
                    return act()
            except Retry as error:
                conflicts.append(error.where)
        raise AssertionError("20 conflicts")

    def write(part: list[Event]) -> None:
        identities = Identities(ring)

        def one(chunk: list[Event]) -> None:
            with engine.begin() as connection:
                apply(
                    connection, chunk, policy=policy_store.active(connection), identities=identities
                )

        for i in range(0, len(part), 8):
            again(lambda i=i: one(part[i : i + 8]))

    def read() -> None:
        for n in range(40):
            with engine.begin() as connection:
                claim = leases.next_study(connection, f"r{n}", 60)
                if claim and n % 2:
                    leases.release(connection, claim.study, claim.token, f"r{n}")

    def change() -> None:
        with engine.begin() as connection:
            policy_store.activate(
                connection, other, actor="lead", now=events[0].received_at + timedelta(days=1)
            )
        for _ in range(6):
            again(lambda: policy_store.rerank(engine, Identities(ring), chunk=20))

    def guarded(act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(write, events[i::4])) for i in range(4)]
    threads += [threading.Thread(target=guarded, args=(act,)) for act in (read, change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert conflicts == []
    policy_store.rerank(engine, Identities(ring))
    dynamic = ("claimed_by", "lease_expires_at", "opened_by")
    concurrent = [{k: v for k, v in row.items() if k not in dynamic} for row in rows(engine)]
    alone = [
        {k: v for k, v in row.items() if k not in dynamic}
        for row in apply_all(engine, other, ring, [events])
    ]
    assert len(alone) == 80
    assert concurrent == alone
