"""The API that other programs are written against: the list, claims, what a lead may do, the live
feed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from worklist.web.access import access_of, caller_of
from worklist.web.desk import desk_of
from worklist.web.feed import Feed
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
    """The lease's token, as `next` or `claim` gave it. A browser's session may leave it out."""

    token: str | None = Field(default=None, max_length=128)


class WithReason(_In):
    """Why a person sets the list's order or an AI flag aside."""

    reason: str = Field(min_length=1, max_length=200, pattern=r"\S")


def _lease_token(request: Request, body: Token | None) -> str | None:
    """The token that was sent; None only from a browser session, which says who asks."""
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
        desk_of(request).listing(
            who, limit=limit, cursor=cursor, state=state, accession=accession, study_uid=study_uid
        )
    )


@router.get("/studies/{study}", name="api_study", response_model=Row)
def one(request: Request, study: str) -> Response:
    """One study, whatever its state."""
    return _json(desk_of(request).study(caller_of(request).person, study))


@router.post("/next", name="api_next", response_model=Claimed)
def next_study(request: Request) -> Response:
    """Claims the first study that is free and can be read; 404 when there is none."""
    claimed = desk_of(request).next(caller_of(request).person)
    if claimed is None:
        raise Problem("nothing_to_read")
    return _json(claimed)


@router.post("/studies/{study}/claim", name="api_claim", response_model=Claimed)
def claim(request: Request, study: str) -> Response:
    """Claims this study; 409 when another reader has it or nothing of it can be read yet."""
    return _json(desk_of(request).claim(caller_of(request).person, study))


@router.post("/studies/{study}/renew", name="api_renew", response_model=LeaseOut)
def renew(request: Request, study: str, body: Token | None = None) -> Response:
    """Keeps a claim alive."""
    return _json(
        desk_of(request).renew(caller_of(request).person, study, _lease_token(request, body))
    )


@router.post("/studies/{study}/release", name="api_release", status_code=204)
def release(request: Request, study: str, body: Token | None = None) -> Response:
    """Gives the study back, unread."""
    desk_of(request).release(caller_of(request).person, study, _lease_token(request, body))
    return Response(status_code=204)


@router.post("/studies/{study}/finish", name="api_finish", status_code=204)
def finish(request: Request, study: str, body: Token | None = None) -> Response:
    """The reader has read it: it leaves the list."""
    desk_of(request).finish(caller_of(request).person, study, _lease_token(request, body))
    return Response(status_code=204)


@router.post("/studies/{study}/skip", name="api_skip", status_code=204)
def skip(request: Request, study: str) -> Response:
    """`next` passes this study by for this reader, for a while; its place on the list stays."""
    desk_of(request).skip(caller_of(request).person, study)
    return Response(status_code=204)


@router.post("/studies/{study}/pin", name="api_pin", status_code=204)
def pin(request: Request, study: str, body: WithReason) -> Response:
    """A lead puts the study first, with a reason."""
    desk_of(request).act_on_rank(caller_of(request).person, study, "pin", body.reason)
    return Response(status_code=204)


@router.post("/studies/{study}/clear-flag", name="api_clear_flag", status_code=204)
def clear_flag(request: Request, study: str, body: WithReason) -> Response:
    """A lead withdraws an AI flag, with a reason; nothing else ever does."""
    desk_of(request).act_on_rank(caller_of(request).person, study, "clear_flag", body.reason)
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
    sessions = access_of(request).sessions

    def ended() -> bool:
        return session is not None and sessions.ended(session)

    stream: AsyncIterator[bytes] = feed.follow(last_event_id, ended)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )
