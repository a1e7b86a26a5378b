"""What gateways say of senders is kept, added up, and nothing of it is lost or counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from streams.errors import Reason
from streams.events import Parked, SenderSeen
from streams.kafka.parked import Entry
from streams.kafka.reading import Part, Record
from streams.senders.site import Sender
from worklist.sql.senders import asking, keeping, silence
from worklist.sql.senders.asking import SenderView
from worklist.sql.senders.heard import Counts, Heard, silences

#: A Wednesday.
NOW = datetime(2026, 3, 11, 12, 0, tzinfo=UTC)
RIS = Sender(name="ris", hl7=("RIS|HOSP",), ae=("RIS_AE",), silent_after_h=6)


def word(
    minute: float = 0,
    count: int = 0,
    last: float | None = None,
    *,
    gateway: str = "g1",
    door: str = "mllp",
    since: datetime = NOW,
    **refusals: int,
) -> SenderSeen:
    return SenderSeen(
        gateway=gateway,
        sender="ris",
        door=door,
        since=since,
        at=NOW + timedelta(minutes=minute),
        last_at=None if last is None else NOW + timedelta(minutes=last),
        answers={"AA": count} if count else {},
        refusals=refusals,
    )


def keep(engine: Engine, *words: SenderSeen) -> None:
    with engine.begin() as connection:
        keeping.keep_words(connection, words, NOW + timedelta(weeks=1))


def shown(engine: Engine, minute: float = 0) -> dict[str, SenderView]:
    """By door."""
    with engine.begin() as connection:
        found = asking.senders(connection, NOW + timedelta(minutes=minute))
    return {view.door: view for view in found}


def judged(engine: Engine, at: datetime, *senders: Sender) -> dict[str, int | None]:
    with engine.begin() as connection:
        silence.judge(connection, senders, at)
    return {door: view.silent_after_s for door, view in shown(engine).items()}


def test_counts_and_rates_of_all_gateways_add_up_and_a_restart_begins_anew(engine: Engine) -> None:
    keep(engine, *(word(minute, 10 * minute, minute, bad_field=1) for minute in range(1, 11)))
    keep(engine, *(word(minute, 20, 3, gateway="g2") for minute in (1, 2)))
    later = NOW + timedelta(minutes=10)
    keep(engine, word(10.5, 25, 10, gateway="g2", since=later))  # more than before, and yet anew
    view = shown(engine, 10)["mllp"]
    assert (view.answers, view.refusals) == ({"AA": 145}, {"bad_field": 1})
    assert view.per_minute == pytest.approx(14.5)
    assert view.last_at == later
    assert shown(engine, 60)["mllp"].per_minute == 0


def test_gateways_of_one_name_are_counted_each_by_itself(engine: Engine) -> None:
    other = NOW - timedelta(minutes=3)
    for minute in range(1, 6):
        keep(engine, word(minute, minute, minute), word(minute, 10, 1, since=other))
    assert shown(engine)["mllp"].answers == {"AA": 15}


def test_a_gateway_whose_clock_runs_ahead_keeps_no_sender_from_being_silent(
    engine: Engine,
) -> None:
    year = 365 * 1440
    with engine.begin() as connection:
        keeping.keep_words(connection, [word(year, 5, year), word(2, 1, 2, gateway="g2")], NOW)
    assert judged(engine, NOW, RIS)["mllp"] == 6 * 3600
    view = shown(engine, 7 * 60)["mllp"]
    assert (view.last_at, view.silent, view.answers) == (NOW, True, {"AA": 6})
    assert shown(engine, 1)["mllp"].per_minute == pytest.approx(6)


def test_doors_of_a_sender_are_told_apart_and_what_says_no_door_is_left(engine: Engine) -> None:
    keep(engine, word(1, 2, 1), word(1, 7, 1, door="dicom"), word(1, 9, 1, door=""))
    assert {door: view.answers["AA"] for door, view in shown(engine).items()} == {
        "mllp": 2,
        "dicom": 7,
    }


counts = st.lists(
    st.tuples(st.sampled_from(["g1", "g2"]), st.integers(0, 3), st.booleans()), max_size=12
)


@given(counts)
def test_totals_are_what_every_gateway_of_every_start_counted(
    said: list[tuple[str, int, bool]],
) -> None:
    heard, last = Heard(NOW), dict[str, Counts]()
    counted, started, came = dict[str, int](), dict[str, int](), 0
    for minute, (gateway, more, again) in enumerate(said):
        if again:
            counted[gateway], started[gateway] = 0, minute
        counted[gateway] = counted.get(gateway, 0) + more
        came += more
        since = NOW + timedelta(minutes=started.get(gateway, 0))
        told = word(minute, counted[gateway], since=since, gateway=gateway)
        heard.hear(told, last.get(gateway))
        last[gateway] = Counts.of(told)
    assert heard.answers.total() == came


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_each_hour_knows_how_long_the_silence_had_become_in_it(gaps: list[int]) -> None:
    spoke = [NOW]
    for gap in gaps:
        spoke.append(spoke[-1] + timedelta(minutes=gap))
    found = [one for since, until in pairwise(spoke) for one in silences(since, until)]
    hours = {hour for hour, _ in found}
    span = int((spoke[-1] - NOW).total_seconds() // 3600)
    assert len(hours) == min(span, len(hours) - 1) + 1
    assert all(hour.minute == 0 for hour in hours)
    for since, until in pairwise(spoke):
        told = list(silences(since, until))
        assert told[-1][1] == (until - since).total_seconds()
        assert [longest for _, longest in told] == sorted(longest for _, longest in told)


def past(weeks: int, *hours: int) -> list[SenderSeen]:
    """A RIS that speaks each day at those hours, until yesterday; one word each time."""
    days = [NOW.replace(hour=0) - timedelta(days=back) for back in range(7 * weeks, 0, -1)]
    at = [day + timedelta(hours=hour) for day in days for hour in hours]
    return [
        word((one - NOW).total_seconds() / 60, number, (one - NOW).total_seconds() / 60)
        for number, one in enumerate(at, 1)
    ]


def test_without_two_weeks_of_history_the_stated_maximum_stands(engine: Engine) -> None:
    keep(engine, *past(1, 8, 10, 12), word(door="dicom"))
    assert judged(engine, NOW, RIS) == {"mllp": 6 * 3600, "dicom": 6 * 3600}
    assert not shown(engine, 5.9 * 60)["dicom"].silent
    assert shown(engine, 6.1 * 60)["dicom"].silent


def test_what_is_usual_differs_by_hour_and_an_outage_or_two_do_not_become_usual(
    engine: Engine,
) -> None:
    told = past(5, 8, 9, 10, 11, 12, 13, 18)
    lost = {NOW.date() - timedelta(days=back) for back in (2, 9)}
    keep(engine, *(one for one in told if one.at.date() not in lost))
    assert judged(engine, NOW.replace(hour=11), RIS)["mllp"] == 3600 * 1.5
    night = judged(engine, NOW.replace(hour=3), RIS)["mllp"]
    assert night == 10 * 3600 * 1.5  # at the end of that hour, since 18:00


def test_a_sender_that_went_off_stays_silent_and_never_becomes_usual(engine: Engine) -> None:
    keep(engine, *past(5, 8, 9, 10, 11, 12, 13, 18))
    for days in range(1, 30):
        later = NOW + timedelta(days=days)
        if (limit := judged(engine, later, RIS)["mllp"]) == 6 * 3600:
            break  # its history is too old
        assert limit is not None
        assert limit < timedelta(days=days).total_seconds()
    assert shown(engine, 29 * 1440)["mllp"].silent


def test_a_sender_that_is_listed_no_more_is_never_silent(engine: Engine) -> None:
    keep(engine, word(1, 1, 1))
    assert judged(engine, NOW, RIS)["mllp"] == 6 * 3600
    assert judged(engine, NOW)["mllp"] is None
    assert not shown(engine, 1e6)["mllp"].silent


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/Guadeloupe"])
def test_hours_alike_are_the_sender_s_own_and_of_such_days(zone: str) -> None:
    here = ZoneInfo(zone)
    # 2026-03-29 the clocks of Paris went forward; a Saturday after, a working day after
    for now, days in ((datetime(2026, 4, 4, 9, 30, tzinfo=UTC), 8), (NOW, 40)):
        found = silence.hours_alike(now, here)
        assert len(found) == days
        assert {one.astimezone(here).hour for one in found} == {now.astimezone(here).hour}
        weekend = {one.astimezone(here).weekday() for one in found}
        assert weekend == ({5} if days == 8 else {0, 1, 2, 3, 4})


def entry(offset: int, reason: Reason = Reason.BAD_FIELD, sender: str = "ris") -> Entry:
    parked = Parked(
        stage="gateway",
        topic="mllp",
        partition=0,
        offset=0,
        key="k",
        reason=reason,
        attempts=1,
        parked_at=NOW + timedelta(minutes=offset),
        sender=sender,
        where="ORC-1",
        original="sealed",
    )
    return Entry(f"0-{offset}", parked)


def test_a_refusal_names_the_newest_of_what_was_kept_of_it(engine: Engine) -> None:
    keep(engine, word(1, 1, 1, bad_field=30))
    part = Part(0, [Record(0, b"")], 41, False)
    entries = [entry(offset) for offset in range(40)] + [entry(40, sender="other")]
    with engine.begin() as connection:
        keeping.keep_parked(connection, 0, part, entries)
        assert len(asking.parked(connection)) == 41
        assert [one.id for one in asking.parked(connection, sender="other")] == ["0-40"]
    view = shown(engine)["mllp"]
    assert [one.id for one in view.parked] == [f"0-{offset}" for offset in range(39, 19, -1)]
    assert "sealed" not in str(view.public())


def test_what_the_topic_no_longer_holds_is_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        keeping.keep_parked(connection, 0, Part(0, [], 3, False), map(entry, range(3)))
        keeping.keep_parked(connection, 0, Part(2, [], 4, False), [entry(3)])
        assert [one.id for one in asking.parked(connection)] == ["0-3", "0-2"]
        anew = Part(-1, [Record(0, b"")], 1, False)
        keeping.keep_parked(connection, 0, anew, [entry(0, Reason.NOT_HL7)])
        assert [one.reason for one in asking.parked(connection)] == ["not_hl7"]


def test_of_two_processes_that_read_the_same_one_keeps_it(engine: Engine) -> None:
    place, part = ("doors", 0), Part(0, [Record(0, b"")], 1, False)
    with engine.begin() as connection:
        assert keeping.position(connection, place) == 0
        assert keeping.go_on(connection, place, 0, part)
        assert not keeping.go_on(connection, place, 0, part)
        assert keeping.position(connection, place) == 1


def test_hours_and_gateways_of_long_ago_are_forgotten(engine: Engine) -> None:
    keep(engine, *past(5, 8, 12), word(1, 1, 1, gateway="g2"))
    with engine.begin() as connection:
        keeping.trim(connection, NOW + timedelta(weeks=9))
        for table in ("sender_hour", "sender_word"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    assert shown(engine)["mllp"].answers["AA"] == 71
