"""The senders by API: what the gateways said of each, and what was kept of what was refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from sqlalchemy import Engine
from starlette.responses import Response

from worklist.sql.database import translated
from worklist.sql.senders import asking
from worklist.sql.senders.asking import SenderView
from worklist.web.schema import Senders

router = APIRouter(prefix="/api/v1")


@dataclass(frozen=True)
class Told:
    """What is kept of the senders."""

    engine: Engine

    def senders(self) -> list[SenderView]:
        """Each sender at each of its doors. Raises Unavailable."""
        with translated(), self.engine.begin() as connection:
            return asking.senders(connection, datetime.now(UTC))


@router.get("/senders", name="api_senders", response_model=Senders)
def senders(request: Request) -> Response:
    """Of each sender and door the last message, rate, answers, refusals by reason with what was
    kept of them, and silence.
    """
    told: Told = request.app.state.told
    found = Senders.model_validate({"items": told.senders()}, from_attributes=True)
    return Response(found.model_dump_json(), media_type="application/json")
