"""The list of any past moment is rebuilt from the audit alone, who had claimed what included
(promise 9).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests.worklist.record import say
from tests.worklist.sql.conftest import Database
from tests.worklist.sql.hospital import POLICY, Hospital
from worklist.sql import acts, audit, history, leases

Seen = tuple[list[tuple[Any, ...]], dict[str, str], dict[str, str]]


def now_of(database: Database) -> tuple[datetime, Seen]:
    """The moment, and the list as it stands: open rows in order, claims, who finished what."""
    with database.app.connect() as connection:
        rows = connection.execute(
            text("""SELECT name, lane, due_at, state, ai, policy_version, jsonb_array_length(why)
                    FROM item ORDER BY lane, due_at, received_at, name""")
        ).all()
        held = connection.execute(
            text("""SELECT name, reader FROM lease JOIN item USING (name)
                    WHERE expires_at > clock_timestamp() AND ended = ''""")
        ).all()
        done = connection.execute(
            text("SELECT name, finished_by FROM closed WHERE finished_by <> ''")
        ).all()
        moment = connection.scalar(text("SELECT clock_timestamp()"))
    assert moment is not None
    return moment, ([tuple(r) for r in rows], dict(map(tuple, held)), dict(map(tuple, done)))


def rebuilt(database: Database, moment: datetime) -> Seen:
    with database.app.connect() as connection:
        placed = history.list_at(connection, moment)
    rows = [
        (p.item, p.lane, p.due_at, p.state, p.ai, p.policy, len(p.why)) for p in placed if p.open
    ]
    return (
        rows,
        {p.item: p.claimed_by for p in placed if p.claimed_by},
        {p.item: p.finished_by for p in placed if p.finished_by},
    )


def test_promise_9_the_list_of_any_past_moment_is_rebuilt_from_the_audit(
    database: Database,
) -> None:
    rng = random.Random(2)
    here = Hospital(database.app)
    here.activate()
    facts = []
    for n in range(6):
        who = f"P{n}@HOSP"
        image = say.image(f"u1.{n} a{n}", who, received=10 + n)
        facts += [say.order(f"a{n} f{n}", who, rng.choice(["stat", "routine"])), image]
        facts += [say.finding(image, flagged=n % 2 == 0)]
        facts += [say.step(f"s1.9.{n} u1.{n} a{n}", who, "completed")]
    facts += [say.report("a5 f5", "P5@HOSP"), say.merge("P1@HOSP", "P7@HOSP")]
    rng.shuffle(facts)
    moments = []
    for step, fact in enumerate(facts):
        here.tell(fact)
        _read_a_little(database, here, step)
        moments.append(now_of(database))
    assert max(len(seen[0]) for _, seen in moments) > 3
    assert any(seen[1] for _, seen in moments)
    assert any(seen[2] for _, seen in moments)
    for moment, seen in moments:
        assert rebuilt(database, moment) == seen


def _read_a_little(database: Database, here: Hospital, step: int) -> None:
    with database.app.begin() as connection:
        if step % 5 == 4:
            leases.next_study(connection, "anna", 600)
        if step % 7 == 6 and (taken := leases.next_study(connection, "ben", 600)):
            wish = acts.Wish("finish", taken.study, "ben", "reader", token=taken.token)
            acts.do(connection, wish, policy=POLICY, opener=here.opener)
        if step % 11 == 10 and (taken := leases.next_study(connection, "carl", 600)):
            leases.release(connection, taken.study, "carl", taken.token)


def audit_of(*said: tuple[str, str, str, dict[str, Any]]) -> Callable[[Connection], None]:
    def write(connection: Connection) -> None:
        for act, item, actor, detail in said:
            audit.append(connection, act, item, actor=actor, detail=detail)

    return write


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ([("claim", "a", "anna", {}), ("expire", "a", "anna", {})], {}),
        ([("claim", "a", "anna", {}), ("join", "a", "", {"into": "b"})], {"b": "anna"}),
        ([("claim", "a", "anna", {}), ("join", "a", "", {"into": ""})], {}),
        (
            [
                ("claim", "a", "anna", {}),
                ("claim", "b", "ben", {}),
                ("claim_superseded", "b", "ben", {"by_join_of": "a"}),
                ("join", "a", "", {"into": "b"}),
            ],
            {"b": "anna"},
        ),
        (
            [
                ("claim", "b", "ben", {}),
                ("claim", "a", "anna", {}),
                ("claim_superseded", "b", "anna", {"by_join_of": "a"}),
                ("join", "a", "", {"into": "b"}),
            ],
            {"b": "ben"},
        ),
        (
            [
                ("claim", "a", "anna", {}),
                ("release", "a", "anna", {}),
                ("claim", "a", "ben", {}),
                ("hand_over", "a", "anna", {"to": "ben"}),
            ],
            {"a": "ben"},
        ),
    ],
    ids=["ran out", "joined", "gone", "earlier moved", "earlier stayed", "handed over"],
)
def test_promise_9_who_had_claimed_follows_what_became_of_the_row(
    database: Database, said: list[Any], held: dict[str, str]
) -> None:
    with database.app.begin() as connection:
        audit_of(*said)(connection)
    with database.app.connect() as connection:
        assert history.claims_at(connection, datetime.now(UTC)) == held
