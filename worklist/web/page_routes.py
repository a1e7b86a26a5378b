"""The routes of the page: HTML and forms that work without scripts, which only make them live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from streams.errors import Unavailable
from worklist import metrics
from worklist.sql.acts import UNDO_FOR
from worklist.sql.counts import Brief
from worklist.sql.queue import QueueError
from worklist.web.desk import desk_of
from worklist.web.door.access import (
    AccessControl,
    Caller,
    access_of,
    caller_of,
    form_of,
    keep_session,
)
from worklist.web.door.auth import SESSION_COOKIE, Role, allowed
from worklist.web.door.limits import TooMany
from worklist.web.i18n import (
    LANGUAGES,
    brief,
    catalogue,
    choose,
    clean,
    clean_lines,
    moment,
    span,
    translator,
    words_path,
    zone_minutes,
)
from worklist.web.live.feed import Feed
from worklist.web.live.truth import Teller, Truth
from worklist.web.page_acts import forms
from worklist.web.problems import Problem
from worklist.web.row_view import view
from worklist.web.schema import BesideOut, Listing, Row
from worklist.web.views import Overview


async def note_frame(request: Request) -> None:
    """Which frame of the feed a page follows from: named before the list is read, or what changed
    between the two would never be told.
    """
    request.state.frame = request.app.state.feed.id


router = APIRouter(include_in_schema=False, dependencies=[Depends(note_frame)])
NOTHING = Brief(dict.fromkeys("0123", 0), 0, 0)
THEMES = ("dark", "light")
_YEAR_S = 365 * 24 * 3600
Cursor = Annotated[str | None, Query(max_length=512)]


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
    overview: Overview = field(
        default_factory=lambda: Overview((), Brief(dict.fromkeys("0123", 0), 0, 0), ())
    )


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
    session = caller.session if caller else None
    token: str = access_of(request).sessions.csrf(session) if session else ""
    return token


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A whole page, or a part of one. Templates call the translator `t`."""
    lang, theme = language(request), _theme(request)
    caller: Caller | None = getattr(request.state, "caller", None)
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
            zone=zone_minutes(),
            words_at=words_path(lang),
            stream=getattr(request.state, "frame", request.app.state.feed.id),
            models=last.overview.models,
            truth=_truth(request, lang),
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


def in_words(truth: Truth, lang: str) -> list[str]:
    """What has to be said of the list; one sentence at least: how old its newest event is."""
    translate = translator(lang)
    said = []
    for line in truth.lines:
        values = dict(line.values)
        if "at" in values:
            values["at"] = moment(datetime.fromisoformat(values["at"]), lang)
        said.append(translate(f"truth_{line.code}", **values))
    if not said:
        age = truth.fresh.applied_age_s
        newest = "" if age is None else translate("truth_newest", age=brief(age, translate))
        said.append(" ".join(filter(None, (translate("truth_as_of"), newest))))
    return said


def _truth(request: Request, lang: str) -> dict[str, Any]:
    teller: Teller = request.app.state.truth
    truth = teller.now()
    return {
        "state": "stale" if truth.stale else "warned" if truth.lines else "painted",
        "words": in_words(truth, lang),
    }


def viewer(request: Request, me: str) -> Callable[[Row], dict[str, Any]]:
    lang, now = language(request), datetime.now(UTC)
    translate = translator(lang)
    return lambda row: view(row, now, lang, translate, me)


def undo_of(row: Row, me: str) -> dict[str, str] | None:
    """What undoes the finish of `row`, while its reader may: the act's id, and until when."""
    if row.finished_by != me or row.finished_at is None:
        return None
    until = row.finished_at + UNDO_FOR
    if until <= datetime.now(UTC):
        return None
    return {"study": row.study, "act_id": row.finish_id, "until": until.isoformat()}


def just_finished(request: Request) -> dict[str, str] | None:
    """The undo of the study that this reader came from, having finished it."""
    study = request.query_params.get("finished", "")
    if not study:
        return None
    try:
        return undo_of(desk_of(request).glance(study), caller_of(request).person.name)
    except QueueError:
        return None


@router.get("/studies/{study}", name="study_page")
def study_page(request: Request, study: str) -> Response:
    """One study, opened."""
    me, desk, lang = caller_of(request).person, desk_of(request), language(request)
    row = desk.study(me, study)
    request.app.state.last_list.overview = desk.overview()  # the footer names the models of now
    choices = desk.choices(me, row, access_of(request).readers.names())
    shown = viewer(request, me.name)(row)
    another = row.opened_by not in (None, me.name) and not row.claimed_by
    kept_for = clean(desk.kept_for(me, row))
    told = request.query_params
    note = "opened_before_note" if told.get("before") == "1" else ""
    note = "you_hold" if told.get("held") == "1" else note
    return render(
        request,
        "study.html",
        row=shown,
        beside=_beside(desk.beside(row), lang),
        forms=forms(row, me, choices, lang, translator(lang)),
        siblings=[viewer(request, me.name)(other) for other in desk.siblings(row.study)],
        undo=undo_of(row, me.name),
        before=just_finished(request),
        opened_by=clean(row.opened_by) if another else "",
        kept_for=kept_for,
        message=translator(language(request))(note) if note else "",
        refresh=None,
        lease_until=shown["lease_until"],
    )


def _beside(told: BesideOut, lang: str) -> dict[str, Any]:
    """What was said under seal, as the page writes it."""
    reports = [
        {
            "status": report.status,
            "when": moment(report.received_at, lang),
            "sender": clean(report.sender),
            "text": clean_lines(report.text),
        }
        for report in told.reports
    ]
    kept = {"sealed": told.sealed, "pregnant": told.pregnant}
    return {**kept, "isolation": clean(told.isolation), "reports": reports}


@router.get("/words/{version}/{lang}.json", name="words")
def words(version: str, lang: str) -> Response:
    """All sentences of a language, for the page's scripts; kept by browsers until they change."""
    if lang not in LANGUAGES or words_path(lang).split("/")[2] != version:
        raise Problem("not_found")
    body = orjson.dumps(catalogue(lang))
    kept = {"cache-control": f"public, max-age={_YEAR_S}, immutable"}
    return Response(body, media_type="application/json", headers=kept)


@router.get("/login", name="login_form")
def login_form(request: Request) -> Response:
    """Where a person enters a token, once."""
    return render(request, "login.html", message="", refresh=None)


@router.post("/login", name="login")
async def login(request: Request) -> Response:
    """Token in, session cookie out. What is not known is answered later each time, and holds up
    nobody else.
    """
    access = access_of(request)
    if not access.ours(request):
        raise Problem("bad_origin")
    address = request.client.host if request.client else ""
    token = (await form_of(request)).get("token", "").strip()
    person = await run_in_threadpool(access.readers.by_token, token)
    if person is not None and person.role is Role.SERVICE:
        message = translator(language(request))("login_program")
        return render(request, "login.html", 403, message=message, refresh=None)
    metrics.logins.labels("known" if person else "unknown").inc()
    if person is None:
        await _refuse_late(request, access, address)
        message = translator(language(request))("login_failed")
        return render(request, "login.html", 401, message=message, refresh=None)
    access.failures.succeeded(address)
    cookie, _ = await run_in_threadpool(access.sessions.start, person)
    keep_session(request, access, cookie)
    return RedirectResponse("/ops" if not allowed("list_page", person) else "/", 303)


async def _refuse_late(request: Request, access: AccessControl, address: str) -> None:
    request.state.step_aside()
    try:
        async with access.failures.turn(address):
            await run_in_threadpool(desk_of(request).note_failed_login, address)
            await access.failures.failed(address)
    except TooMany:
        raise Problem("too_many") from None


@router.post("/logout", name="logout")
async def logout(request: Request) -> Response:
    """Ends the session, or with `everywhere` all of this reader's; their streams end with them."""
    caller = caller_of(request)
    if caller.session:
        everywhere = (await form_of(request)).get("everywhere") == "1"
        end = access_of(request).sessions.end
        await run_in_threadpool(end, caller.session, caller.person.name, everywhere=everywhere)
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
