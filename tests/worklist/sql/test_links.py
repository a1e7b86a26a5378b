"""What an act reaches: links, replays and copies; and that it touches no other row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from streams.events import decode, encode
from tests.worklist.conftest import Feed, Make, empty
from tests.worklist.sql.acting import Act, Rows, read_it, refused
from worklist.order.policy import Policy
from worklist.sql import leases
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener


def test_a_report_for_another_patient_closes_nothing(make: Make, feed: Feed, rows: Rows) -> None:
    """R2."""
    feed(
        make.order("A1", patient="P1"),
        make.series("1.1", accession="A1", patient="P1"),
        make.order("A1", patient="P2", also="f2"),
        make.report("A1", patient="P9"),
    )
    assert rows()["1.1"]["open"]
    assert "identity_conflict" in rows()["1.1"]["marks"]
    feed(make.report("A1", patient="P2", at=70))
    assert rows()["1.1"]["open"]


def test_an_order_is_linked_to_images_under_another_number_and_unlinked_again(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(
        make.order("A8", patient="P1", priority="stat"),
        make.series("1.1", patient="P9", accession="A7"),
    )
    order, images = rows()["A8"]["study"], rows()["1.1"]["study"]
    assert refused(lambda: act("link", order, order=images)) == ("not_an_order", "")
    assert refused(lambda: act("link", images)) == ("not_an_order", "")
    done = act("link", images, order=order)
    (joined,) = rows().values()
    assert joined["study"] == done.study
    assert (joined["study_uid"], joined["lane"], joined["patient_id"]) == ("1.1", 1, "P9")
    assert sorted(joined["accessions"]) == ["A7", "A8"]
    feed(make.order("A8", patient="P1", priority="stat", at=30, status="in_progress"))
    assert len(rows()) == 1, "what comes later knows of the link"
    act("unlink", images, order=order)
    assert sorted(rows()) == ["1.1", "A8"]
    assert rows()["1.1"]["patient_id"] == "P9"


def test_the_orders_of_a_row_are_told_with_what_is_still_open(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows, opener: Opener
) -> None:
    """R11: F on one of two accessions leaves the row open; each is unlinked by its own id."""
    from worklist.sql.orders import orders

    feed(
        make.order("A1", also="u1.1"),
        make.order("A2", also="u1.1", at=1),
        make.series("1.1", accession="A1"),
        make.report("A1"),
    )
    study = rows()["1.1"]["study"]
    assert rows()["1.1"]["marks"] == ["orders_waiting"]
    with engine.begin() as connection:
        first, second = orders(connection, study, opener)
    assert (first.numbers, first.report, first.open) == (("A1",), "final", False)
    assert (second.numbers, second.report, second.open) == (("A2",), "", True)
    act("unlink", study, order=second.member)
    assert rows()["1.1"]["state"] == "final"
    assert rows()["A2"]["state"] == "expected"


def test_a_loan_ends_when_a_lead_says_that_it_is_not_this_order(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(
        make.order("A7", patient="P1", priority="stat"),
        make.series("1.1", patient="P9", accession="A7"),
    )
    assert (rows()["1.1"]["lane"], rows()["1.1"]["borrowed"]) == (1, ["A7"])
    act("unlink", rows()["1.1"]["study"], order=rows()["A7"]["study"])
    assert (rows()["1.1"]["lane"], rows()["1.1"]["borrowed"]) == (2, [])


def test_promise_7_an_act_on_one_row_changes_no_other_however_close(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    """L1, R1: a conflict of two patients under one number, a sibling, and each act in turn."""
    feed(
        make.order("A1", patient="P1", priority="stat"),
        make.series("1.1", patient="P1", accession="A1"),
        make.series("1.2", patient="P1", accession="A1"),
        make.series("1.3", patient="P2", accession="A1"),
        make.finding("1.1", patient="P1"),
        make.finding("1.2", patient="P1"),
        make.finding("1.3", patient="P2"),
    )
    study = rows()["1.1"]["study"]

    def others() -> dict[str, Any]:
        return {uid: row for uid, row in rows().items() if uid != "1.1"}

    before = others()
    for name, more in (
        ("pin", {}),
        ("unpin", {}),
        ("set_priority", {"code": "routine"}),
        ("outcome", {"code": "referrer_called"}),
        ("clear_flag", {}),
        ("skip", {}),
    ):
        act(name, study, **more)  # type: ignore[arg-type]
        assert others() == before, name
    read_it(engine, act, study)
    assert others() == before
    act("reopen", study)
    assert others() == before


def test_acts_replay_into_an_empty_database_to_the_same_list(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows, policy: Policy, opener: Opener
) -> None:
    """The topic `acts` is their copy: what the outbox holds and what senders said is all."""
    said = [
        make.order("A1", priority="stat"),
        make.series("1.1", accession="A1"),
        make.finding("1.1"),
        make.series("1.2", patient="P2"),
        make.series("1.3", patient="P3"),
        make.order("A4", patient="P4"),
    ]
    feed(*said)
    act("clear_flag", rows()["1.1"]["study"])
    act("pin", rows()["1.2"]["study"])
    read_it(engine, act, rows()["1.3"]["study"])
    act("link", rows()["1.2"]["study"], order=rows()["A4"]["study"])
    act("skip", rows()["1.1"]["study"])
    act("undo", rows()["1.1"]["study"])

    def shown() -> dict[str, dict[str, Any]]:
        stamps = {"changed", "changed_at", "closed_at", "opened_by", "lease_expires_at"}
        return {
            uid: {key: value for key, value in row.items() if key not in stamps}
            for uid, row in rows().items()
        }

    before = shown()
    with engine.begin() as connection:
        sent = connection.execute(
            text("SELECT item, body FROM outbox WHERE kind = 'act' ORDER BY id")
        ).all()
    acts = [decode(encode_body(row.body)) for row in sent]
    assert len(acts) == 6
    for way in (said + acts, acts[::-1] + said[::-1], acts + said + acts):
        empty(engine, policy)
        for event in way:
            with engine.begin() as connection:
                apply(connection, [event], policy=policy, opener=opener)  # type: ignore[list-item]
        assert shown() == before


def encode_body(body: dict[str, Any]) -> bytes:
    """An outbox body as it travels."""
    from streams.events import ActDone

    return encode(ActDone.model_validate(body))


def test_an_act_on_an_order_under_a_number_that_too_many_name_stays(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    shared = [
        make.order("0", patient=f"P{n}", also=f"f{n}", priority="routine", at=n) for n in range(14)
    ]
    images = make.series("1.1", patient="P3", accession="0", at=30)
    feed(images, *shared)
    act("pin", rows()["1.1"]["study"])
    feed(make.patient("P3/19500505/OTHER", at=60))
    shown = rows()["1.1"]
    assert (shown["lane"], shown["birth_date"]) == (0, "19500505")


def test_every_act_has_its_audit_row_and_its_copy_in_order(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.series("1.1"))
    study = rows()["1.1"]["study"]
    act("pin", study)
    act("unpin", study, reason="")
    read_it(engine, act, study)
    with engine.begin() as connection:
        audit = connection.execute(
            text("""SELECT act, item, actor, reason, detail->>'act_id' AS act_id FROM audit
                    WHERE detail ? 'act_id' ORDER BY id""")
        ).all()
        outbox = connection.execute(
            text("SELECT item, body->>'event_id' AS act_id FROM outbox ORDER BY id")
        ).all()
        assert leases.holder(connection, study) is None
    assert [(row.act, row.actor, row.reason) for row in audit] == [
        ("pin", "anna", "because"),
        ("unpin", "anna", ""),
        ("finish", "anna", ""),
    ]
    assert [row.act_id for row in outbox] == [row.act_id for row in audit]
    assert {row.item for row in outbox} == {study}
