"""Browser sessions: kept in the database, known to every process, ended for good."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, text
from typer.testing import CliRunner

from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed
from tests.worklist.conftest import Make as Made
from tests.worklist.web_client import TOKENS, as_role, serving, sign_in, wait_for, web_settings
from worklist.sql.database import make_engine
from worklist.sql.people import accounts
from worklist.web.commands import app as commands
from worklist.web.door.auth import Person, Role
from worklist.web.door.sessions import ABSOLUTE, IDLE, Sessions

ANNE = Person("anne", Role.READER, "k" * 32)
OURS = {"sec-fetch-site": "same-origin"}


class Clock:
    """Both clocks of a process, moved by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def ticks(self) -> float:
        return self.now().timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[[], Sessions]


@pytest.fixture
def process(engine: Engine, clock: Clock) -> Make:
    """Another web process's sessions, on the same database."""
    return lambda: Sessions(engine, b"s" * 32, clock.now, clock.ticks)


def test_a_session_lives_for_its_two_lifetimes(process: Make, clock: Clock) -> None:
    sessions = process()
    cookie, session = sessions.start(ANNE)
    assert sessions.read(cookie) == session
    clock.ahead = IDLE + timedelta(seconds=1)
    assert sessions.read(cookie) is None
    clock.ahead = IDLE - timedelta(minutes=1)
    assert process().read(cookie) is not None
    clock.ahead = ABSOLUTE + timedelta(seconds=1)
    assert process().read(cookie) is None


def test_a_page_that_only_lies_open_keeps_no_session_alive(
    engine: Engine, process: Make, clock: Clock
) -> None:
    sessions = process()
    left, used = sessions.start(ANNE)[0], sessions.start(ANNE)[0]
    alive = []
    for _ in range(5):
        with engine.begin() as connection:
            connection.execute(text("UPDATE session SET seen_at = seen_at - interval '30 min'"))
        clock.ahead += timedelta(seconds=3)
        alive.append(sessions.read(left, used=False) is not None)
        assert sessions.read(used) is not None
    assert alive == [True, True, True, False, False]


def test_a_logout_holds_in_every_process_and_after_a_restart(process: Make, clock: Clock) -> None:
    one, other = process(), process()
    cookie, session = one.start(ANNE)
    assert other.read(cookie) == session
    one.end(session, "anne")
    assert one.ended(session)
    assert one.read(cookie) is None
    assert not other.ended(session)
    other.look_again()
    assert other.ended(session), "its streams end too"
    clock.ahead = timedelta(seconds=3)
    assert other.read(cookie) is None
    assert process().read(cookie) is None


def test_logging_out_everywhere_ends_all_browsers_of_that_reader_alone(process: Make) -> None:
    sessions = process()
    (_, here), (there, _) = sessions.start(ANNE), sessions.start(ANNE)
    ben, _ = sessions.start(Person("ben", Role.READER, "b" * 32))
    sessions.end(here, "anne", everywhere=True)
    assert sessions.read(there) is None
    assert sessions.read(ben) is not None


def test_while_the_database_is_away_who_was_known_goes_on(
    engine: Engine, process: Make, clock: Clock, database_url: str
) -> None:
    cookie, session = process().start(ANNE)
    away = make_engine(database_url.replace("/postgres?", "/nowhere?"), pool=1)
    sessions = Sessions(away, b"s" * 32, clock.now, clock.ticks)
    sessions._remember(session.id, session)
    clock.ahead = timedelta(minutes=10)
    assert sessions.read(cookie) == session
    asked: list[str] = []
    event.listen(away, "do_connect", lambda *_: asked.append("again"))
    for _ in range(5):
        assert sessions.read(cookie) == session
    assert asked == [], "one that does not answer is not asked by each request"
    away.dispose()


@pytest.mark.parametrize("cookie", ["", ".", "x.y", "é.é", "a" * 5000, "' OR 1=1 --"])
def test_a_cookie_that_is_not_ours_opens_nothing(process: Make, cookie: str) -> None:
    assert process().read(cookie) is None


def test_csrf_belongs_to_one_session_and_never_looks_the_same_twice(process: Make) -> None:
    sessions = process()
    (_, one), (_, two) = sessions.start(ANNE), sessions.start(ANNE)
    assert sessions.csrf_matches(one, sessions.csrf(one))
    assert process().csrf_matches(one, sessions.csrf(one))
    assert not sessions.csrf_matches(one, sessions.csrf(two))
    assert not any(sessions.csrf_matches(one, sent) for sent in ("", "é", "ab", "abc", "00" * 64))
    assert sessions.csrf(one) != sessions.csrf(one), "lengths of compressed pages tell nothing"


def test_the_cookie_is_not_in_the_database(process: Make, engine: Engine) -> None:
    cookie, _ = process().start(ANNE)
    with engine.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM session")).all()
    assert cookie not in str(row)


def test_logging_out_everywhere_by_the_page(client: httpx.Client) -> None:
    sign_in(client)
    other = client.cookies["vigie_session"]
    client.cookies.clear()
    csrf = sign_in(client)
    client.post("/logout", data={"csrf": csrf, "everywhere": "1"}, headers=OURS)
    client.cookies.set("vigie_session", other)
    assert client.get("/", follow_redirects=False).headers["location"] == "/login"


def test_failed_logins_are_answered_later_each_time_counted_and_written_down(
    client: httpx.Client, engine: Engine
) -> None:
    def attempt(token: str) -> float:
        return client.post("/login", data={"token": token}, headers=OURS).elapsed.total_seconds()

    took = [attempt(f"guess number {n}") for n in range(3)]
    assert all(seconds >= 0.25 * 2**n for n, seconds in enumerate(took))
    assert client.post("/login", data={"token": TOKENS["reader"]}, headers=OURS).is_redirect, (
        "nobody is locked out"
    )
    assert 'vigie_logins_total{result="unknown"}' in client.get("/metrics").text
    with engine.connect() as connection:
        acts = connection.scalars(text("SELECT act FROM audit WHERE act LIKE 'log%' ORDER BY id"))
        assert acts.all() == ["login_failed"] * 3 + ["login"]
        assert "guess" not in str(connection.execute(text("SELECT * FROM audit")).all())


def test_a_reader_is_added_and_disabled_by_command_while_the_page_runs(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path
) -> None:
    def vigie(*words: str) -> str:
        done = CliRunner().invoke(
            commands, ["readers", *words], env={"VIGIE_DATABASE": database_url}
        )
        assert done.exit_code == 0, done.output
        return done.output

    with serving(web_settings(database_url, tmp_path, ring)) as (_, client):
        token = vigie("add", "dr.new", "--actor", "anna", "--role", "lead").strip()
        asked = {"authorization": f"Bearer {token}"}
        wait_for(lambda: client.get("/api/v1/worklist", headers=asked).status_code == 200)
        assert vigie("list") == "dr.new\tlead\tenabled\n"
        client.post("/login", data={"token": token}, headers=OURS)
        assert client.get("/").status_code == 200
        vigie("disable", "dr.new", "--actor", "anna")
        vigie("disable", "reader1", "--actor", "anna")
        wait_for(lambda: client.get("/api/v1/worklist", headers=asked).status_code == 401)
        assert client.get("/", follow_redirects=False).headers["location"] == "/login"
        of_file = {"authorization": f"Bearer {TOKENS['reader']}"}
        assert client.get("/api/v1/worklist", headers=of_file).status_code == 401


def test_the_open_stream_of_who_is_disabled_ends_by_token_and_by_session(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path
) -> None:
    with serving(web_settings(database_url, tmp_path, ring)) as (app, client), ExitStack() as open_:
        sign_in(client)
        cookie = {"cookie": f"vigie_session={client.cookies['vigie_session']}"}
        client.cookies.clear()
        for headers in (cookie, as_role("reader"), as_role("lead")):
            stream = client.stream("GET", "/api/v1/events", headers=headers)
            assert open_.enter_context(stream).status_code == 200
        wait_for(lambda: app.state.feed.followers == 3, 20)
        with engine.begin() as connection:
            accounts.disable(connection, "reader1", "anna")
        wait_for(lambda: app.state.feed.followers == 1, 20)


@pytest.mark.parametrize(
    ("role", "status", "where"), [("ops", 303, "/ops"), ("admin", 303, "/ops"), ("lead", 303, "/")]
)
def test_who_logs_in_comes_to_a_page_that_they_may_see(
    client: httpx.Client, role: str, status: int, where: str
) -> None:
    answer = client.post("/login", data={"token": TOKENS[role]}, headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (status, where)
    assert client.get(where).status_code == 200


def test_a_programs_token_opens_no_page_and_is_told_why(client: httpx.Client) -> None:
    answer = client.post("/login", data={"token": TOKENS["service"]}, headers=OURS)
    assert answer.status_code == 403
    assert "is a program’s" in answer.text
    assert "vigie_session" not in client.cookies


@pytest.mark.parametrize("path", ["/list", "/studies/{study}", "/"])
def test_a_page_that_reads_itself_anew_keeps_no_session_alive(
    client: httpx.Client, engine: Engine, make: Made, feed: Feed, path: str
) -> None:
    feed(make.series())
    sign_in(client)
    (row,) = client.get("/api/v1/worklist").json()["items"]
    before = text("UPDATE session SET seen_at = seen_at - interval '70 minutes'")
    with engine.begin() as connection:
        connection.execute(before)
    by_itself = {"x-vigie-by-itself": "1"} if path != "/list" else {}

    def idle() -> bool:
        with engine.connect() as connection:
            words = "SELECT clock_timestamp() - seen_at > interval '1 hour' FROM session"
            return bool(connection.scalar(text(words)))

    wait_for(lambda: client.get(path.format(study=row["study"]), headers=by_itself).is_success)
    app: Any = client.app_state  # type: ignore[attr-defined]
    app.access.sessions.look_again()
    client.get(path.format(study=row["study"]), headers=by_itself)
    assert idle()
    client.get("/")
    assert not idle(), "its reader does"


def test_no_free_connection_is_a_database_that_is_away_and_ends_no_process(
    database_url: str, process: Make, clock: Clock
) -> None:
    cookie, session = process().start(ANNE)
    busy = make_engine(database_url, pool=1)
    sessions = Sessions(busy, b"s" * 32, clock.now, clock.ticks)
    sessions._remember(session.id, session)
    with busy.connect(), busy.connect():
        sessions.look_again()
        assert sessions.read(cookie) == session
    busy.dispose()
