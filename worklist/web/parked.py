"""What is parked, by API: it stays sealed in its topic.

Anybody who may mend a sender sees why, and the shape of a message; its content is opened for a lead
who says why, and the audit has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from starlette.responses import Response

from streams.errors import Park
from streams.hl7.door import ORIGIN
from streams.hl7.outline import outline, text_of
from streams.identity.seal import KeyRing
from streams.kafka.parked import Entry, entry
from streams.settings import StreamsSettings
from worklist.sql import audit
from worklist.sql.database import translated
from worklist.sql.senders import asking
from worklist.sql.senders.asking import ParkedView
from worklist.web.api import Code, Reason
from worklist.web.door.access import caller_of
from worklist.web.door.auth import Person
from worklist.web.problems import Problem
from worklist.web.schema import ParkedContent, ParkedList, ParkedShape

router = APIRouter(prefix="/api/v1/parked")


@dataclass(frozen=True)
class Shelf:
    """What is parked; each question raises Unavailable."""

    engine: Engine
    settings: StreamsSettings
    ring: KeyRing

    def listed(self, sender: str, reason: str, most: int) -> list[ParkedView]:
        """What is parked, the newest first."""
        with translated(), self.engine.begin() as connection:
            return asking.parked(connection, sender=sender, reason=reason, most=most)

    def entry(self, name: str) -> Entry:
        """One of them. Raises Problem `not_parked`."""
        found = entry(self.settings, name) if self.settings.kafka else None
        if found is None:
            raise Problem("not_parked")
        return found

    def original(self, found: Entry) -> bytes:
        """What was sent. Raises Problem `bad_seal` where the key ring cannot open it."""
        try:
            return self.ring.open(found.parked.original)
        except Park:
            raise Problem("bad_seal") from None

    def open(self, who: Person, name: str, reason: str) -> tuple[Entry, bytes]:
        """Its content, the opening audited before anybody sees it."""
        found = self.entry(name)
        original = self.original(found)
        detail = {"id": name, "role": who.role.value, "sender": found.parked.sender}
        with translated(), self.engine.begin() as connection:
            audit.append(
                connection, "parked_opened", "", actor=who.name, reason=reason, detail=detail
            )
        return found, original


def _shelf(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.parked
    return shelf


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


@router.get("", name="api_parked", response_model=ParkedList)
def parked(
    request: Request,
    sender: Code = "",
    reason: Code = "",
    most: Annotated[int, Query(alias="limit", ge=1, le=1000)] = 100,
) -> Response:
    """What could not be used, the newest first; never its content."""
    found = _shelf(request).listed(sender, reason, most)
    return _json(ParkedList.model_validate({"items": found}, from_attributes=True))


@router.get("/{name}", name="api_parked_one", response_model=ParkedShape)
def parked_one(request: Request, name: str) -> Response:
    """Why one is parked and, of an HL7 message, its shape: segments and codes, letters as x and
    digits as 9 where they may be a patient's.
    """
    shelf = _shelf(request)
    found = shelf.entry(name)
    lines = outline(shelf.original(found)) if found.parked.topic == ORIGIN else []
    return _json(ParkedShape.model_validate({**found.public(), "shape": lines}))


class Opening(BaseModel):
    """Why it is opened."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason = Field(default="")


@router.post("/{name}/open", name="api_parked_open", response_model=ParkedContent)
def parked_open(request: Request, name: str, body: Opening) -> Response:
    """What was sent, as text: a lead's, with a reason; who opened what is in the audit."""
    if not body.reason.strip():
        raise Problem("reason_required")
    found, original = _shelf(request).open(caller_of(request).person, name, body.reason)
    hl7 = found.parked.topic == ORIGIN
    text = text_of(original) if hl7 else original.decode(errors="replace")
    return _json(ParkedContent.model_validate({**found.public(), "content": text}))
