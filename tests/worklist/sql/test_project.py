"""The one transaction: promises 2, 3 and 5 on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from streams.errors import Reason, VigieError
from streams.events import Event
from streams.seal import KeyRing
from tests.worklist.conftest import Feed, Make, empty
from worklist.order.policy import Policy
from worklist.sql import leases, queue
from worklist.sql.invariants import violations
from worklist.sql.project import Identities, apply


def rows(engine: Engine) -> list[dict[str, Any]]:
    """All rows by what they say; the stable name is chosen at first sight and may differ with the
    order of arrival.
    """
    with engine.connect() as connection:
        items = queue.listing(connection, state="all", limit=10_000).items
    return [{k: v for k, v in item.items() if k not in ("study", "changed")} for item in items]


def test_promise_2_an_order_alone_is_on_the_list_and_cannot_be_read(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order())
    (row,) = rows(engine)
    assert (row["state"], row["lane"], row["ai"]) == ("expected", 3, "pending")
    with engine.begin() as connection:
        assert leases.next_study(connection, "r", 60) is None


def test_promise_2_an_image_alone_is_on_the_list_before_any_ai(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series())
    (row,) = rows(engine)
    assert (row["state"], row["lane"], row["ai"]) == ("readable", 2, "pending")


def test_promise_2_a_cancel_after_images_keeps_the_row(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accessions=("A1",)), make.order(at=30, status="cancelled"))
    (row,) = rows(engine)
    assert row["state"] == "readable"
    assert "cancelled_images_exist" in row["marks"]


def test_promise_2_a_cancel_before_images_takes_the_row_off(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order(at=30, status="cancelled"), make.order())
    (row,) = rows(engine)
    assert row["state"] == "cancelled"


def test_promise_3_a_flag_stays_whatever_comes_later(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series(), make.finding(flagged=True))
    (before,) = rows(engine)
    feed(
        make.series(n=3, at=20),
        make.finding(flagged=False, at=21, input_digest="ab" * 16, package_version="2"),
    )
    (after,) = rows(engine)
    assert before["ai"] == after["ai"] == "flagged"
    assert after["due_at"] <= before["due_at"]


def test_promise_3_not_flagged_changes_nothing_in_the_order(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series())
    (before,) = rows(engine)
    feed(make.finding(flagged=False))
    (after,) = rows(engine)
    assert after["ai"] == "not_flagged"
    assert (after["lane"], after["due_at"]) == (before["lane"], before["due_at"])


def test_an_order_and_its_images_are_one_row_whichever_comes_first(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series(accessions=("A1",)), make.order())
    (row,) = rows(engine)
    assert (row["accession"], row["study_uid"], row["description"]) == ("A1", "1.2.1", "CT head")


def test_several_accessions_read_as_one_are_one_row(engine: Engine, make: Make, feed: Feed) -> None:
    feed(make.order("A1"), make.order("A2", at=1), make.series(accessions=("A1", "A2")))
    (row,) = rows(engine)
    assert row["accessions"] == ["A1", "A2"]


def test_one_accession_with_two_studies_is_two_rows_claimed_together(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(
        make.order(),
        make.series("1.2.1", accessions=("A1",)),
        make.series("1.2.2", accessions=("A1",)),
    )
    assert len(rows(engine)) == 2
    with engine.begin() as connection:
        assert leases.next_study(connection, "r", 60) is not None
        assert leases.next_study(connection, "other", 60) is None


def test_another_patient_under_the_same_accession_is_never_linked(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order(patient="P1"), make.series(accessions=("A1",), patient="P2"))
    two = rows(engine)
    assert len(two) == 2
    assert all("identity_conflict" in row["marks"] for row in two)


def test_a_merge_that_comes_first_links_what_comes_later(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(
        make.merge("P1", "P2"),
        make.order(patient="P1"),
        make.series(accessions=("A1",), patient="P2"),
    )
    (row,) = rows(engine)
    assert row["patient_id"] == "P1"
    assert "identity_conflict" not in row["marks"]


def test_reports_move_the_state(engine: Engine, make: Make, feed: Feed) -> None:
    feed(make.order(), make.series(accessions=("A1",)), make.report(status="preliminary", at=30))
    assert rows(engine)[0]["state"] == "preliminary"
    feed(make.report(status="final", at=40))
    assert rows(engine)[0]["state"] == "final"
    feed(make.report(status="cancelled", at=50))
    assert rows(engine)[0]["state"] == "readable"


def test_images_after_the_final_report_are_told(engine: Engine, make: Make, feed: Feed) -> None:
    feed(
        make.order(),
        make.series(accessions=("A1",)),
        make.report(at=30),
        make.series(n=2, at=40, accessions=("A1",)),
    )
    (row,) = rows(engine)
    assert "new_images_since_report" in row["marks"]


STORY = (
    "order",
    "series",
    "more",
    "flag",
    "unflag",
    "report",
    "merge",
    "adt",
    "cancel",
    "exam",
    "second",
    "elsewhere",
)


def story(make: Make) -> dict[str, Event]:
    return {
        "order": make.order(),
        "series": make.series(accessions=("A1",)),
        "more": make.series(n=3, at=14, accessions=("A1",)),
        "flag": make.finding(),
        "unflag": make.finding(flagged=False, at=15, input_digest="cd" * 16),
        "report": make.report(status="preliminary"),
        "merge": make.merge("P1", "P9"),
        "adt": make.patient(location="icu"),
        "cancel": make.order(at=50, status="cancelled"),
        "exam": make.exam(at=13),
        "second": make.order("A2", at=3, study_uids=("1.2.1",)),
        "elsewhere": make.order("A3", at=4, patient="P9", priority="stat"),
    }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_promise_5_any_permutation_and_duplication_gives_the_same_rows(
    session_engine: Engine, make: Make, policy: Policy, ring: KeyRing, data: st.DataObject
) -> None:
    events = story(make)
    chosen = data.draw(st.lists(st.sampled_from(STORY), min_size=1, unique=True))
    shuffled = data.draw(
        st.permutations(chosen + data.draw(st.lists(st.sampled_from(chosen), max_size=4)))
    )
    results = []
    for names in (chosen, shuffled):
        empty(session_engine, policy)
        for name in names:
            with session_engine.begin() as connection:
                apply(connection, [events[name]], policy=policy, identities=Identities(ring))
        results.append(rows(session_engine))
    empty(session_engine, policy)
    with session_engine.begin() as connection:
        apply(connection, [events[n] for n in shuffled], policy=policy, identities=Identities(ring))
    results.append(rows(session_engine))
    assert results[0] == results[1] == results[2]


def test_a_seal_that_does_not_open_is_parked(
    engine: Engine, make: Make, policy: Policy, ring: KeyRing
) -> None:
    broken = make.order().model_copy(update={"identity": "k1.AAAA"})
    with pytest.raises(VigieError) as error, engine.begin() as connection:
        apply(connection, [broken], policy=policy, identities=Identities(ring))
    assert error.value.reason is Reason.BAD_SEAL
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM fact")) == 0


def test_promise_3_what_was_scored_in_shadow_is_recorded(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series(patient=None), make.finding(constancy=False))
    with engine.connect() as connection:
        kept = connection.scalar(text("SELECT body FROM fact WHERE type = 'FindingsMade'"))
        assert violations(connection) == {}
        assert queue.listing(connection).items[0]["ai"] == "not_analysed"
    assert (kept["outcome"], kept["constancy"], kept["findings"][0]["probability"]) == (
        "flagged",
        False,
        0.9,
    )
