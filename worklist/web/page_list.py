"""The reading list as a page: a part of it in reading order, or what was searched for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from streams.errors import Unavailable
from worklist.sql.asking.search import FACETS, SORTS, Asked
from worklist.sql.queue import CLOSED_STATES, OPEN_STATES
from worklist.sql.rights import may, needs_reason
from worklist.web.desk import desk_of
from worklist.web.door.access import access_of, caller_of, form_of
from worklist.web.door.auth import Role
from worklist.web.i18n import Translate, catalogue, clean, moment, translator
from worklist.web.page_routes import (
    LastList,
    just_finished,
    language,
    note_frame,
    render,
    viewer,
)
from worklist.web.problems import Problem
from worklist.web.row_view import AI_SHAPES, Group, groups
from worklist.web.schema import Listing, Row
from worklist.web.views import Overview

router = APIRouter(include_in_schema=False, dependencies=[Depends(note_frame)])
#: Two screens full: what is painted first is paid for by row. The rest is one page on.
PAGE_ROWS = 50
Cursor = Annotated[str | None, Query(max_length=512)]
#: Sentences that a redirect may ask for; no other word of a URL is ever shown.
NOTES = frozenset({"nothing_next", "handed_over", "search_gone"})
_LOCATIONS = ("emergency", "icu", "inpatient", "outpatient")
_MODALITIES = ("CT", "MR", "DX", "CR", "US", "MG", "NM", "PT", "XA", "RF", "OT")


def asked_of(request: Request) -> Asked:
    """What this page asks for: facets, sort and page by the URL; words by the session, of which
    the URL has a name (`q`): each tab has its own.
    """
    told, session = request.query_params, caller_of(request).session
    page = told.get("page", "0")
    return Asked(
        words=session.searches.get(told.get("q", ""), "") if session else "",
        state=told.get("state", "")[:32],
        ai=told.get("ai", "")[:32],
        modality=told.get("modality", "")[:16],
        location=told.get("location", "")[:32],
        order_class=told.get("class", "")[:64],
        sort=told.get("sort") or "rank",
        page=min(int(page), 1000) if page.isdecimal() and len(page) < 5 else 0,
    )


def _forgotten(request: Request) -> bool:
    """Whether the words that the URL names are not kept here: another session's, or too old."""
    name, session = request.query_params.get("q"), caller_of(request).session
    return name is not None and (session is None or name not in session.searches)


@router.post("/search", name="search")
async def search(request: Request) -> Response:
    """Keeps the words in the session, and shows what is found at a URL of facets alone."""
    form, caller = await form_of(request), caller_of(request)
    words = " ".join(form.get("words", "").split())[:200]
    name = ""
    if caller.session and words:
        note = access_of(request).sessions.note_words
        name = await run_in_threadpool(note, caller.session, words)
    told = {name: form.get(name, "") for name in (*FACETS, "sort")}
    named = {name: value for name, value in told.items() if value and value != "rank"}
    query = urlencode(({"q": name} if name else {}) | named)
    return RedirectResponse(f"/?{query}" if query else "/", 303)


def _table(request: Request, cursor: str | None, asked: Asked) -> tuple[int, dict[str, Any]]:
    """Status and values of the list: as it is; with 503, as the database gave it last."""
    last: LastList = request.app.state.last_list
    desk, lang = desk_of(request), language(request)
    status, stale, first = 200, "", 0
    rows: tuple[Row, ...] = ()
    more = False
    listing = last.listing or Listing(items=(), next=None, as_of=datetime.now(UTC))
    try:
        if asked.any:
            rows, more = desk.search(caller_of(request).person, asked, PAGE_ROWS)
        else:
            listing = desk.part(caller_of(request).person, PAGE_ROWS, cursor)
        last.overview = desk.overview()
        if cursor and not asked.any:
            first = desk.before(cursor)
        elif not asked.any and not cursor:  # a part of the list is not the list
            last.listing = listing
    except Unavailable:
        status = 503
        words = translator(lang)
        told = moment(listing.as_of, lang)
        stale = words("stale_db", time=told) if last.listing else words("stale_empty")
    found = asked.any and status == 200
    return status, {
        "groups": _found(request, rows) if found else _lanes(request, listing, last, first),
        "stale": stale,
        "more": "" if found else listing.next,
        "pages": _pages(request, asked, more) if found else {},
        "first": first,
        "page_rows": PAGE_ROWS,
        "page": _part(listing, first, found),
        "counts": _counts(last.overview),
        "search": _search(asked, lang, translator(lang)),
    }


def _lanes(request: Request, listing: Listing, last: LastList, first: int) -> list[Group]:
    totals = last.overview.brief.lanes
    view_of = viewer(request, caller_of(request).person.name)
    return groups(listing.items, totals, first, view_of, translator(language(request)))


def _found(request: Request, rows: tuple[Row, ...]) -> list[Group]:
    view_of = viewer(request, caller_of(request).person.name)
    return [Group("found", len(rows), [view_of(row) for row in rows])] if rows else []


def _part(listing: Listing, first: int, found: bool) -> str:
    """Which part of the list this is, for the script that keeps it so."""
    until = f"{listing.items[-1].key}~" if listing.items else ""
    told = {"first": first, "after": listing.after, "until": until}
    more = "1" if listing.next and not found else "0"
    return orjson.dumps(told | {"more": more, "searched": "1" if found else "0"}).decode()


def _pages(request: Request, asked: Asked, more: bool) -> dict[str, str]:
    """The pages of a search before and after this one."""
    told = {name: value for name, value in request.query_params.items() if name != "page"}
    there = {"page_before": asked.page - 1, "page_next": asked.page + 1 if more else -1}
    return {
        name: "/?" + urlencode(told | {"page": str(page)})
        for name, page in there.items()
        if page >= 0
    }


def _search(asked: Asked, lang: str, translate: Translate) -> dict[str, Any]:
    """The search form as it was filled, and in words what is searched for."""
    words = catalogue(lang)
    choices = {
        "state": [*OPEN_STATES, *CLOSED_STATES, "all"],
        "ai": list(AI_SHAPES),
        "modality": list(_MODALITIES),
        "location": list(_LOCATIONS),
        "class": ["stat", "urgent", "routine", "unknown"],
        "sort": list(SORTS),
    }
    chosen = {
        "state": asked.state,
        "ai": asked.ai,
        "modality": asked.modality,
        "location": asked.location,
        "class": asked.order_class,
        "sort": asked.sort,
    }
    label = {name: "sort" if name == "sort" else f"facet_{name}" for name in choices}
    fields = [
        {
            "name": name,
            "label": translate(label[name]),
            "chosen": chosen[name],
            "options": [(value, words.get(f"{name}_{value}", value)) for value in values],
        }
        for name, values in choices.items()
    ]
    told = [f"“{clean(asked.words)}”"] if asked.words else []
    for field in fields:
        if field["chosen"] and (field["name"], field["chosen"]) != ("sort", "rank"):
            word = words.get(f"{field['name']}_{field['chosen']}", clean(str(field["chosen"])))
            told.append(f"{field['label']}: {word}")
    said = translate("searched", what=", ".join(told)) if asked.any else ""
    return {"words": asked.words, "fields": fields, "said": said, "open": bool(told)}


def _counts(overview: Overview) -> dict[str, Any]:
    lanes = overview.brief.lanes
    return {
        "unread": lanes["0"] + lanes["1"] + lanes["2"],
        "flagged": overview.brief.flagged,
        "emergent": lanes["1"],
        "to_validate": overview.brief.to_validate,
        "lanes": lanes,
    }


@router.get("/", name="list_page")
def list_page(request: Request, cursor: Cursor = None) -> Response:
    """The reading list."""
    if _forgotten(request):
        return RedirectResponse("/?note=search_gone", 303)
    status, values = _table(request, cursor, asked_of(request))
    note = request.query_params.get("note")
    message = translator(language(request))(note) if note in NOTES else ""
    return render(
        request,
        "list.html",
        status,
        message=message,
        passed_by=_passed_by(request) if status == 200 else [],
        undo=just_finished(request) if status == 200 else None,
        refresh=30 if status == 200 else 5,
        **values,
    )


def _passed_by(request: Request) -> list[str]:
    """What a lead has to know: studies that three readers or more have passed by."""
    lead = caller_of(request).person.role is Role.LEAD
    return desk_of(request).skipped_often() if lead else []


@router.get("/places", name="places")
def places(request: Request, cursor: Cursor = None) -> Response:
    """How many are read before a page of the list, now: its script counts places from there."""
    first = desk_of(request).before(cursor) if cursor else 0
    return Response(orjson.dumps({"first": first}), media_type="application/json")


@router.get("/mine", name="mine_page")
def mine_page(request: Request) -> Response:
    """What this reader has, and finished today."""
    who, desk = caller_of(request).person, desk_of(request)
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    view_of = viewer(request, who.name)
    told = {"held": desk.held(who), "done": desk.finished(who, today)}
    groups = [Group(name, len(rows), [view_of(row) for row in rows]) for name, rows in told.items()]
    kept = [group for group in groups if group.rows]
    page = orjson.dumps({"searched": "1", "first": 0, "more": "0"}).decode()
    return render(request, "mine.html", groups=kept, page=page, page_rows=PAGE_ROWS, refresh=30)


@router.get("/pins", name="pins_page")
def pins_page(request: Request) -> Response:
    """All pins: who put which study first, and why; whoever may takes it back here."""
    who = caller_of(request).person
    view_of = viewer(request, who.name)
    pins = []
    for row in desk_of(request).pinned(who):
        own = row.pinned_by == who.name
        undo = {"may": may(who.role.value, "unpin", own), "reason": needs_reason("unpin", own)}
        pins.append(view_of(row) | {"undo": undo})
    return render(request, "pins.html", pins=pins, refresh=30)


@router.get("/list", name="list_fragment")
def list_fragment(request: Request, cursor: Cursor = None) -> Response:
    """The table's bodies alone, for the page's script; a redirect has it read the page anew."""
    if _forgotten(request):
        return RedirectResponse("/?note=search_gone", 303)
    status, values = _table(request, cursor, asked_of(request))
    if status != 200:
        raise Problem("database_down")
    response = render(request, "rows.html", **values)
    response.headers["x-vigie-frame"] = request.state.frame
    response.headers["x-vigie-counts"] = orjson.dumps(values["counts"]).decode()
    return response
