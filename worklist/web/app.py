"""The web application put together: routes behind the access control, one table of errors, and
beside them the live feed and the list's chores.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from streams.errors import Unavailable
from streams.identity.seal import KeyRing, read_ring
from streams.senders.site import load_site
from streams.storage.key_images import KeyImageFolder
from worklist import chores
from worklist.settings import WorklistSettings
from worklist.sql.database import make_engine, translated
from worklist.sql.people.accounts import Account, accounts
from worklist.sql.queue import QueueError
from worklist.sql.writing.opening import Opener
from worklist.web import api, page_acts, page_list, page_routes, parked, senders, workbench
from worklist.web.desk import Desk
from worklist.web.door.access import AccessControl, LoginNeeded, authorise, is_api
from worklist.web.door.auth import Person, Role, read_readers
from worklist.web.door.edge import Edge
from worklist.web.door.limits import Failures, Limits
from worklist.web.door.sessions import Sessions
from worklist.web.i18n import catalogue, translator
from worklist.web.live import routes
from worklist.web.live.feed import Feed
from worklist.web.live.street import Street
from worklist.web.live.truth import Teller
from worklist.web.problems import STATUS, Problem, problem

log = structlog.get_logger()
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


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
        case ClientDisconnect():  # it will read no answer; nobody is to be told
            return Response(status_code=400)
        case Unavailable():
            return _error_answer(request, 503, error.reason.value)
    raise error


#: What `_on_error` answers; any other error is a fault of ours.
ERRORS = (
    LoginNeeded,
    Problem,
    QueueError,
    HTTPException,
    RequestValidationError,
    ClientDisconnect,
    Unavailable,
)


def _access_control(settings: WorklistSettings, ring: KeyRing, engine: Engine) -> AccessControl:
    def listed() -> list[Account]:
        with translated(), engine.connect() as connection:
            return accounts(connection)

    tokens = settings.tokens.get_secret_value()
    readers = read_readers(settings.site / "readers.toml", tokens, listed)
    demo = Person("demo", Role.LEAD, "open-demo") if settings.open_demo else None
    if demo:
        readers.add(demo)
    # Under a key of the ring: each web process knows the CSRF texts of the others.
    secret = hmac.digest(ring.pseudonym, b"vigie browser sessions", "sha256")
    tls = settings.web_origin.startswith("https:")
    return AccessControl(
        readers,
        Sessions(engine, secret),
        Failures(),
        demo,
        secure=tls or not (settings.open_demo or settings.insecure),
        origin=settings.web_origin,
    )


def _end_process(task: asyncio.Task[None]) -> None:
    """Called when a part ended that must run for ever: ends the process, so that its supervisor
    starts it anew.
    """
    if not task.cancelled() and (error := task.exception()) is not None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        log.critical("web_part_failed", part=task.get_name(), error=type(error).__name__)
        os.kill(os.getpid(), signal.SIGTERM)


def _lifespan(
    engine: Engine, work: chores.Chores
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = [
            asyncio.create_task(app.state.feed.run(), name="feed"),
            asyncio.create_task(app.state.truth.run(), name="truth"),
            asyncio.create_task(app.state.access.sweep(), name="sessions"),
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
    app.state.street = Street(engine, settings, load_site(settings.site))
    app.state.told = senders.Told(engine)
    app.state.parked = parked.Shelf(engine, settings, ring)
    app.state.feed = Feed(app.state.desk.changes, lambda: app.state.truth.now().as_dict())
    app.state.truth = Teller(
        engine,
        lambda: app.state.feed.up or not app.state.feed.asked,
        lambda: app.state.street.fresh,
        settings.stale_s,
        settings.ai_late_s,
    )
    app.state.key_images = api.KeyImages(engine, KeyImageFolder(settings.key_images))
    app.state.access = _access_control(settings, ring, engine)
    app.state.last_list = page_routes.LastList()
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(Edge, limits=Limits())
    for kind in ERRORS:
        app.add_exception_handler(kind, _on_error)
    app.include_router(api.router)
    app.include_router(workbench.router)
    app.include_router(senders.router)
    app.include_router(parked.router)
    app.include_router(routes.router)
    app.include_router(page_routes.router)
    app.include_router(page_list.router)
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
