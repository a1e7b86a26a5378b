"""The API that other programs are written against: the list, claims, what a lead may do, the live
feed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from starlette.responses import Response

from streams.storage.key_images import KeyImageFolder
from worklist.record.acts import ActName
from worklist.sql import audit, queue
from worklist.sql.acts import Wish
from worklist.sql.asking.search import Asked
from worklist.sql.database import translated
from worklist.sql.key_images import key_image_of
from worklist.sql.rights import may
from worklist.web.desk import desk_of
from worklist.web.door.access import access_of, caller_of
from worklist.web.door.auth import Person
from worklist.web.problems import Problem
from worklist.web.schema import (
    MOST_SEEN,
    BesideOut,
    Claimed,
    FoundOut,
    LeaseOut,
    LeasesOut,
    Listing,
    Row,
    SharedNumbers,
)

router = APIRouter(prefix="/api/v1")
SEARCHED = 100  # rows of one page of a search

Cursor = Annotated[str | None, Query(max_length=512, pattern=r"^[A-Za-z0-9_=-]*$")]
Text = Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00-\x1f]*$")]
State = Literal[
    "open",
    "all",
    "expected",
    "arriving",
    "readable",
    "preliminary",
    "read",
    "final",
    "cancelled",
    "historic",
]


@dataclass(frozen=True)
class KeyImages:
    """The pictures of flags: informational, each on its study's own page."""

    engine: Engine
    folder: KeyImageFolder

    def read(self, who: Person, study: str) -> bytes | None:
        """The PNG, its reading audited; None where the row has none, or its pixels are gone.

        Raises QueueError `not_found`.
        """
        with translated(), self.engine.begin() as connection:
            row = queue.detail(connection, study)
            place = key_image_of(connection, row)
            if place is None:
                return None
            detail = {"role": who.role.value, "key_image": True}
            audit.append(connection, "open", row["study"], actor=who.name, detail=detail)
        return self.folder.read(place)


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(_In):
    """The lease's token, as `next` or `claim` gave it. A browser's session may leave it out."""

    token: str | None = Field(default=None, max_length=128)


Reason = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Code = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f]*$")]


class Finish(Token):
    """`seen`: ids of the fragments and reports that the reader was shown last; without it, those of
    the claim.
    """

    seen: tuple[str, ...] | None = Field(default=None, max_length=MOST_SEEN)


class Release(Token):
    """Without a token a lead gives back what another reader has, and says why."""

    reason: Reason = ""


class Siblings(_In):
    """Whether what belongs with the study is claimed too, where it is free."""

    siblings: bool = False


class Claim(Siblings):
    """`sure`: also when somebody reads it elsewhere, or had it open until a moment ago."""

    sure: bool = False


class Wanted(_In):
    """What an act needs beside its name: why, a class or an outcome, an order.

    Which of them it is about, the list says: `reason_required`, `bad_code`, `not_an_order`.
    """

    reason: Reason = ""
    code: Code = ""
    order: Code = ""
    act_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")


class HandOver(Token):
    """To whom, and why."""

    to: Code
    reason: Reason = ""


class DoneOut(BaseModel):
    """What was done: its id (an undo names it), the row's name now, whether it is still open; late:
    the lease had run out. The undo of a finish gives the lease back.
    """

    act_id: str
    study: str
    open: bool
    late: bool = False
    lease: LeaseOut | None = None


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
    cursor: Cursor = None,
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


class Search(_In):
    """Words of names, numbers, exam or date, and facets; a POST, since URLs are written down."""

    words: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")] = ""
    state: Code = ""
    ai: Code = ""
    modality: Code = ""
    location: Code = ""
    order_class: Code = Field(default="", alias="class")
    sort: Code = "rank"
    page: int = Field(default=0, ge=0, le=1000)


@router.post("/search", name="api_search", response_model=FoundOut)
def search(request: Request, body: Search) -> Response:
    """Rows by words and facets: waiting, read and historic; of words, any state unless one is
    named.
    """
    items, more = desk_of(request).search(
        caller_of(request).person, Asked(**body.model_dump()), SEARCHED
    )
    return _json(FoundOut(items=items, more=more))


@router.get("/studies/{study}", name="api_study", response_model=Row)
def one(request: Request, study: str) -> Response:
    """One study, whatever its state."""
    return _json(desk_of(request).study(caller_of(request).person, study))


@router.get("/studies/{study}/reports", name="api_reports", response_model=BesideOut)
def reports(request: Request, study: str) -> Response:
    """The texts of its reports, and what its orders say beside; an opening of it, audited."""
    desk = desk_of(request)
    return _json(desk.beside(desk.study(caller_of(request).person, study)))


@router.get("/studies/{study}/key-image", name="api_key_image", response_class=Response)
def key_image(request: Request, study: str) -> Response:
    """What was flagged, as a PNG: informational, not for diagnosis. 404 where there is none."""
    found: KeyImages = request.app.state.key_images
    png = found.read(caller_of(request).person, study)
    if png is None:
        raise Problem("not_found")
    return Response(png, media_type="image/png")


@router.post("/next", name="api_next", response_model=Claimed)
def next_study(request: Request, body: Siblings | None = None) -> Response:
    """Claims the first study that is free and can be read; 404 when there is none."""
    siblings = body.siblings if body else False
    claimed = desk_of(request).next(caller_of(request).person, siblings=siblings)
    if claimed is None:
        raise Problem("nothing_to_read")
    return _json(claimed)


@router.post("/studies/{study}/claim", name="api_claim", response_model=Claimed)
def claim(request: Request, study: str, body: Claim | None = None) -> Response:
    """Claims this study; 409 when another reader has it, says so elsewhere or had it open until a
    moment ago, or nothing of it can be read yet.
    """
    wanted, who = body or Claim(), caller_of(request).person
    return _json(desk_of(request).claim(who, study, siblings=wanted.siblings, sure=wanted.sure))


@router.post("/studies/{study}/renew", name="api_renew", response_model=LeaseOut)
def renew(request: Request, study: str, body: Token | None = None) -> Response:
    """Keeps a claim alive."""
    return _json(
        desk_of(request).renew(caller_of(request).person, study, _lease_token(request, body))
    )


@router.post("/renew", name="api_renew_all", response_model=LeasesOut)
def renew_all(request: Request) -> Response:
    """Keeps all claims of this reader alive; one that ran out, and that nobody took, revives."""
    leases = desk_of(request).renew_all(caller_of(request).person)
    return _json(LeasesOut(leases=leases))


@router.post("/studies/{study}/release", name="api_release", status_code=204)
def release(request: Request, study: str, body: Release | None = None) -> Response:
    """Gives the study back, unread; a lead also without its token, with a reason."""
    wanted, who = body or Release(), caller_of(request).person
    by_force = may(who.role.value, "release", own=False)
    token = wanted.token if by_force else _lease_token(request, wanted)
    desk_of(request).release(who, study, token, wanted.reason)
    return Response(status_code=204)


@router.post("/studies/{study}/finish", name="api_finish", response_model=DoneOut)
def finish(request: Request, study: str, body: Finish | None = None) -> Response:
    """The reader has read it: it leaves the list, until something comes that was not seen."""
    return _do(
        request,
        study,
        "finish",
        token=_lease_token(request, body),
        seen=body.seen if body else None,
    )


@router.post("/studies/{study}/take-over", name="api_take_over", response_model=Claimed)
def take_over(request: Request, study: str, body: Wanted) -> Response:
    """Takes a study that another reader has, with a reason."""
    return _json(desk_of(request).take_over(caller_of(request).person, study, body.reason))


@router.post("/studies/{study}/hand-over", name="api_hand_over", status_code=204)
def hand_over(request: Request, study: str, body: HandOver) -> Response:
    """Gives one's study to another reader, with a reason."""
    who, token = caller_of(request).person, _lease_token(request, body)
    if not access_of(request).readers.named(body.to):
        raise Problem("no_such_reader")
    desk_of(request).hand_over(who, study, token, body.to, body.reason)
    return Response(status_code=204)


def _do(request: Request, study: str, act: ActName, **wanted: Any) -> Response:
    who = caller_of(request).person
    wish = Wish(act, study, who.name, who.role.value, **wanted)
    done = desk_of(request).do(who, wish)
    return _json(
        DoneOut(
            act_id=done.act_id, study=done.study, open=done.open, late=done.late, lease=done.lease
        )
    )


def _add_act(act: ActName, says: str) -> None:
    """One route of the acts that need no more than a reason, a code or an order."""

    def route(request: Request, study: str, body: Wanted | None = None) -> Response:
        wanted = body or Wanted()
        return _do(
            request,
            study,
            act,
            reason=wanted.reason,
            code=wanted.code,
            order=wanted.order,
            undoes=wanted.act_id,
        )

    route.__doc__ = says
    path = PATHS.get(act, act.replace("_", "-"))
    router.add_api_route(
        f"/studies/{{study}}/{path}",
        route,
        methods=["POST"],
        name=f"api_{act}",
        response_model=DoneOut,
    )


PATHS = {"set_priority": "priority"}
ACTS: dict[ActName, str] = {
    "skip": "`next` passes this study by for this reader, for a while; a claim ends.",
    "pin": "Puts the study first, with a reason.",
    "unpin": "Takes a pin back: one's own, or as a lead another's with a reason.",
    "promote": "Puts a historic study, or an order off the list, on it, with a reason.",
    "clear_flag": "A lead withdraws what AI flagged so far, with a reason; nothing else ever does.",
    "set_priority": "A lead sets the order class, with a reason.",
    "link": "A lead says that an order is this study's, with a reason.",
    "unlink": "A lead says that an order is not this study's, with a reason.",
    "confirm_cancel": "A lead confirms that a cancelled study with images is not read.",
    "reopen": "Puts a closed study back on the list, with a reason.",
    "outcome": "Says what came of it.",
    "undo": "Takes one's own act back, within ten seconds.",
}
for _act, _says in ACTS.items():
    _add_act(_act, _says)


@router.get("/shared-numbers", name="api_shared_numbers", response_model=SharedNumbers)
def shared_numbers(
    request: Request, most: Annotated[int, Query(alias="limit", ge=1, le=1000)] = 100
) -> Response:
    """Numbers that join nothing, because too many name them: the worst first."""
    found = desk_of(request).shared_numbers(most)
    return _json(SharedNumbers.model_validate({"items": found}, from_attributes=True))
