"""The outermost layer: what a request may send and how much of one client at a time; on each answer
the security headers, and the session's cookie where one is to be set.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worklist.web.door.limits import Limits, TooMany, client_of
from worklist.web.i18n import choose, translator
from worklist.web.problems import STATUS, Problem, problem

MAX_BODY = 64 * 1024  # bytes of one request
BODY_S = 15.0  # a body that does not come for so long is not waited for
STREAM = "/api/v1/events"
_CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        headers = dict(scope["headers"])
        code = _refused(scope, headers)
        address = scope["client"][0] if scope.get("client") else ""
        client = client_of(headers, address)
        try:
            if not code and scope["path"] == STREAM:
                async with self._limits.stream(client, address):
                    await self._app(scope, _limited(receive), _with_headers(scope, send))
            elif not code:
                await self._take_turn(scope, receive, send, client, address)
        except TooMany:
            code = "too_many"
        if code:
            said = headers.get(b"accept-language", b"").decode("latin-1")
            words = translator(choose(None, said))
            answer = problem(STATUS[code], code, words(f"error_{code}"))
            await answer(scope, receive, _with_headers(scope, send))

    async def _take_turn(
        self, scope: Scope, receive: Receive, send: Send, client: str, address: str
    ) -> None:
        sends = scope["method"] not in ("GET", "HEAD")
        async with self._limits.request(client, address, sends=sends) as step_aside:
            scope["state"]["step_aside"] = step_aside
            await self._app(scope, _limited(receive), _with_headers(scope, send))
        if scope["state"].get("caller") is not None and client != address:
            self._limits.know(client)


def _refused(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """Why a request is not even looked at; empty: it is."""
    if "\0" in scope["path"]:
        return "not_found"
    if b"%00" in scope["query_string"]:
        return "bad_request"
    announced = headers.get(b"content-length", b"0")
    return "" if announced.isdigit() and int(announced) <= MAX_BODY else "too_large"


def _limited(receive: Receive) -> Receive:
    """The body, not too large and not too slow; what comes after it is waited for as it is."""
    size, whole = 0, False

    async def limited() -> Message:
        nonlocal size, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_S)
        except TimeoutError:
            raise Problem("too_slow") from None
        size += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if size > MAX_BODY:
            raise Problem("too_large")
        return message

    return limited


def _with_headers(scope: Scope, send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_added(scope, message["headers"])]
        await send(message)

    return with_headers


def _added(scope: Scope, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that an answer gets beside those it was `given`, which stay as they are."""
    names = {name.lower() for name, _ in given}
    headers = dict(SECURITY_HEADERS)
    if not scope["path"].startswith("/static/"):
        headers["cache-control"] = "no-store"
    added = [
        (name.encode(), value.encode())
        for name, value in headers.items()
        if name.encode() not in names
    ]
    if cookie := scope["state"].get("set_cookie"):
        added.append((b"set-cookie", cookie.encode()))
    return added
