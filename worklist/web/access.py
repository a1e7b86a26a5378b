"""Every request: who asks, may they, and did our own page send it. What `auth.ACCESS` does not
allow is refused.
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
    is_loopback_host,
    same_origin,
)
from worklist.web.problems import Problem

FORM = "application/x-www-form-urlencoded"


class LoginNeeded(Exception):
    """A person without a session asked for a page."""


@dataclass(frozen=True)
class AccessControl:
    """What decides who enters: the readers, their sessions and the clock.

    `open_demo` is the lead as whom a browser on this machine is signed in without a token; `secure`
    says that cookies travel over TLS only.
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


def access_of(request: Request) -> AccessControl:
    """The access control of the application that serves `request`."""
    access: AccessControl = request.app.state.access
    return access


def caller_of(request: Request) -> Caller:
    """Who asks. Raises Problem `not_authenticated` when nobody is known."""
    caller: Caller | None = request.state.caller
    if caller is None:
        raise Problem("not_authenticated")
    return caller


def is_api(request: Request) -> bool:
    """Whether the answer is for a program: problem+json, no redirects."""
    return request.url.path.startswith("/api/") or "application/json" in request.headers.get(
        "accept", ""
    )


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form. Raises Problem `bad_request` when it is not well formed."""
    if not request.headers.get("content-type", "").startswith(FORM):
        return {}
    try:
        return dict(
            parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=20)
        )
    except ValueError:
        raise Problem("bad_request") from None


def keep_session(request: Request, access: AccessControl, session: Session) -> None:
    """Has the answer set the cookie of `session`."""
    secure = "; Secure" if access.secure else ""
    value = access.sessions.cookie(session)
    request.state.set_cookie = f"{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"


async def authorise(request: Request) -> None:
    """The dependency of every route: finds the caller, and refuses what is not allowed.

    Raises:
        Problem: `not_authenticated`, `not_authorised`, `bad_origin`.
        LoginNeeded: a browser without a session asked for a page.
    """
    access = access_of(request)
    name: str = request.scope["route"].name
    caller = await _caller(request, access)
    request.state.caller = caller
    if allowed(name, caller.person if caller else None):
        return
    if caller is not None:
        raise Problem("not_authorised")
    raise Problem("not_authenticated") if is_api(request) else LoginNeeded


async def _caller(request: Request, access: AccessControl) -> Caller | None:
    """Who asks: the holder of a bearer token, else of a session, else the demo's lead."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        person = access.readers.by_token(token.strip())
        return Caller(person, None) if person else None
    now = access.now()
    session = access.sessions.read(request.cookies.get(SESSION_COOKIE, ""), now)
    person = access.readers.by_key(session.key) if session else None
    if session is None or person is None:
        return _demo_caller(request, access, now)
    if request.method not in SAFE_METHODS:
        await _check_origin(request, access, session)
    if renewed := access.sessions.renewed(session, now):
        keep_session(request, access, renewed)
    return Caller(person, session)


def _demo_caller(request: Request, access: AccessControl, now: datetime) -> Caller | None:
    """The demo's lead, for a page that is asked on loopback and by a loopback name, so that no
    other site's name can be made to point here.
    """
    here = (
        request.client is not None
        and is_loopback_host(request.client.host)
        and is_loopback_host(request.headers.get("host", ""))
    )
    if access.open_demo is None or not here or request.method != "GET" or is_api(request):
        return None
    session = Session.start(access.open_demo, now)
    keep_session(request, access, session)
    return Caller(access.open_demo, session)


async def _check_origin(request: Request, access: AccessControl, session: Session) -> None:
    """Raises Problem `bad_origin` unless our own page sent this, with the session's CSRF token."""
    sent = request.headers.get(CSRF_HEADER) or (await form_of(request)).get(CSRF_FIELD, "")
    ours = same_origin(dict(request.headers), request.url.scheme)
    if not ours or not access.sessions.csrf_matches(session, sent):
        raise Problem("bad_origin")
