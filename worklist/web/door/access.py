"""Every request: who asks, may they, and did our own page send it. What `auth.ACCESS` does not
allow is refused.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from worklist.sql.people.sessions import Kept
from worklist.web.door.auth import (
    CSRF_FIELD,
    CSRF_HEADER,
    SAFE_METHODS,
    SESSION_COOKIE,
    Person,
    Readers,
    allowed,
    is_loopback_host,
    same_origin,
)
from worklist.web.door.limits import Failures
from worklist.web.door.sessions import REMEMBERED_S, Sessions
from worklist.web.problems import Problem

#: What an open page asks without anybody: a session that is only left open still ends.
_BY_THEMSELVES = frozenset(
    {"api_renew_all", "api_events", "api_changes", "api_truth", "list_fragment", "places"}
)
BY_ITSELF = "x-vigie-by-itself"  # a header: the page's script asks, not its reader
FORM = "application/x-www-form-urlencoded"


class LoginNeeded(Exception):
    """A person without a session asked for a page."""


@dataclass(frozen=True)
class AccessControl:
    """What decides who enters: the readers and their sessions.

    `open_demo` is the lead as whom a browser on this machine is signed in without a token; `secure`
    says that cookies travel over TLS only; `origin` is the page's, where the site has said it (a
    TLS proxy stands before us), else what the request names.
    """

    readers: Readers
    sessions: Sessions
    failures: Failures
    open_demo: Person | None = None
    secure: bool = False
    origin: str = ""

    def ours(self, request: Request) -> bool:
        """Whether a browser says that our own page sent this."""
        here = f"{request.url.scheme}://{request.headers.get('host', '')}"
        return same_origin(dict(request.headers), self.origin or here)

    def ended(self, caller: Caller) -> bool:
        """Whether who was let in is so no more, as known here: an open stream asks, and `sweep`
        keeps it true.
        """
        session = caller.session
        return not self.readers.known(caller.person.key) or (
            session is not None and self.sessions.ended(session)
        )

    async def sweep(self) -> None:
        """Asks for ever who logged out and who was disabled."""
        while True:
            await asyncio.sleep(REMEMBERED_S)
            await asyncio.to_thread(self.sessions.look_again)
            await asyncio.to_thread(self.readers.look_again)


@dataclass(frozen=True)
class Caller:
    """Who asks, and the browser session if there is one."""

    person: Person
    session: Kept | None


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
        body = (await request.body()).decode()
        fields = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise Problem("bad_request") from None
    if any(c < " " and c not in "\t\r\n" for value in fields.values() for c in value):
        raise Problem("bad_request")
    return fields


def keep_session(request: Request, access: AccessControl, cookie: str) -> None:
    """Has the answer set the session's cookie."""
    secure = "; Secure" if access.secure else ""
    request.state.set_cookie = f"{SESSION_COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax{secure}"


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
        person = await run_in_threadpool(access.readers.by_token, token.strip())
        return Caller(person, None) if person else None
    kept = request.cookies.get(SESSION_COOKIE, "")
    by_itself = request.scope["route"].name in _BY_THEMSELVES or BY_ITSELF in request.headers
    session, person = await run_in_threadpool(_known, access, kept, not by_itself)
    if session is None or person is None:
        return await _demo_caller(request, access)
    if request.method not in SAFE_METHODS:
        await _check_origin(request, access, session)
    return Caller(person, session)


def _known(access: AccessControl, cookie: str, used: bool) -> tuple[Kept | None, Person | None]:
    session = access.sessions.read(cookie, used=used)
    return session, access.readers.by_key(session.person) if session else None


async def _demo_caller(request: Request, access: AccessControl) -> Caller | None:
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
    cookie, session = await run_in_threadpool(
        access.sessions.start, access.open_demo, audited=False
    )
    keep_session(request, access, cookie)
    return Caller(access.open_demo, session)


async def _check_origin(request: Request, access: AccessControl, session: Kept) -> None:
    """Raises Problem `bad_origin` unless our own page sent this, with the session's CSRF token."""
    sent = request.headers.get(CSRF_HEADER) or (await form_of(request)).get(CSRF_FIELD, "")
    if not access.ours(request) or not access.sessions.csrf_matches(session, sent):
        raise Problem("bad_origin")
