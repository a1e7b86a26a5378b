"""What persons do: each act is a fact that replays, is the right of some, and touches one row."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import pytest
from sqlalchemy import Engine, text

from streams.events import decode, encode
from tests.worklist.conftest import Feed, Make, empty
from tests.worklist.sql.test_leases import refused, take
from worklist.order.policy import Policy
from worklist.record.acts import ActName
from worklist.sql import leases, queue
from worklist.sql.acts import Done, Wish, do
from worklist.sql.apply import apply
from worklist.sql.invariants import violations
from worklist.sql.opening import Opener
from worklist.sql.rights import RIGHTS, may, needs_reason

Act = Callable[..., Done]


@pytest.fixture
def act(engine: Engine, policy: Policy, opener: Opener) -> Act:
    """Does something as a lead, with a reason, unless told otherwise."""

    def once(name: ActName, study: str, **more: Any) -> Done:
        said = {"actor": "anna", "role": "lead", "reason": "because"} | more
        with engine.begin() as connection:
            return do(connection, Wish(name, study, **said), policy=policy, opener=opener)

    return once


@pytest.fixture
def rows(engine: Engine) -> Callable[..., dict[str, dict[str, Any]]]:
    """All rows, open and closed, by study UID (an order without images by its accession)."""

    def read(state: str = "all") -> dict[str, dict[str, Any]]:
        with engine.begin() as connection:
            assert violations(connection) == {}
            found = queue.listing(connection, state=state, limit=1000).items
            return {
                row["study_uid"] or row["accession"]: queue.detail(connection, row["study"])
                for row in found
            }

    return read


Rows = Callable[..., dict[str, dict[str, Any]]]


def read_it(engine: Engine, act: Act, study: str, **more: Any) -> Done:
    """Claims and finishes, as a reader does."""
    take(engine, study, more.get("actor", "anna"))
    return act("finish", study, role="reader", reason="", **more)


def test_who_may_do_what_is_one_table_that_knows_every_act() -> None:
    assert RIGHTS.keys() - set(get_args(ActName)) == {
        "next", "claim", "renew", "release", "hand_over", "take_over"
    }  # fmt: skip
    leads = {"clear_flag", "set_priority", "link", "unlink", "confirm_cancel"}
    for name, role, own in product(RIGHTS, ("reader", "lead", "ops", "service", ""), (True, False)):
        allowed = role == "lead" or (role == "reader" and name not in leads)
        if not own:
            allowed &= name not in ("renew", "hand_over", "finish", "undo")
            allowed &= role == "lead" or name not in ("release", "unpin")
        assert may(role, name, own) is allowed, (name, role, own)
    reasoned = {name for name in RIGHTS if needs_reason(name)}
    assert reasoned == leads | {"hand_over", "take_over", "promote", "reopen", "pin"}
    assert {name for name in RIGHTS if needs_reason(name, own=False)} == reasoned | {
        "release",
        "unpin",
    }


def test_an_act_without_right_or_reason_leaves_nothing(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.series(accession="A1"), make.finding())
    study = rows()["1.2.1"]["study"]
    for name in get_args(ActName):
        more = {"order": study} if name in ("link", "unlink") else {}
        told = refused(lambda: act(name, study, role="ops", **more))  # noqa: B023
        assert told == ("not_authorised", ""), name
    assert refused(lambda: act("clear_flag", study, role="reader"))[0] == "not_authorised"
    assert refused(lambda: act("pin", study, reason=" ")) == ("reason_required", "")
    assert refused(lambda: act("pin", "0" * 24)) == ("not_found", "")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM fact WHERE type = 'ActDone'")) == 0
        assert connection.scalar(text("SELECT count(*) FROM outbox WHERE kind = 'act'")) == 0


def test_a_pin_goes_first_and_another_persons_is_for_a_lead(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.series("1.1"), make.series("1.2", at=20), make.order("A3", patient="P3"))
    study = rows()["1.2"]["study"]
    assert refused(lambda: act("pin", rows()["A3"]["study"])) == ("not_readable", "")
    assert refused(lambda: act("unpin", study)) == ("not_pinned", "")
    act("pin", study, role="reader")
    shown = rows()["1.2"]
    assert (shown["lane"], shown["pinned_by"], shown["pinned_reason"]) == (0, "anna", "because")
    assert refused(lambda: act("unpin", study, actor="bert", role="reader"))[0] == "not_authorised"
    assert refused(lambda: act("unpin", study, actor="bert", reason="")) == ("reason_required", "")
    act("unpin", study, role="reader", reason="")
    assert rows()["1.2"]["lane"] == 2
    act("pin", study)
    act("unpin", study, actor="bert")
    assert rows()["1.2"]["pinned_by"] == ""


def test_a_cleared_flag_is_withdrawn_by_whom_and_why_and_only_that_one(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    """R9, L4: what is flagged later, on another series or other images, flags again."""
    first = make.series("1.1", n=2)
    feed(first, make.finding(of=first))
    study = rows()["1.1"]["study"]
    assert rows()["1.1"]["ai"] == "flagged"
    act("clear_flag", study)
    shown = rows()["1.1"]
    assert (shown["ai"], shown["flags"]) == ("withdrawn", [])
    assert (shown["cleared_by"], shown["cleared_reason"]) == ("anna", "because")
    assert refused(lambda: act("clear_flag", study)) == ("not_flagged", "")
    feed(make.finding(of=first, at=30))
    assert rows()["1.1"]["ai"] == "withdrawn", "the same result said again is the same"
    other = make.series("1.1", series="2", at=20)
    feed(other, make.finding(of=other, at=21))
    assert rows()["1.1"]["ai"] == "flagged"
    act("clear_flag", study)
    more = make.series("1.1", n=3, at=40)
    feed(more, make.finding(of=more, at=41))
    assert rows()["1.1"]["ai"] == "flagged"


def test_a_lead_sets_a_priority_that_stands_until_somebody_orders_anew(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.order("A1", priority="stat"), make.series("1.1", accession="A1"))
    study = rows()["1.1"]["study"]
    assert refused(lambda: act("set_priority", study, code="soonish")) == ("bad_code", "")
    act("set_priority", study, code="routine")
    assert (rows()["1.1"]["order_class"], rows()["1.1"]["lane"]) == ("routine", 2)
    late = 60 * 24 * 3650
    feed(make.order("A1", priority="stat", at=late))
    assert rows()["1.1"]["lane"] == 2, "the sender only says again what it said"
    feed(make.order("A1", priority="urgent", at=late + 1))
    assert rows()["1.1"]["order_class"] == "urgent"


def test_a_historic_study_is_promoted_and_no_other(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    from tests.worklist.conftest import T0

    old = make.series("1.1", kind="archive", acquired_at=T0.replace(year=2020))
    feed(old, make.series("1.2", patient="P2"))
    assert rows()["1.1"]["state"] == "historic"
    assert refused(lambda: act("promote", rows()["1.2"]["study"])) == ("not_historic", "")
    done = act("promote", rows()["1.1"]["study"], role="reader")
    assert done.open
    assert rows()["1.1"]["state"] == "readable"


def test_a_film_of_a_dead_clock_is_listed_and_marked(make: Make, feed: Feed, rows: Rows) -> None:
    """R10."""
    from tests.worklist.conftest import T0

    feed(make.series("1.1", kind="modality", acquired_at=T0.replace(year=2000)))
    shown = rows("readable")["1.1"]
    assert shown["marks"] == ["doubtful_clock"]


def test_a_cancelled_order_with_images_leaves_when_a_person_confirms(
    make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.order("A1"), make.series("1.1", accession="A1"))
    study = rows()["1.1"]["study"]
    assert refused(lambda: act("confirm_cancel", study)) == ("not_cancelled", "")
    feed(make.order("A1", at=20, status="cancelled", bare=True))
    assert rows()["1.1"]["marks"] == ["cancelled_images_exist"]
    assert not act("confirm_cancel", study).open
    assert rows()["1.1"]["state"] == "cancelled"


def test_an_outcome_is_noted_on_open_and_closed_rows(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.series("1.1"))
    study = rows()["1.1"]["study"]
    assert refused(lambda: act("outcome", study)) == ("bad_code", "")
    act("outcome", study, code="called", reason="")
    read_it(engine, act, study)
    assert act("outcome", study, code="callback", reason="").open is False
    assert rows()["1.1"]["outcome"] == "callback"
    assert act("skip", study, reason="").open is False


def test_a_finished_row_is_reopened_or_undone(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    """L3."""
    feed(make.series("1.1"))
    study = rows()["1.1"]["study"]
    assert refused(lambda: act("reopen", study)) == ("not_closed", "")
    read_it(engine, act, study)
    assert refused(lambda: act("pin", study)) == ("finished", "anna")
    assert refused(lambda: act("undo", study, actor="bert")) == ("not_found", "")
    assert act("undo", study, reason="").open
    assert rows()["1.1"]["finished_by"] == ""
    done = read_it(engine, act, study)
    told = refused(lambda: act("undo", study, actor="bert", undoes=done.act_id))
    assert told == ("not_authorised", ""), "only its author takes it back"
    assert act("reopen", study, role="reader").open
    assert rows()["1.1"]["marks"] == ["new_since_read"]


def test_ten_seconds_later_an_undo_is_too_late(
    engine: Engine,
    make: Make,
    feed: Feed,
    act: Act,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from datetime import timedelta

    from worklist.sql import acts

    feed(make.series("1.1"))
    study = rows()["1.1"]["study"]
    act("pin", study)
    monkeypatch.setattr(acts, "UNDO_FOR", timedelta(0))
    assert refused(lambda: act("undo", study)) == ("too_late", "")
    assert rows()["1.1"]["lane"] == 0


def test_what_a_finish_does_not_cover_comes_back_marked(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    """R8: new images, a withdrawn report; and that the reader had not been shown them."""
    first = make.series("1.1", accession="A1")
    feed(make.order("A1"), first)
    study = rows()["1.1"]["study"]
    take(engine, study)
    feed(make.series("1.1", series="2", at=20))
    assert act("finish", study).open, "as of the claim: the second series came since"
    shown = rows()["1.1"]
    assert shown["marks"] == ["new_since_read"]
    seen = shown["fragments"] + shown["reports"] + ["f" * 32]
    take(engine, study)
    assert not act("finish", study, seen=seen).open
    assert rows()["1.1"]["finished_by"] == "anna"
    year = 60 * 24 * 365
    feed(make.report("A1", "final", at=year))
    assert rows()["1.1"]["state"] == "final"
    feed(make.report("A1", "withdrawn", at=year + 5))
    shown = rows()["1.1"]
    assert shown["open"]
    assert set(shown["marks"]) >= {"new_since_read", "report_withdrawn"}


def test_a_finish_covers_nothing_of_another_row_whatever_the_reader_says_to_have_seen(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    feed(make.series("1.1", accession="A1"), make.series("1.2", patient="P2", accession="A1"))
    mine, other = rows()["1.1"], rows()["1.2"]
    take(engine, mine["study"])
    act("finish", mine["study"], seen=mine["fragments"] + other["fragments"])
    assert list(rows("readable")) == ["1.2"] or rows()["1.2"]["open"]
    assert rows()["1.2"]["finished_by"] == ""


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


def test_an_act_on_one_row_changes_no_other_however_close(
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
        ("outcome", {"code": "called"}),
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
