"""The list read: pages, filters, one row by any name, what changed; and what that costs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, Engine, text

from tests.worklist.conftest import Feed, Make
from worklist.order.policy import Policy
from worklist.sql import counts, queue
from worklist.sql.queue import QueueError, Since, changes_since, detail, head_seq, listing
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as one:
        yield one


def hospital(make: Make, count: int) -> list[Any]:
    """So many patients with an order and images each, in no order of time."""
    events: list[Any] = []
    for number in range(count):
        at = (number * 7) % count
        priority = ("stat", "routine", "urgent")[number % 3]
        who = f"P{number}"
        events.append(make.order(f"A{number}", at=at, patient=who, priority=priority))
        if number % 4:
            events.append(
                make.series(f"1.{number}", at=at + 5, patient=who, accession=f"A{number}")
            )
    return events


def test_pages_follow_one_another_in_reading_order_without_gap(
    engine: Engine, make: Make, policy: Policy, opener: Opener
) -> None:
    with engine.begin() as connection:
        apply(connection, hospital(make, 40), policy=policy, opener=opener)
    with engine.begin() as connection:
        whole = listing(connection, limit=1000)
        found, cursor = [], None
        while True:
            page = listing(connection, limit=7, cursor=cursor)
            found += page.items
            cursor = page.next
            if cursor is None:
                break
    places = [(r["lane"], r["due_at"], r["received_at"], r["study"]) for r in whole.items]
    assert len(places) == 40
    assert places == sorted(places)
    assert [row["study"] for row in found] == [row["study"] for row in whole.items]


def test_filters_find_open_and_closed_rows_by_any_of_their_numbers(
    connection: Connection, make: Make, feed: Feed
) -> None:
    old = make.order("OLD").numbers[1:]
    feed(
        make.order("A1", previous=old),
        make.series("1.2.1", accession="A1"),
        make.series("1.2.9", accession="A9", patient="P9"),
        make.report("A1"),
    )
    assert [r["study_uid"] for r in listing(connection).items] == ["1.2.9"]
    assert listing(connection, accession="A1").items == []
    for number in ("A1", "OLD"):
        (row,) = listing(connection, state="all", accession=number).items
        assert (row["study_uid"], row["state"], row["open"]) == ("1.2.1", "final", False)
    (row,) = listing(connection, state="all", study_uid="1.2.1").items
    assert [r["study"] for r in listing(connection, state="final").items] == [row["study"]]
    assert len(listing(connection, state="all").items) == 2
    assert [r["study_uid"] for r in listing(connection, state="readable").items] == ["1.2.9"]
    assert listing(connection, state="cancelled").items == []
    for wrong in ("", "open", "gone'"):
        with pytest.raises(QueueError, match="bad_state"):
            listing(connection, state=wrong)
    for wrong in ("e30=", "%%%", "WzEsMl0="):
        with pytest.raises(QueueError, match="bad_cursor"):
            listing(connection, cursor=wrong)


@pytest.mark.parametrize(
    "place",
    [
        [10**18, "2026-03-14T09:00:00Z", "2026-03-14T09:00:00Z", "a"],
        [-1, "2026-03-14T09:00:00Z", "2026-03-14T09:00:00Z", "a"],
        [2, "2026-03-14", "2026-03-14T09:00:00", "a"],
        [2, "2026-03-14T09:00:00Z", "2026-03-14T09:00:00Z", "a\0"],
        [2, "2026-03-14T09:00:00Z", "2026-03-14T09:00:00Z", None],
        [2, 7, {}, "a"],
        [[], "2026-03-14T09:00:00Z", "2026-03-14T09:00:00Z", "a"],
    ],
)
def test_a_cursor_that_somebody_made_up_is_refused_before_the_database_sees_it(
    connection: Connection, place: list[Any]
) -> None:
    with pytest.raises(QueueError, match="bad_cursor"):
        listing(connection, cursor=base64.urlsafe_b64encode(orjson.dumps(place)).decode())


def test_all_pages_of_open_and_closed_rows_join_in_reading_order(
    connection: Connection, make: Make, feed: Feed
) -> None:
    feed(*hospital(make, 12))
    feed(*(make.report(f"A{n}", patient=f"P{n}") for n in range(0, 12, 2)))
    found, cursor = [], None
    while True:
        page = listing(connection, state="all", limit=5, cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    places = [(r["lane"], r["due_at"], r["received_at"], r["study"]) for r in found]
    assert places == sorted(places)
    assert len({row["study"] for row in found}) == 12


def test_several_pools_are_one_list(connection: Connection, make: Make, feed: Feed) -> None:
    pools = [("north", "neuro"), ("north", "chest"), ("south", "neuro")]
    for number in range(12):
        site, subspecialty = pools[number % 3]
        at, who = (number * 5) % 12, f"P{number}"
        feed(
            make.order(f"A{number}", at=at, patient=who, site=site, subspecialty=subspecialty),
            make.series(f"1.{number}", at=at + 3, patient=who, accession=f"A{number}"),
        )
    wanted = [r for r in listing(connection).items if (r["site"], r["subspecialty"]) in pools[:2]]
    found, cursor = [], None
    while True:
        page = listing(connection, limit=3, pools=pools[:2], cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert [row["study"] for row in found] == [row["study"] for row in wanted]
    assert len(found) == 8


def test_a_row_answers_to_its_name_and_to_every_member(
    connection: Connection, make: Make, feed: Feed
) -> None:
    feed(make.series("1.2.1", at=10, accession="A1"))
    before = listing(connection).items[0]["study"]
    feed(make.order("A1", at=0))
    (row,) = listing(connection).items
    assert row["study"] != before, "its earliest member gives it its name"
    shown = detail(connection, before)
    assert shown["study"] == row["study"]
    assert before in shown["members"]
    for member in shown["members"]:
        assert detail(connection, member)["study"] == row["study"]
    feed(make.report("A1"))
    for member in shown["members"]:
        assert detail(connection, member)["state"] == "final"
    with pytest.raises(QueueError, match="not_found"):
        detail(connection, "0" * 24)


def test_each_row_s_cursor_says_how_many_are_read_before_what_follows(
    connection: Connection, make: Make, feed: Feed
) -> None:
    feed(*hospital(make, 9))
    pages = [listing(connection, limit=rows).next or "" for rows in range(1, 9)]
    assert [queue.before(connection, cursor) for cursor in pages] == list(range(1, 9))


def test_a_page_says_how_many_are_read_before_it_whatever_came_since(
    connection: Connection, make: Make, feed: Feed
) -> None:
    feed(*hospital(make, 9))
    cursor = listing(connection, limit=4).next or ""
    assert queue.before(connection, cursor) == 4
    feed(
        make.order("S", patient="P99", priority="stat", at=90),
        make.series("1.99", patient="P99", accession="S", at=91),
    )
    assert queue.before(connection, cursor) == 5
    with pytest.raises(QueueError, match="bad_cursor"):
        queue.before(connection, "x")


def test_changes_are_told_once_each_and_none_is_skipped_where_many_have_one_stamp(
    engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener
) -> None:
    with engine.begin() as connection:
        seq = head_seq(connection)
    with engine.begin() as connection:  # one transaction: all rows have one stamp (R22)
        apply(connection, hospital(make, 10), policy=policy, opener=opener)
    told: list[str] = []
    for _ in range(20):
        with engine.begin() as connection:
            step = changes_since(connection, seq, limit=3)
        told += [row["study"] for row in step.items]
        assert step.gone == []
        seq = step.seq
        if not step.full:
            break
    with engine.begin() as connection:
        assert sorted(told) == sorted(r["study"] for r in listing(connection).items)
        assert changes_since(connection, seq).items == []
    feed(make.report("A1", patient="P1"))
    with engine.begin() as connection:
        step = changes_since(connection, queue.since(str(seq)))
        (row,) = listing(connection, state="final").items
        assert (step.items, step.gone) == ([], [row["study"]])
    for wrong in ("", "x", "-1.a"):
        with pytest.raises(QueueError, match="bad_cursor"):
            queue.since(wrong)


def test_a_change_of_a_transaction_that_is_older_and_still_open_is_not_passed_over(
    engine: Engine, make: Make, policy: Policy, opener: Opener, feed: Feed
) -> None:
    with engine.begin() as connection:
        seq = head_seq(connection)
    with engine.connect() as slow:
        apply(slow, [make.series("1.1", patient="P1")], policy=policy, opener=opener)
        feed(make.series("1.2", patient="P2"))
        with engine.begin() as connection:
            step = changes_since(connection, seq)
        assert (step.items, step.gone) == ([], []), "the younger one waits for the older one"
        slow.commit()
    with engine.begin() as connection:
        step = changes_since(connection, step.seq)
    assert sorted(row["study_uid"] for row in step.items) == ["1.1", "1.2"]


def test_a_claim_is_told_to_followers_and_a_renewal_is_not(
    engine: Engine, make: Make, feed: Feed
) -> None:
    from worklist.sql import leases

    feed(make.series())
    with engine.begin() as connection:
        seq = head_seq(connection)
        claim = leases.next_study(connection, "anna", 60)
    assert claim is not None
    with engine.begin() as connection:
        step = changes_since(connection, seq)
        assert [row["claimed_by"] for row in step.items] == ["anna"]
        before = leases.renew(connection, claim.study, claim.token, 60)
        assert before > claim.expires_at
    with engine.begin() as connection:
        assert changes_since(connection, step.seq).items == []
        leases.release(connection, claim.study, "anna", claim.token)
    with engine.begin() as connection:
        (row,) = changes_since(connection, step.seq).items
        assert (row["claimed_by"], row["opened_by"]) == (None, None)


def test_counts_are_those_of_the_list_whatever_happened_and_after_they_were_folded(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*hospital(make, 12))
    feed(make.finding("1.1", patient="P1"), make.report("A2", patient="P2"))
    for _ in range(2):
        with engine.begin() as connection:
            rows = listing(connection).items
            depths = {depth.lane: depth for depth in counts.depths(connection)}
            for lane in range(4):
                mine = [row for row in rows if row["lane"] == lane]
                assert depths[lane].unread == len(mine)
                assert depths[lane].overdue == len(mine), "they are of last year"
            assert counts.flagged(connection) == 1
            final = [t for t in counts.tallies(connection) if t.state == "final"]
            assert sum(t.rows for t in final) == 1
            counts.fold(connection)
    with engine.begin() as connection:
        assert counts.fold(connection) == len(counts.tallies(connection))


def test_two_folds_at_once_lose_no_count(engine: Engine, make: Make, feed: Feed) -> None:
    feed(*hospital(make, 12))

    def fold() -> None:
        for _ in range(10):
            with engine.begin() as connection:
                counts.fold(connection)

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(fold) for _ in range(4)]:
            each.result()
    with engine.begin() as connection:
        assert sum(tally.rows for tally in counts.tallies(connection)) == 12


def test_packages_that_have_looked_are_named_once(
    connection: Connection, make: Make, feed: Feed
) -> None:
    assert counts.packages(connection) == []
    feed(
        make.finding("1.1", patient="P1"),
        make.finding("1.2", patient="P2"),
        make.finding("1.3", patient="P3", package="chest", package_version="2"),
        make.finding("1.4", patient="P4", package="chest", package_version="3"),
        make.finding("1.5", patient="P5", package="", package_version=""),
    )
    assert counts.packages(connection) == [("chest", "2"), ("chest", "3"), ("head-ct-ich", "1")]


_FILL = text(
    """INSERT INTO closed (name, closed_at, changed, {list})
       SELECT md5(n::text || :tag), clock_timestamp(), 1, {list}
       FROM closed, generate_series(1, :many) n WHERE state = 'final' LIMIT :many"""
)


def _refresh(engine: Engine) -> dict[str, int]:
    """Buffers that each statement of a refresh touches: what the program really sends."""
    from sqlalchemy import event

    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        sent.append((statement, parameters))

    with engine.begin() as connection:
        event.listen(connection, "before_cursor_execute", note)
        listing(connection, limit=50)
        listing(connection, limit=50, pools=[("", "")])
        changes_since(connection, Since(0))
        counts.depths(connection)
        counts.tallies(connection)
        counts.flagged(connection)
        counts.packages(connection)
        event.remove(connection, "before_cursor_execute", note)
        found = {}
        for number, (statement, parameters) in enumerate(sent):
            cursor = connection.connection.cursor()
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters)
            plan = cursor.fetchone()[0][0]["Plan"]
            touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            found[f"{number} {' '.join(statement.split())[:60]}"] = touched
    return found


def test_a_refresh_reads_no_more_when_ten_times_as_many_rows_are_closed(
    engine: Engine, make: Make, feed: Feed
) -> None:
    from worklist.sql.models import COLUMNS

    feed(*hospital(make, 30))
    feed(make.series("9.9", patient="P99", accession="A99"), make.report("A99", patient="P99"))
    columns = ", ".join(name for name in COLUMNS if name != "changed")
    fill = str(_FILL).format(list=columns)
    cost = []
    for tag, many in (("a", 2_000), ("b", 18_000)):
        with engine.begin() as connection:
            connection.execute(text(fill), {"tag": tag, "many": many})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE closed, item, tally, gone, lease, fact"))
        _refresh(engine)
        cost.append(_refresh(engine))
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE closed"))  # not row by row, as `empty` would
    few, many_closed = cost
    assert few.keys() == many_closed.keys()
    for statement, buffers in few.items():
        assert many_closed[statement] <= buffers * 1.1 + 2, statement
