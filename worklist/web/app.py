"""The web application put together: routes behind the access control, one table of errors, security
headers on every answer, and beside them the live feed and the list's chores.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.errors import Unavailable
from streams.seal import KeyRing, read_ring
from worklist import chores
from worklist.settings import WorklistSettings
from worklist.sql.database import make_engine
from worklist.sql.queue import QueueError
from worklist.sql.writing.opening import Opener
from worklist.web import api, page_acts, page_routes
from worklist.web.access import AccessControl, LoginNeeded, authorise, is_api
from worklist.web.auth import Person, Role, Sessions, read_readers
from worklist.web.desk import Desk
from worklist.web.feed import Feed
from worklist.web.i18n import catalogue, translator
from worklist.web.problems import STATUS, Problem, problem
from worklist.web.street import Street

log = structlog.get_logger()
MAX_BODY = 64 * 1024  # bytes of one request
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
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class Edge:
    """The outermost layer: a limit on what a request may send; on each answer the security headers,
    and the session's cookie where one is to be set.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        if "\0" in scope["path"]:
            answer = problem(404, "not_found", translator("en")("error_not_found"))
            await answer(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > MAX_BODY:
            answer = problem(413, "too_large", translator("en")("error_too_large"))
            await answer(scope, receive, send)
            return
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise Problem("too_large")
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_added(scope, message["headers"])]
            await send(message)

        await self._app(scope, limited, with_headers)


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


def _error_answer(request: Request, status: int, code: str, who: str = "") -> Response:
    """The answer that says the error `code`, and who has or did it: problem+json to a program, a
    page to a person.
    """
    lang = page_routes.language(request)
    key = f"error_{code}_by" if who else f"error_{code}"
    translate = translator(lang)
    known = key in catalogue(lang)
    detail = translate(key, who=who) if known else translate("error_other", code=code)
    if is_api(request) or request.url.path == "/list":
        return problem(status, code, detail)
    return page_routes.render(request, "error.html", status, message=detail, refresh=None)


async def _on_error(request: Request, error: Exception) -> Response:
    match error:
        case LoginNeeded():
            return RedirectResponse("/login", 303)
        case Problem():
            return _error_answer(request, STATUS.get(error.code, 409), error.code)
        case QueueError():
            return _error_answer(request, STATUS.get(error.code, 409), error.code, error.who)
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "bad_request")
            return _error_answer(request, error.status_code, code)
        case RequestValidationError():
            # Without what the validation error says: it quotes the input.
            return _error_answer(request, 422, "bad_request")
        case Unavailable():
            return _error_answer(request, 503, error.reason.value)
    raise error


#: What `_on_error` answers; any other error is a fault of ours.
ERRORS = (LoginNeeded, Problem, QueueError, HTTPException, RequestValidationError, Unavailable)


def _access_control(settings: WorklistSettings, ring: KeyRing) -> AccessControl:
    readers = read_readers(settings.site / "readers.toml", settings.tokens.get_secret_value())
    demo = Person("demo", Role.LEAD, "open-demo") if settings.open_demo else None
    if demo:
        readers.add(demo)
    # Signed under a key of the ring: several web processes know each other's sessions, and a
    # restart logs nobody out.
    secret = hmac.digest(ring.pseudonym, b"vigie browser sessions", "sha256")
    return AccessControl(
        readers,
        Sessions(secret),
        lambda: datetime.now(UTC),
        demo,
        secure=not settings.open_demo and not settings.insecure,
    )


def _end_process(task: asyncio.Task[None]) -> None:
    """Called when a part ended that must run for ever: ends the process, so that its supervisor
    starts it anew.
    """
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("web_part_failed", part=task.get_name(), error=type(error).__name__)
        os.kill(os.getpid(), signal.SIGTERM)


def _lifespan(
    engine: Engine, work: chores.Chores
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = [
            asyncio.create_task(app.state.feed.run(), name="feed"),
            asyncio.create_task(chores.run(work), name="chores"),
            *(
                asyncio.create_task(part, name=name)
                for name, part in app.state.street.open().items()
            ),
        ]
        for part in parts:
            part.add_done_callback(_end_process)
        yield
        app.state.feed.close()
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        # A cancelled part may have left a thread in the middle of a query: it ends, and gives its
        # connection back, before the pool closes.
        await asyncio.get_running_loop().shutdown_default_executor()
        app.state.street.close()
        engine.dispose()

    return lifespan


def create_app(settings: WorklistSettings) -> FastAPI:
    """The application. It starts without the database too, and recovers when that comes.

    Raises:
        ValueError: the site's readers or VIGIE_TOKENS are not well formed.
    """
    ring = read_ring(settings.keys)
    opener = Opener(ring, read_ring(settings.act_keys, "VIGIE_ACT_KEYS"))
    engine = make_engine(settings.database.get_secret_value(), statement_s=settings.statement_s)
    app = FastAPI(
        title="Vigie",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        dependencies=[Depends(authorise)],
        lifespan=_lifespan(engine, chores.Chores(engine, opener, settings.closed_months)),
    )
    app.state.desk = Desk(engine, opener, settings.lease_s)
    app.state.feed = Feed(app.state.desk.changes, lambda: app.state.street.behind)
    app.state.street = Street(engine, settings)
    app.state.access = _access_control(settings, ring)
    app.state.last_list = page_routes.LastList()
    app.add_middleware(Edge)
    for kind in ERRORS:
        app.add_exception_handler(kind, _on_error)
    app.include_router(api.router)
    app.include_router(page_routes.router)
    app.include_router(page_acts.router)
    app.mount("/static", StaticFiles(directory=str(files("worklist") / "static")), name="static")
    _health(app)
    return app


def _health(app: FastAPI) -> None:
    @app.get("/livez", name="livez", include_in_schema=False)
    async def livez() -> dict[str, bool]:
        return {"live": True}

    @app.get("/readyz", name="readyz", include_in_schema=False)
    async def readyz() -> Response:
        checks = {"database": app.state.feed.up, "fresh": not app.state.street.stale}
        return JSONResponse(checks, 200 if all(checks.values()) else 503)

    @app.get("/metrics", name="metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
