"""Routes of what is live: the feed, as a stream or by asking, and whether to believe it."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from worklist.web.door.access import access_of, caller_of
from worklist.web.live.feed import Feed, Missed
from worklist.web.live.stream import FeedStream
from worklist.web.live.truth import Teller
from worklist.web.schema import Polled, TruthOut

router = APIRouter(prefix="/api/v1")


@router.get("/truth", name="api_truth", response_model=TruthOut)
def truth(request: Request) -> Response:
    """How far the list can be believed: what is away, late or off, and how far it is behind."""
    teller: Teller = request.app.state.truth
    told = TruthOut.model_validate(teller.now().as_dict())
    return Response(told.model_dump_json(), media_type="application/json")


FrameName = Annotated[str | None, Query(max_length=64, pattern=r"^[0-9a-f.]*$")]


@router.get("/events", name="api_events", response_class=Response)
async def events(
    request: Request,
    after: FrameName = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Server-sent events: `rows` {items, gone, closed, counts, as_of}, named epoch.n; `reload`
    after a gap, `beat` as `truth`, `dropped` {reason} before a slow client is let go.

    Begins after the frame that Last-Event-ID, or else `after`, names.
    """
    feed: Feed = request.app.state.feed
    access, caller = access_of(request), caller_of(request)
    return FeedStream(feed, last_event_id or after, lambda: access.ended(caller))


@router.get("/changes", name="api_changes", response_model=Polled)
def changes(request: Request, after: FrameName = None) -> Response:
    """The same for who cannot keep a stream open: the frames after the one that `after` names;
    `reload`: that one is not known here any more.
    """
    feed: Feed = request.app.state.feed
    teller: Teller = request.app.state.truth
    missed = feed.missed(after) if after else Missed(feed.id, ())
    frames = ",".join(missed.frames or ())
    reload = "true" if missed.frames is None else "false"
    truth = orjson.dumps(teller.now().as_dict()).decode()
    body = f'{{"id":"{missed.id}","reload":{reload},"frames":[{frames}],"truth":{truth}}}'
    return Response(body, media_type="application/json")
