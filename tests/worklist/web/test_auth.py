"""Tokens, sessions, CSRF, and the route × role matrix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from streams.seal import KeyRing
from tests.worklist.web_client import TOKENS, as_role, bearer, serving, sign_in, web_settings
from worklist.web import auth
from worklist.web.app import create_app
from worklist.web.auth import (
    ACCESS,
    Person,
    Role,
    Session,
    Sessions,
    digest,
    is_loopback_host,
    read_readers,
    same_origin,
)

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
ANNE = Person("anne", Role.READER, "k" * 32)


def test_readers_come_from_the_file_by_digest_and_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "readers.toml"
    file.write_text(
        f'[[reader]]\nname = "anne"\nrole = "reader"\nsha256 = "{digest("anne-secret-token")}"\n'
    )
    readers = read_readers(file, "bot:lead:another-secret-token")
    anne, bot = readers.by_token("anne-secret-token"), readers.by_token("another-secret-token")
    assert anne is not None
    assert bot is not None
    assert (anne.name, anne.role, bot.name, bot.role) == ("anne", Role.READER, "bot", Role.LEAD)
    assert readers.by_token(digest("anne-secret-token")) is None
    assert readers.by_token("") is None


@pytest.mark.parametrize(
    "tokens",
    ["bot:lead:short", "bot:king:0123456789abcdef", "0123456789abcdef", ":lead:0123456789abcdef"],
)
def test_tokens_that_are_not_well_formed_refuse_to_start_without_saying_them(
    tmp_path: Path, tokens: str
) -> None:
    with pytest.raises(ValueError, match="VIGIE_TOKENS") as told:
        read_readers(tmp_path / "none.toml", tokens)
    assert "0123456789abcdef" not in str(told.value)


def test_a_readers_file_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "readers.toml"
    file.write_text(
        '[[reader]]\nname = "a"\nrole = "reader"\nsha256 = "x"\ntoken = "secret-in-file"\n'
    )
    with pytest.raises(ValueError, match="sha256") as told:
        read_readers(file, "")
    assert "secret-in-file" not in str(told.value)


def test_a_session_lives_for_its_two_lifetimes_and_until_logout() -> None:
    sessions = Sessions(b"s" * 32)
    session = Session.start(ANNE, NOW)
    cookie = sessions.cookie(session)
    assert sessions.read(cookie, NOW) == session
    assert sessions.read(cookie, NOW + auth.IDLE) is None
    later = sessions.renewed(session, NOW + timedelta(hours=1))
    assert later is not None
    assert sessions.read(sessions.cookie(later), NOW + auth.IDLE) is not None
    kept = Session(
        session.id, session.key, session.started, int((NOW + auth.ABSOLUTE).timestamp()) - 60
    )
    assert (
        sessions.read(sessions.cookie(kept), NOW + auth.ABSOLUTE - timedelta(seconds=1)) is not None
    )
    assert sessions.read(sessions.cookie(kept), NOW + auth.ABSOLUTE) is None
    sessions.end(later)
    assert sessions.read(cookie, NOW) is None
    assert sessions.ended(session)


@pytest.mark.parametrize("cookie", ["", ".", "x.y", "bm90IG91cnM=.abc", "é.é", "a" * 5000])
def test_a_cookie_that_is_not_ours_opens_nothing(cookie: str) -> None:
    assert Sessions(b"s" * 32).read(cookie, NOW) is None


def test_a_cookie_signed_under_another_key_opens_nothing() -> None:
    assert (
        Sessions(b"s" * 32).read(Sessions(b"t" * 32).cookie(Session.start(ANNE, NOW)), NOW) is None
    )


def test_csrf_belongs_to_one_session() -> None:
    sessions = Sessions(b"s" * 32)
    one, two = Session.start(ANNE, NOW), Session.start(ANNE, NOW)
    assert sessions.csrf_matches(one, sessions.csrf(one))
    assert not sessions.csrf_matches(one, sessions.csrf(two))
    assert not sessions.csrf_matches(one, "é")


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "h:1", "origin": "http://h:1"}, True),
        ({"host": "h:1", "origin": "null", "sec-fetch-site": "same-origin"}, True),
        ({"host": "h:1", "origin": "http://h:1", "sec-fetch-site": "cross-site"}, False),
        ({"host": "h:1", "origin": "http://evil"}, False),
        ({"host": "h:1", "origin": "http://evil", "sec-fetch-site": "same-origin"}, False),
        ({"host": "h:1", "origin": "null"}, False),
        ({"host": "h:1", "sec-fetch-site": "none"}, False),
        ({"host": "h:1"}, False),
    ],
)
def test_only_our_own_page_may_act(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(headers, "http") is ours


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:80", True),
        ("localhost:8080", True),
        ("[::1]:80", True),
        ("::1", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_names(host: str, loopback: bool) -> None:
    assert is_loopback_host(host) is loopback


def routes(app: FastAPI) -> list[tuple[str, str, str]]:
    found = []

    def walk(items: list[object]) -> None:
        for route in items:
            if isinstance(route, APIRoute):
                found.extend((method, route.path, route.name) for method in route.methods)
            elif inner := getattr(route, "original_router", None):
                walk(inner.routes)

    walk(list(app.routes))
    return found


@pytest.fixture
def app(database_url: str, ring: KeyRing, tmp_path: Path) -> FastAPI:
    return create_app(web_settings(database_url, tmp_path, ring))


def test_every_route_has_its_roles_and_every_entry_a_route(app: FastAPI) -> None:
    names = {name for _, _, name in routes(app)}
    assert names == set(ACCESS)


@pytest.mark.parametrize("role", [None, *TOKENS])
def test_route_by_role_matrix(app: FastAPI, client: httpx.Client, role: str | None) -> None:
    for method, path, name in routes(app):
        if name == "api_events":
            continue  # a stream without end: its refusal is tested below
        path = path.replace("{study}", "nobody")
        body = {"reason": "x", "token": "y"} if "api" in name else None
        answer = client.request(method, path, headers=as_role(role) if role else {}, json=body)
        roles = ACCESS[name]
        may = roles is None or (role is not None and Role(role) in roles)
        refused = answer.status_code in (401, 403) or (
            answer.status_code == 303 and answer.headers["location"] == "/login"
        )
        assert refused is not may or name in ("login", "logout"), (
            method,
            path,
            role,
            answer.status_code,
        )


def test_the_feed_needs_somebody(client: httpx.Client) -> None:
    assert client.get("/api/v1/events").status_code == 401
    assert client.get("/api/v1/events", headers=as_role("ops")).status_code == 403


def test_an_unknown_token_is_nobody_and_the_answer_does_not_repeat_it(client: httpx.Client) -> None:
    answer = client.get("/api/v1/worklist", headers=bearer("not-a-token-of-anybody"))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "not-a-token" not in answer.text


def test_a_browser_logs_in_once_acts_with_csrf_and_logs_out(client: httpx.Client) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/login"
    csrf = sign_in(client)
    ours = {"sec-fetch-site": "same-origin", "x-vigie-csrf": csrf}
    assert (
        client.post("/next", headers=ours, follow_redirects=False).headers["location"]
        == "/?note=nothing_next"
    )
    assert client.post("/api/v1/next", headers={"sec-fetch-site": "same-origin"}).status_code == 403
    assert (
        client.post("/api/v1/next", headers=ours | {"origin": "http://evil.example"}).status_code
        == 403
    )
    assert (
        client.post("/api/v1/next", headers=ours | {"sec-fetch-site": "cross-site"}).status_code
        == 403
    )
    cookie = client.cookies["vigie_session"]
    assert (
        client.post("/logout", headers=ours, follow_redirects=False).headers["location"] == "/login"
    )
    client.cookies.set("vigie_session", cookie)
    assert client.get("/", follow_redirects=False).headers["location"] == "/login"


def test_the_cookie_cannot_be_read_by_scripts(client: httpx.Client) -> None:
    answer = client.post(
        "/login",
        data={"token": TOKENS["reader"]},
        headers={"sec-fetch-site": "same-origin"},
        follow_redirects=False,
    )
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKENS["reader"] not in cookie
    client.cookies.clear()
    assert (
        client.post(
            "/login", data={"token": "wrong"}, headers={"sec-fetch-site": "same-origin"}
        ).status_code
        == 401
    )
    assert (
        client.post(
            "/login", data={"token": TOKENS["reader"]}, headers={"sec-fetch-site": "cross-site"}
        ).status_code
        == 403
    )


def test_the_open_demo_opens_by_its_loopback_name_only_and_never_for_the_api(
    database_url: str, ring: KeyRing, tmp_path: Path
) -> None:
    with serving(web_settings(database_url, tmp_path, ring, open_demo=True)) as (_, one):
        assert one.get("/").status_code == 200
        one.cookies.clear()
        assert one.get("/", headers={"host": "evil.example"}).headers["location"] == "/login"
        assert one.get("/api/v1/worklist").status_code == 401
        assert one.post("/next").headers["location"] == "/login"
