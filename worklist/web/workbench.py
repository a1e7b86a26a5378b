"""The workbench by API: what does not fit together. What mends it are the acts on its rows."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from worklist.sql.asking.workbench import OFF_LIST, SAYS
from worklist.web.api import Cursor
from worklist.web.desk import desk_of
from worklist.web.door.access import caller_of
from worklist.web.schema import Listing, OffListRows, Workbench, WorkbenchKind

router = APIRouter(prefix="/api/v1/workbench")
Name = Literal[
    "orders-without-images",
    "images-without-order",
    "identity-conflicts",
    "cancelled-with-images",
    "not-received",
]


@router.get("", name="api_workbench", response_model=Workbench)
def kinds(request: Request) -> Workbench:
    """How many rows there are of each kind of oddity, up to a thousand."""
    counts = desk_of(request).odd_counts()
    found = (WorkbenchKind(kind=kind, count=counts[kind], says=SAYS[kind]) for kind in SAYS)
    return Workbench(items=tuple(found))


@router.get(f"/{OFF_LIST}", name="api_off_list", response_model=OffListRows)
def off_list(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> OffListRows:
    """Orders that a rule of their sender keeps off the list; `promote` brings one up."""
    return OffListRows(items=desk_of(request).off_list(caller_of(request).person, limit))


@router.get("/{kind}", name="api_workbench_rows", response_model=Listing)
def rows(
    request: Request,
    kind: Name,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = None,
) -> Response:
    """The open rows of one kind, in reading order."""
    who = caller_of(request).person
    found = desk_of(request).odd(who, kind, limit=limit, cursor=cursor)
    return Response(found.model_dump_json(), media_type="application/json")
