"""Who enters, on a real server: the route × role matrix, log-in and -out, CSRF, the open demo."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from streams.identity.seal import KeyRing
from tests.worklist.web_client import TOKENS, as_role, bearer, serving, sign_in, web_settings
from worklist.web.app import create_app
from worklist.web.door.auth import ACCESS, Role


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
