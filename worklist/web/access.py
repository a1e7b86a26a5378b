"""Every request: who is it, may they, and did our own page send it. What the table does not allow
is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from fastapi import Request

from worklist.web.auth import (
    CSRF_FIELD,
    CSRF_HEADER,
    SAFE_METHODS,
    SESSION_COOKIE,
    Person,
    Readers,
    Session,
    Sessions,
    allowed,
    is_loopback,
    same_origin,
)
from worklist.web.problems import Problem

FORM = "application/x-www-form-urlencoded"


class LoginNeeded(Exception):
    """A person without a session asked for a page."""


@dataclass(frozen=True)
class Door:
    """What the gate knows: readers, sessions, the clock, and whether the demo stands open on
    loopback.
    """

    readers: Readers
    sessions: Sessions
    now: Callable[[], datetime]
    open_demo: Person | None = None
    secure: bool = False


@dataclass(frozen=True)
class Caller:
    """Who asks, and the browser session if there is one."""

    person: Person
    session: Session | None


def is_api(request: Request) -> bool:
    """Whether the answer is for a program: problem+json, no redirects."""
    return request.url.path.startswith("/api/") or "application/json" in request.headers.get(
        "accept", ""
    )


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form."""
    if not request.headers.get("content-type", "").startswith(FORM):
        return {}
    try:
        return dict(
            parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=20)
        )
    except ValueError:
        raise Problem("bad_request") from None


def remember(request: Request, door: Door, session: Session) -> None:
    """Has the answer carry the session's cookie."""
    secure = "; Secure" if door.secure else ""
    value = door.sessions.cookie(session)
    request.state.set_cookie = f"{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"
    request.state.session = session


async def gate(request: Request) -> None:
    """The dependency of every route."""
    door: Door = request.app.state.door
    name: str = request.scope["route"].name
    now = door.now()
    caller = await _caller(request, door, now)
    request.state.caller = caller
    if allowed(name, caller.person if caller else None):
        return
    if caller is not None:
        raise Problem("not_authorised")
    raise Problem("not_authenticated") if is_api(request) else LoginNeeded


async def _caller(request: Request, door: Door, now: datetime) -> Caller | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        person = door.readers.by_token(token.strip())
        return Caller(person, None) if person else None
    session = door.sessions.read(request.cookies.get(SESSION_COOKIE, ""), now)
    person = door.readers.by_key(session.key) if session else None
    if session is None or person is None:
        return _open_demo(request, door, now)
    if request.method not in SAFE_METHODS:
        await _ours(request, door, session)
    if renewed := door.sessions.renewed(session, now):
        remember(request, door, renewed)
    return Caller(person, session)


def _open_demo(request: Request, door: Door, now: datetime) -> Caller | None:
    """On loopback, asked by its loopback name (no DNS rebinding), the demo's page opens as a lead."""
    here = (
        request.client is not None
        and is_loopback(request.client.host)
        and is_loopback(request.headers.get("host", ""))
    )
    if door.open_demo is None or not here or request.method != "GET" or is_api(request):
        return None
    session = Session.start(door.open_demo, now)
    remember(request, door, session)
    return Caller(door.open_demo, session)


async def _ours(request: Request, door: Door, session: Session) -> None:
    sent = request.headers.get(CSRF_HEADER) or (await form_of(request)).get(CSRF_FIELD, "")
    if not same_origin(dict(request.headers), request.url.scheme) or not door.sessions.csrf_matches(
        session, sent
    ):
        raise Problem("bad_origin")


def caller_of(request: Request) -> Caller:
    """Who asks; only on routes that need somebody."""
    caller: Caller | None = request.state.caller
    if caller is None:
        raise Problem("not_authenticated")
    return caller
