"""The routes of the page: plain HTML and forms first, so that it works without scripts; words when
something fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Query, Request
from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from streams.errors import Unavailable
from worklist.web.access import Caller, caller_of, form_of, remember
from worklist.web.auth import Role, Session, allowed, same_origin
from worklist.web.desk import Desk, Overview
from worklist.web.i18n import FOR_SCRIPTS, catalogue, choose, clean, moment, span, speaker
from worklist.web.problems import Problem
from worklist.web.row_view import groups, view
from worklist.web.schema import Listing, Row

router = APIRouter(include_in_schema=False)
PAGE_ROWS = 300
THEMES = ("dark", "light")
Cursor = Annotated[str | None, Query(max_length=512)]
#: Sentences that a redirect may ask for; nothing else from a URL is ever shown.
NOTES = frozenset({"nothing_next"})


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Templates; everything is escaped."""
    return Environment(
        loader=PackageLoader("worklist"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass
class Memory:
    """The last list that could be read: what the page shows, greyed, while the database is away."""

    listing: Listing | None = None
    overview: Overview = field(default_factory=lambda: Overview((), 0, ()))


def language(request: Request) -> str:
    """What the browser's user chose here, else what the browser asks for."""
    return choose(
        request.query_params.get("lang") or request.cookies.get("vigie_lang"),
        request.headers.get("accept-language", ""),
    )


def _theme(request: Request) -> str:
    chosen = request.query_params.get("theme") or request.cookies.get("vigie_theme")
    return chosen if chosen in THEMES else THEMES[0]


def _csrf(request: Request, caller: Caller | None) -> str:
    session: Session | None = caller.session if caller else None
    token: str = request.app.state.door.sessions.csrf(session) if session else ""
    return token


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A whole page, or a part of one."""
    lang, theme = language(request), _theme(request)
    t, caller = speaker(lang), getattr(request.state, "caller", None)
    words = catalogue(lang)
    memory: Memory = request.app.state.memory
    html = (
        environment()
        .get_template(template)
        .render(
            t=t,
            lang=lang,
            other_lang="fr" if lang == "en" else "en",
            theme=theme,
            other_theme="light" if theme == "dark" else "dark",
            csrf=_csrf(request, caller),
            person=caller.person if caller else None,
            demo=request.app.state.door.open_demo is not None,
            may_ops=allowed("ops_page", caller.person if caller else None),
            now=datetime.now(UTC).isoformat(),
            texts=orjson.dumps({key: words[key] for key in FOR_SCRIPTS}).decode(),
            models=memory.overview.models,
            **values,
        )
    )
    response = HTMLResponse(html, status)
    for name, allowed_values in (("lang", ("en", "fr")), ("theme", THEMES)):
        if (value := request.query_params.get(name)) in allowed_values:
            response.set_cookie(
                f"vigie_{name}", str(value), max_age=31_536_000, samesite="lax", httponly=True
            )
    return response


def _viewer(request: Request, me: str) -> Callable[[Row], dict[str, Any]]:
    lang, now = language(request), datetime.now(UTC)
    t = speaker(lang)
    return lambda row: view(row, now, lang, t, me)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _table(request: Request, cursor: str | None) -> tuple[int, dict[str, Any]]:
    """Status and values of the list, current or (the database is away) the last that was seen."""
    memory: Memory = request.app.state.memory
    caller, desk, status, stale, first = caller_of(request), _desk(request), 200, "", 0
    t = speaker(language(request))
    try:
        listing = desk.listing(
            caller.person,
            limit=PAGE_ROWS,
            cursor=cursor,
            state="open",
            accession=None,
            study_uid=None,
        )
        memory.overview = desk.overview()
        if cursor and listing.items:
            first = desk.ahead(listing.items[0].study)
        else:
            memory.listing = listing
    except Unavailable:
        status = 503
        listing = memory.listing or Listing(items=(), next=None, as_of=datetime.now(UTC))
        stale = (
            t("stale_db", time=moment(listing.as_of, language(request)))
            if memory.listing
            else t("stale_empty")
        )
    totals = {str(depth.lane): depth.unread for depth in memory.overview.depths}
    return status, {
        "groups": groups(listing.items, totals, first, _viewer(request, caller.person.name)),
        "stale": stale,
        "more": listing.next,
        "first": first,
        "counts": {"unread": memory.overview.unread, "flagged": memory.overview.flagged},
    }


@router.get("/", name="list_page")
def list_page(request: Request, cursor: Cursor = None) -> Response:
    """The reading list."""
    status, values = _table(request, cursor)
    note = request.query_params.get("note")
    message = speaker(language(request))(note) if note in NOTES else ""
    return render(
        request, "list.html", status, message=message, refresh=30 if status == 200 else 5, **values
    )


@router.get("/list", name="list_fragment")
def list_fragment(request: Request, cursor: Cursor = None) -> Response:
    """The table's bodies alone, for the page's script."""
    status, values = _table(request, cursor)
    if status != 200:
        raise Problem("database_down")
    response = render(request, "rows.html", **values)
    response.headers["x-vigie-counts"] = (
        f"{values['counts']['unread']},{values['counts']['flagged']}"
    )
    return response


@router.get("/studies/{study}", name="study_page")
def study_page(request: Request, study: str) -> Response:
    """One study, opened."""
    caller = caller_of(request)
    row = _desk(request).study(caller.person, study)
    shown = _viewer(request, caller.person.name)(row)
    other = (
        clean(row.opened_by)
        if row.opened_by not in (None, caller.person.name) and not row.claimed_by
        else ""
    )
    message = (
        speaker(language(request))("opened_before_note")
        if request.query_params.get("before") == "1"
        else ""
    )
    return render(
        request,
        "study.html",
        r=shown,
        lead=caller.person.role is Role.LEAD,
        opened_by=other,
        message=message,
        refresh=None,
        lease_until=shown["lease_until"],
    )


def _back(request: Request, where: str) -> Response:
    """After an act: a program gets 204, a browser the page that shows the result."""
    if "application/json" in request.headers.get("accept", ""):
        return Response(status_code=204)
    return RedirectResponse(where, 303)


def _here(study: str) -> str:
    return f"/studies/{quote(study, safe='')}"


@router.post("/next", name="page_next")
def page_next(request: Request) -> Response:
    """Claims what is to be read first, and opens it."""
    claimed = _desk(request).next(caller_of(request).person)
    if claimed is None:
        return RedirectResponse("/?note=nothing_next", 303)
    return RedirectResponse(
        _here(claimed.study) + ("?before=1" if claimed.opened_before else ""), 303
    )


@router.post("/studies/{study}/claim", name="page_claim")
def page_claim(request: Request, study: str) -> Response:
    """Claims one study."""
    claimed = _desk(request).claim(caller_of(request).person, study)
    return _back(request, _here(claimed.study) + ("?before=1" if claimed.opened_before else ""))


@router.post("/studies/{study}/release", name="page_release")
def page_release(request: Request, study: str) -> Response:
    """Gives it back."""
    _desk(request).release(caller_of(request).person, study, None)
    return _back(request, "/")


@router.post("/studies/{study}/finish", name="page_finish")
def page_finish(request: Request, study: str) -> Response:
    """It was read."""
    _desk(request).finish(caller_of(request).person, study, None)
    return _back(request, "/")


@router.post("/studies/{study}/skip", name="page_skip")
def page_skip(request: Request, study: str) -> Response:
    """Passes it by for now."""
    _desk(request).skip(caller_of(request).person, study)
    return _back(request, "/")


async def _act_on_rank(request: Request, study: str, act: str) -> Response:
    reason = (await form_of(request)).get("reason", "")[:200]
    await run_in_threadpool(
        _desk(request).act_on_rank, caller_of(request).person, study, act, reason
    )
    return _back(request, _here(study))


@router.post("/studies/{study}/pin", name="page_pin")
async def page_pin(request: Request, study: str) -> Response:
    """A lead puts it first."""
    return await _act_on_rank(request, study, "pin")


@router.post("/studies/{study}/clear-flag", name="page_clear_flag")
async def page_clear_flag(request: Request, study: str) -> Response:
    """A lead withdraws a flag."""
    return await _act_on_rank(request, study, "clear_flag")


@router.get("/login", name="login_form")
def login_form(request: Request) -> Response:
    """Where a person enters a token, once."""
    return render(request, "login.html", message="", refresh=None)


@router.post("/login", name="login")
async def login(request: Request) -> Response:
    """Token in, session cookie out."""
    door = request.app.state.door
    if not same_origin(dict(request.headers), request.url.scheme):
        raise Problem("bad_origin")
    person = door.readers.by_token((await form_of(request)).get("token", "").strip())
    if person is None:
        return render(
            request,
            "login.html",
            401,
            message=speaker(language(request))("login_failed"),
            refresh=None,
        )
    remember(request, door, Session.start(person, door.now()))
    return RedirectResponse("/", 303)


@router.post("/logout", name="logout")
def logout(request: Request) -> Response:
    """Ends the session; its event stream ends with it."""
    door, caller = request.app.state.door, caller_of(request)
    if caller.session:
        door.sessions.end(caller.session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie("vigie_session")
    return response


@router.get("/ops", name="ops_page")
def ops_page(request: Request) -> Response:
    """What runs and how deep the list is."""
    memory: Memory = request.app.state.memory
    feed, t = request.app.state.feed, speaker(language(request))
    try:
        memory.overview, up = _desk(request).overview(), True
    except Unavailable:
        up = False
    depths = [
        {"lane": str(d.lane), "count": d.unread, "oldest": span(d.oldest_s, t)}
        for d in memory.overview.depths
    ]
    age = (
        None
        if feed.changed_at is None
        else int((datetime.now(UTC) - feed.changed_at).total_seconds())
    )
    return render(
        request,
        "ops.html",
        200,
        up=up,
        clients=feed.followers,
        change_age=age,
        depths=depths,
        refresh=10,
    )
