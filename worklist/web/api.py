"""The API that others script against (DESIGN §8): the list, claims, what a lead may do, the live
feed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from worklist.web.desk import Desk
from worklist.web.feed import Feed
from worklist.web.gate import caller_of
from worklist.web.problems import Problem
from worklist.web.schema import Claimed, LeaseOut, Listing, Row

router = APIRouter(prefix="/api/v1")

Text = Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00-\x1f]*$")]
State = Literal[
    "open",
    "all",
    "expected",
    "arriving",
    "readable",
    "preliminary",
    "final",
    "cancelled",
    "historic",
]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(_In):
    """The lease that `next` or `claim` gave. A reader's own browser session may leave it out."""

    token: str | None = Field(default=None, max_length=128)


class Because(_In):
    """Why a person sets the list's order or an AI flag aside."""

    reason: str = Field(min_length=1, max_length=200, pattern=r"\S")


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _lease(request: Request, body: Token | None) -> str | None:
    token = body.token if body else None
    if token is None and caller_of(request).session is None:
        raise Problem("bad_request")
    return token


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


@router.get("/worklist", name="api_worklist", response_model=Listing)
def worklist(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Text = None,
    state: State = "open",
    accession: Text = None,
    study_uid: Text = None,
) -> Response:
    """The list in reading order; what is open by default, lane 3 included."""
    who = caller_of(request).person
    return _json(
        _desk(request).listing(
            who, limit=limit, cursor=cursor, state=state, accession=accession, study_uid=study_uid
        )
    )


@router.get("/studies/{study}", name="api_study", response_model=Row)
def one(request: Request, study: str) -> Response:
    """One study, whatever its state."""
    return _json(_desk(request).study(caller_of(request).person, study))


@router.post("/next", name="api_next", response_model=Claimed)
def next_study(request: Request) -> Response:
    """Claims the first study that is free and can be read; 404 when there is none."""
    claimed = _desk(request).next(caller_of(request).person)
    if claimed is None:
        raise Problem("nothing_to_read")
    return _json(claimed)


@router.post("/studies/{study}/claim", name="api_claim", response_model=Claimed)
def claim(request: Request, study: str) -> Response:
    """Claims this study; 409 when another reader has it or nothing of it can be read yet."""
    return _json(_desk(request).claim(caller_of(request).person, study))


@router.post("/studies/{study}/renew", name="api_renew", response_model=LeaseOut)
def renew(request: Request, study: str, body: Token | None = None) -> Response:
    """Keeps a claim alive."""
    return _json(_desk(request).renew(caller_of(request).person, study, _lease(request, body)))


@router.post("/studies/{study}/release", name="api_release", status_code=204)
def release(request: Request, study: str, body: Token | None = None) -> Response:
    """Gives the study back, unread."""
    _desk(request).release(caller_of(request).person, study, _lease(request, body))
    return Response(status_code=204)


@router.post("/studies/{study}/finish", name="api_finish", status_code=204)
def finish(request: Request, study: str, body: Token | None = None) -> Response:
    """The reader has read it: it leaves the list."""
    _desk(request).finish(caller_of(request).person, study, _lease(request, body))
    return Response(status_code=204)


@router.post("/studies/{study}/skip", name="api_skip", status_code=204)
def skip(request: Request, study: str) -> Response:
    """`next` passes this study by for this reader, for a while; its place on the list stays."""
    _desk(request).skip(caller_of(request).person, study)
    return Response(status_code=204)


@router.post("/studies/{study}/pin", name="api_pin", status_code=204)
def pin(request: Request, study: str, body: Because) -> Response:
    """A lead puts the study first, with a reason."""
    _desk(request).act_on_rank(caller_of(request).person, study, "pin", body.reason)
    return Response(status_code=204)


@router.post("/studies/{study}/clear-flag", name="api_clear_flag", status_code=204)
def clear_flag(request: Request, study: str, body: Because) -> Response:
    """A lead withdraws an AI flag, with a reason; nothing else ever does."""
    _desk(request).act_on_rank(caller_of(request).person, study, "clear_flag", body.reason)
    return Response(status_code=204)


@router.get("/events", name="api_events", response_class=StreamingResponse)
async def events(
    request: Request, last_event_id: Annotated[str | None, Header(max_length=128)] = None
) -> StreamingResponse:
    """Server-sent events: `rows` {items, gone, as_of}, `reload` after a gap, `beat`, `stale` while
    the database is away.
    """
    feed: Feed = request.app.state.feed
    session = caller_of(request).session
    sessions = request.app.state.door.sessions

    def ended() -> bool:
        return session is not None and sessions.ended(session)

    stream: AsyncIterator[bytes] = feed.follow(last_event_id, ended)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )
