"""What persons do: each act is a fact that replays, is the right of some, and touches one row."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.sql.acting import Act, Rows, read_it, refused, take
from worklist.record.acts import ActName
from worklist.sql.rights import RIGHTS, may, needs_reason


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
    assert reasoned == leads | {"hand_over", "take_over", "promote", "reopen", "pin", "skip"}
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
    assert refused(lambda: act("outcome", study, code="<b>fine</b>")) == ("bad_code", "")
    act("outcome", study, code="referrer_called", reason="")
    read_it(engine, act, study)
    assert act("outcome", study, code="recall_for_images", reason="").open is False
    assert rows()["1.1"]["outcome"] == "recall_for_images"
    assert refused(lambda: act("skip", study, reason="")) == ("reason_required", "")
    assert act("skip", study, reason="priors are missing").open is False


def test_a_finished_row_is_reopened_or_undone(
    engine: Engine, make: Make, feed: Feed, act: Act, rows: Rows
) -> None:
    """L3."""
    feed(make.series("1.1"))
    study = rows()["1.1"]["study"]
    assert refused(lambda: act("reopen", study)) == ("not_closed", "")
    read_it(engine, act, study)
    assert refused(lambda: act("pin", study)) == ("finished", "anna")
    assert refused(lambda: act("undo", study, actor="bert")) == ("nothing_to_undo", "")
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
