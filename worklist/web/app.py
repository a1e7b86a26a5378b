"""The web process put together: routes, the gate before them, one table of errors, security
headers, the feed and the chores.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.errors import Unavailable
from streams.seal import KeyRing, read_ring
from worklist import chores
from worklist.settings import WorklistSettings
from worklist.sql.database import make_engine
from worklist.sql.project import Identities
from worklist.sql.queue import QueueError
from worklist.web import api, page_routes
from worklist.web.access import Door, LoginNeeded, gate, is_api
from worklist.web.auth import Person, Readers, Role, Sessions, read_readers
from worklist.web.desk import Desk
from worklist.web.feed import Feed
from worklist.web.i18n import catalogue, speaker
from worklist.web.problems import STATUS, Problem, problem

log = structlog.get_logger()
MAX_BODY = 64 * 1024
_CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class Guard:
    """Around everything: security headers on each answer, the session's cookie, and a limit on what
    is sent here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > MAX_BODY:
            await problem(413, "too_large", speaker("en")("error_too_large"))(scope, receive, send)
            return
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise Problem("too_large")
            return message

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                extra = (
                    HEADERS
                    if scope["path"].startswith("/static/")
                    else HEADERS | {"cache-control": "no-store"}
                )
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in extra.items()
                        if k.encode() not in given
                    ),
                ]
                if cookie := scope["state"].get("set_cookie"):
                    message["headers"].append((b"set-cookie", cookie.encode()))
            await send(message)

        await self._app(scope, limited, headed)


def _say(request: Request, status: int, code: str) -> Response:
    """The error `code`, for a program or for a person."""
    lang = page_routes.language(request)
    key = f"error_{code}"
    t = speaker(lang)
    detail = t(key) if key in catalogue(lang) else t("error_other", code=code)
    if is_api(request) or request.url.path == "/list":
        return problem(status, code, detail)
    return page_routes.render(request, "error.html", status, message=detail, refresh=None)


async def _problem(request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, Problem | QueueError) else "bad_request"
    return _say(request, STATUS.get(code, 409), code)


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return _say(request, status, _HTTP_CODES.get(status, "bad_request"))


async def _invalid(request: Request, _error: Exception) -> Response:
    return _say(request, 422, "bad_request")  # the validation error itself quotes its input


async def _unavailable(request: Request, error: Exception) -> Response:
    code = error.reason.value if isinstance(error, Unavailable) else "database_down"
    return _say(request, 503, code)


async def _login(_request: Request, _error: Exception) -> Response:
    return RedirectResponse("/login", 303)


ERRORS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    Problem: _problem,
    QueueError: _problem,
    HTTPException: _http,
    RequestValidationError: _invalid,
    Unavailable: _unavailable,
    LoginNeeded: _login,
}


def _door(settings: WorklistSettings, ring: KeyRing) -> Door:
    readers: Readers = read_readers(
        settings.site / "readers.toml", settings.tokens.get_secret_value()
    )
    demo = Person("demo", Role.LEAD, "open-demo") if settings.open_demo else None
    if demo:
        readers.add(demo)
    # Sessions are signed under a key of the ring: several web processes agree, and a restart logs
    # nobody out.
    secret = hmac.digest(ring.pseudonym, b"vigie browser sessions", "sha256")
    return Door(
        readers,
        Sessions(secret),
        lambda: datetime.now(UTC),
        demo,
        secure=not settings.open_demo and not settings.insecure,
    )


def _ended(task: asyncio.Task[None]) -> None:
    """A part that must run for ever has ended: end the process, and let the supervisor start it
    anew.
    """
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("web_part_failed", part=task.get_name(), error=type(error).__name__)
        os.kill(os.getpid(), signal.SIGTERM)


def _lifespan(
    engine: Engine, identities: Identities
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = [
            asyncio.create_task(app.state.feed.run(), name="feed"),
            asyncio.create_task(chores.run(engine, identities), name="chores"),
        ]
        for part in parts:
            part.add_done_callback(_ended)
        yield
        app.state.feed.close()
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        # A cancelled part may have left its thread in mid-query: its connection must come home
        # before the pool closes.
        await asyncio.get_running_loop().shutdown_default_executor()
        engine.dispose()

    return lifespan


def create_app(settings: WorklistSettings) -> FastAPI:
    """The application. Starts without the database, and recovers when it comes."""
    ring = read_ring(settings.keys)
    identities = Identities(ring)
    engine = make_engine(settings.database.get_secret_value())
    app = FastAPI(
        title="Vigie",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        dependencies=[Depends(gate)],
        lifespan=_lifespan(engine, identities),
    )
    app.state.desk = Desk(engine, identities, settings.lease_s)
    app.state.feed = Feed(app.state.desk.changes)
    app.state.door = _door(settings, ring)
    app.state.memory = page_routes.Memory()
    app.add_middleware(Guard)
    for kind, handler in ERRORS.items():
        app.add_exception_handler(kind, handler)
    app.include_router(api.router)
    app.include_router(page_routes.router)
    app.mount("/static", StaticFiles(directory=str(files("worklist") / "static")), name="static")
    _health(app)
    return app


def _health(app: FastAPI) -> None:
    @app.get("/livez", name="livez", include_in_schema=False)
    async def livez() -> dict[str, bool]:
        return {"live": True}

    @app.get("/readyz", name="readyz", include_in_schema=False)
    async def readyz() -> Response:
        up: bool = app.state.feed.up
        return Response(
            '{"database":true}' if up else '{"database":false}',
            200 if up else 503,
            media_type="application/json",
        )

    @app.get("/metrics", name="metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
