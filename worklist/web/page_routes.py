"""The routes of the page: HTML and forms that work without scripts, which only make them live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from streams.errors import Unavailable
from worklist.sql.acts import UNDO_FOR
from worklist.sql.queue import QueueError
from worklist.web.access import Caller, access_of, caller_of, form_of, keep_session
from worklist.web.auth import SESSION_COOKIE, Session, allowed, same_origin
from worklist.web.desk import Overview, desk_of
from worklist.web.feed import Feed
from worklist.web.i18n import (
    FOR_SCRIPTS,
    LANGUAGES,
    catalogue,
    choose,
    clean,
    moment,
    span,
    translator,
)
from worklist.web.page_acts import forms
from worklist.web.problems import Problem
from worklist.web.row_view import groups, view
from worklist.web.schema import Listing, Row
from worklist.web.street import Street

router = APIRouter(include_in_schema=False)
PAGE_ROWS = 300
THEMES = ("dark", "light")
_YEAR_S = 365 * 24 * 3600
Cursor = Annotated[str | None, Query(max_length=512)]
#: Sentences that a redirect may ask for; no other word of a URL is ever shown.
NOTES = frozenset({"nothing_next"})


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The page's templates; all that they show is escaped."""
    return Environment(
        loader=PackageLoader("worklist"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass
class LastList:
    """The list as it could be read last: the page shows it, greyed, while the database is away."""

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
    token: str = access_of(request).sessions.csrf(session) if session else ""
    return token


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A whole page, or a part of one. Templates call the translator `t`."""
    lang, theme = language(request), _theme(request)
    caller: Caller | None = getattr(request.state, "caller", None)
    words = catalogue(lang)
    last: LastList = request.app.state.last_list
    html = (
        templates()
        .get_template(template)
        .render(
            t=translator(lang),
            lang=lang,
            other_lang="fr" if lang == "en" else "en",
            theme=theme,
            other_theme="light" if theme == "dark" else "dark",
            csrf=_csrf(request, caller),
            person=caller.person if caller else None,
            demo=access_of(request).open_demo is not None,
            may_ops=allowed("ops_page", caller.person if caller else None),
            now=datetime.now(UTC).isoformat(),
            texts=orjson.dumps({key: words[key] for key in FOR_SCRIPTS}).decode(),
            models=last.overview.models,
            **values,
        )
    )
    response = HTMLResponse(html, status)
    for name, choices in (("lang", LANGUAGES), ("theme", THEMES)):
        if (chosen := request.query_params.get(name)) in choices:
            response.set_cookie(
                f"vigie_{name}", str(chosen), max_age=_YEAR_S, samesite="lax", httponly=True
            )
    return response


def _viewer(request: Request, me: str) -> Callable[[Row], dict[str, Any]]:
    lang, now = language(request), datetime.now(UTC)
    translate = translator(lang)
    return lambda row: view(row, now, lang, translate, me)


def _table(request: Request, cursor: str | None) -> tuple[int, dict[str, Any]]:
    """Status and values of the list: as it is; with 503, as the database gave it last."""
    last: LastList = request.app.state.last_list
    caller, desk, lang = caller_of(request), desk_of(request), language(request)
    status, stale, first = 200, "", 0
    try:
        listing = desk.listing(
            caller.person,
            limit=PAGE_ROWS,
            cursor=cursor,
            state="open",
            accession=None,
            study_uid=None,
        )
        last.overview = desk.overview()
        if cursor and listing.items:
            first = desk.ahead(listing.items[0].study)
        else:
            last.listing = listing
    except Unavailable:
        status = 503
        listing = last.listing or Listing(items=(), next=None, as_of=datetime.now(UTC))
        translate = translator(lang)
        stale = (
            translate("stale_db", time=moment(listing.as_of, lang))
            if last.listing
            else translate("stale_empty")
        )
    totals = {str(depth.lane): depth.unread for depth in last.overview.depths}
    return status, {
        "groups": groups(listing.items, totals, first, _viewer(request, caller.person.name)),
        "stale": stale,
        "more": listing.next,
        "first": first,
        "counts": {"unread": last.overview.unread, "flagged": last.overview.flagged},
    }


@router.get("/", name="list_page")
def list_page(request: Request, cursor: Cursor = None) -> Response:
    """The reading list."""
    status, values = _table(request, cursor)
    note = request.query_params.get("note")
    message = translator(language(request))(note) if note in NOTES else ""
    return render(
        request,
        "list.html",
        status,
        message=message,
        undo=_just_finished(request) if status == 200 else None,
        banners=_banners(request),
        refresh=30 if status == 200 else 5,
        **values,
    )


def _banners(request: Request) -> list[str]:
    """What a reader has to know before trusting the list: nothing, mostly."""
    street: Street = request.app.state.street
    lang = language(request)
    return [
        translator(lang)(
            f"banner_{banner.code}",
            events=banner.events,
            seconds=int(banner.seconds),
            wanted=banner.wanted,
            at=moment(banner.at, lang),
        )
        for banner in street.banners()
    ]


def _undo(row: Row, me: str) -> dict[str, str] | None:
    """What undoes the finish of `row`, while its reader may: the act's id, and until when."""
    if row.finished_by != me or row.finished_at is None:
        return None
    until = row.finished_at + UNDO_FOR
    if until <= datetime.now(UTC):
        return None
    return {"study": row.study, "act_id": row.finish_id, "until": until.isoformat()}


def _just_finished(request: Request) -> dict[str, str] | None:
    """The undo of the study that this reader came from, having finished it."""
    study = request.query_params.get("finished", "")
    if not study:
        return None
    try:
        return _undo(desk_of(request).glance(study), caller_of(request).person.name)
    except QueueError:
        return None


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
    me, desk, lang = caller_of(request).person, desk_of(request), language(request)
    row = desk.study(me, study)
    choices = desk.choices(me, row, access_of(request).readers.names())
    shown = _viewer(request, me.name)(row)
    another = row.opened_by not in (None, me.name) and not row.claimed_by
    note = "opened_before_note" if request.query_params.get("before") == "1" else ""
    return render(
        request,
        "study.html",
        row=shown,
        forms=forms(row, me, choices, lang, translator(lang)),
        undo=_undo(row, me.name),
        opened_by=clean(row.opened_by) if another else "",
        message=translator(language(request))(note) if note else "",
        refresh=None,
        lease_until=shown["lease_until"],
    )


@router.get("/login", name="login_form")
def login_form(request: Request) -> Response:
    """Where a person enters a token, once."""
    return render(request, "login.html", message="", refresh=None)


@router.post("/login", name="login")
async def login(request: Request) -> Response:
    """Token in, session cookie out."""
    access = access_of(request)
    if not same_origin(dict(request.headers), request.url.scheme):
        raise Problem("bad_origin")
    person = access.readers.by_token((await form_of(request)).get("token", "").strip())
    if person is None:
        return render(
            request,
            "login.html",
            401,
            message=translator(language(request))("login_failed"),
            refresh=None,
        )
    keep_session(request, access, Session.start(person, access.now()))
    return RedirectResponse("/", 303)


@router.post("/logout", name="logout")
def logout(request: Request) -> Response:
    """Ends the session; its event stream ends with it."""
    caller = caller_of(request)
    if caller.session:
        access_of(request).sessions.end(caller.session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.get("/ops", name="ops_page")
def ops_page(request: Request) -> Response:
    """What runs and how deep the list is."""
    last: LastList = request.app.state.last_list
    feed: Feed = request.app.state.feed
    translate = translator(language(request))
    try:
        last.overview, up = desk_of(request).overview(), True
    except Unavailable:
        up = False
    depths = [
        {"lane": str(depth.lane), "count": depth.unread, "oldest": span(depth.oldest_s, translate)}
        for depth in last.overview.depths
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
