"""The paths of the HTTP door. Each answers yes only for what is durable (promise 1)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Protocol

import orjson
from fastapi import APIRouter, FastAPI, Header, Path, Response
from fastapi import Request as Call
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from streams import metrics
from streams.dicom.receiving import Caller, Reception
from streams.dicom.upper.admission import Place
from streams.dicom.upper.association import Peer
from streams.errors import Reason, Refuse, VigieError
from streams.events import OrderChanged, encode
from streams.http import bundles, capability, stow
from streams.http.bodies import MergeBody, OrderBody, PersonBody, ReportBody
from streams.http.making import Keyed, Request
from streams.http.multipart import boundary_of
from streams.http.problems import headers_of, outcome, problem, status_of
from streams.http.repeats import Repeats
from streams.identity.seal import KeyRing
from streams.kafka.topics import ORDERS, SERIES
from streams.senders.seen import STRANGER, Seen
from streams.senders.site import Sender, Site

#: So many answers are remembered by their Idempotency-Key.
_REMEMBERED = 100_000
_DICOM_JSON, _FHIR_JSON = "application/dicom+json", "application/fhir+json"
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="the same key again is the same request: it has no second effect",
    ),
]
Uid = Annotated[str, Path(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]


class PublisherLike(Protocol):
    """What the door needs of a publisher."""

    def publish(self, topic: str, key: str, value: bytes) -> Awaitable[None]:
        """Returns once the broker has confirmed; raises Unavailable."""


class Problem(BaseModel):
    """RFC 9457, with the reason of the closed list and the field, never a value."""

    type: str
    title: str
    status: int
    reason: str
    where: str


class Accepted(BaseModel):
    """It is durable. No events: understood, and none of the list's business."""

    events: list[str]


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/problem+json": {"schema": _REF}}}
    for _REF in ({"$ref": "#/components/schemas/Problem"},)
    for status, text in (
        (400, "no JSON"),
        (401, "no sender of the site"),
        (403, "not this sender's right"),
        (408, "too slow"),
        (413, "too large"),
        (415, "not JSON, or compressed"),
        (422, "understood, and not usable"),
        (429, "too many at once: come again"),
        (503, "cannot be made durable now: come again"),
    )
}


class Paths:
    """What the paths share.

    Args:
        now: wall clock, aware.
        seen: what all doors of the gateway see.
    """

    def __init__(
        self,
        site: Site,
        ring: KeyRing,
        publisher: PublisherLike,
        reception: Reception,
        now: Callable[[], datetime],
        seen: Seen,
    ) -> None:
        self._site, self._ring, self._publisher = site, ring, publisher
        self._reception, self._now, self.seen = reception, now, seen
        self._repeats = Repeats()
        self._answers: OrderedDict[tuple[str, str], tuple[str, list[str]]] = OrderedDict()

    async def request(self, call: Call, key: str | None = None) -> Request:
        """Who asks for what; `key` is its Idempotency-Key."""
        sender: Sender = call.state.sender
        body = await call.body()
        return Request(self._site, sender, self._ring, self._now(), body, key or "")

    async def resource(self, call: Call) -> Request:
        """Who sends FHIR, which is JSON here. Raises Refuse `unsupported_transfer_syntax`."""
        if "json" not in call.headers.get("content-type", "json").lower():
            raise Refuse(Reason.UNSUPPORTED_SYNTAX, "Content-Type")
        return await self.request(call)

    async def publish(self, events: list[Keyed]) -> None:
        """Those of a request without Idempotency-Key."""
        await self._confirmed(self._repeats.told(events))

    async def _confirmed(self, events: list[Keyed]) -> None:
        """Returns once all are. Raises Unavailable."""
        for key, event in events:
            topic = SERIES if event.type == "ExamProgressed" else ORDERS
            await self._publisher.publish(topic.name, key, encode(event))
            if isinstance(event, OrderChanged) and event.imaging is False:
                metrics.not_imaging.labels("http").inc()
                self.seen.not_imaging("http", event.sender, event.procedure or "")
        if not events:
            metrics.no_effect.labels("http", "other").inc()

    async def take(
        self, call: Call, body: OrderBody | ReportBody | PersonBody | MergeBody, key: str | None
    ) -> Accepted:
        """Maps, publishes, remembers. Raises VigieError."""
        request = await self.request(call, key)
        name = (request.sender.name, f"{call.url.path} {key}")
        digest = hashlib.sha256(request.body).hexdigest()
        if key and (known := self._answers.get(name)):
            if known[0] != digest:
                raise Refuse(Reason.KEY_REUSED, "Idempotency-Key")
            return Accepted(events=known[1])
        made = body.events(request)
        if not key:
            made = self._repeats.told(made)
        await self._confirmed(made)
        ids = [event.event_id for _, event in made]
        if key:
            self._answers[name] = (digest, ids)
            if len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return Accepted(events=ids)

    async def images(self, call: Call, study: str) -> Response:
        """STOW-RS. Raises Refuse."""
        boundary = boundary_of(call.headers.get("content-type", ""))
        address = call.client.host if call.client else ""
        peer = Peer(Place(address, lambda: None))
        caller = Caller("", call.state.sender, peer)
        stored = await stow.store(self._reception, caller, call.stream(), boundary, study)
        status = stored.status()
        if status == 422:
            raise Refuse(Reason.BAD_REQUEST, "no part")
        return Response(
            orjson.dumps(stored.document()), status, headers_of(status), media_type=_DICOM_JSON
        )


def _json(paths: Paths) -> APIRouter:
    """Orders, reports, patients as JSON of our own."""
    router = APIRouter(prefix="/v1", responses=_PROBLEMS)

    @router.post("/orders")
    async def order(call: Call, body: OrderBody, key: Key = None) -> Accepted:
        return await paths.take(call, body, key)

    @router.post("/reports")
    async def report(call: Call, body: ReportBody, key: Key = None) -> Accepted:
        return await paths.take(call, body, key)

    @router.post("/patients")
    async def patient(call: Call, body: PersonBody, key: Key = None) -> Accepted:
        return await paths.take(call, body, key)

    @router.post("/merges")
    async def merge(call: Call, body: MergeBody, key: Key = None) -> Accepted:
        return await paths.take(call, body, key)

    return router


def _fhir(paths: Paths) -> APIRouter:
    """FHIR R4: single resources, Bundles, $merge."""
    router = APIRouter(prefix="/fhir", include_in_schema=False)

    @router.get("/metadata")
    async def metadata() -> Response:
        return _answer(capability.statement("2026-11-26"))

    @router.post("/Patient/$merge")
    async def merge(call: Call) -> Response:
        return _answer(await bundles.merge(await paths.resource(call), paths.publish))

    @router.post("/")
    @router.post("")
    async def bundle(call: Call) -> Response:
        return _answer(await bundles.take(await paths.resource(call), paths.publish, "Bundle"))

    @router.post("/{kind}")
    @router.put("/{kind}/{name}")
    async def resource(call: Call, kind: str, name: str = "") -> Response:
        created = call.method == "POST"
        answer = await bundles.take(await paths.resource(call), paths.publish, kind, name)
        return _answer(answer, 201 if created else 200)

    return router


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type=_FHIR_JSON)


def _dicomweb(paths: Paths) -> APIRouter:
    """STOW-RS alone: Vigie is not the archive."""
    router = APIRouter(prefix="/dicomweb", include_in_schema=False)

    @router.post("/studies")
    async def instances(call: Call) -> Response:
        return await paths.images(call, "")

    @router.post("/studies/{study}")
    async def instances_of(call: Call, study: Uid) -> Response:
        return await paths.images(call, study)

    return router


def make_app(paths: Paths) -> FastAPI:
    """The application, without its gatekeeper."""
    app = FastAPI(title="Vigie: the HTTP door", version="1", docs_url=None, redoc_url=None)
    for router in (_json(paths), _fhir(paths), _dicomweb(paths)):
        app.include_router(router)

    async def refused(call: Call, error: Exception) -> Response:
        assert isinstance(error, VigieError)
        return _refusal(call, error, paths.seen)

    async def invalid(call: Call, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        json = first["type"] == "json_invalid"
        where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        reason = Reason.BAD_JSON if json else Reason.BAD_FIELD
        return _refusal(call, Refuse(reason, "" if json else where[:64]), paths.seen)

    async def wrong_path(call: Call, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, VigieError):  # raised while the body was read
            return _refusal(call, error.__cause__, paths.seen)
        refusal = Refuse(Reason.BAD_REQUEST, "path")
        document = outcome(refusal) if call.url.path.startswith("/fhir") else problem(refusal)
        document |= {} if "issue" in document else {"status": error.status_code}
        return JSONResponse(document, error.status_code, error.headers, _kind(call))

    app.add_exception_handler(VigieError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, wrong_path)
    _describe(app)
    return app


def _refusal(call: Call, error: VigieError, seen: Seen) -> Response:
    peer = call.client.host if call.client else ""
    sender: Sender | None = getattr(call.state, "sender", None)
    status = status_of(error)
    seen.refused("http", error, sender.name if sender else STRANGER, peer=peer, status=status)
    document = outcome(error) if call.url.path.startswith("/fhir") else problem(error)
    return Response(orjson.dumps(document), status, headers_of(status), media_type=_kind(call))


def _kind(call: Call) -> str:
    return _FHIR_JSON if call.url.path.startswith("/fhir") else "application/problem+json"


def _describe(app: FastAPI) -> None:
    """The published schema names the problem document and how a sender says who it is."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
