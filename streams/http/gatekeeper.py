"""Who may come in, how large, how fast and how often: asked before anything reads a body."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Any

import orjson

from streams import metrics
from streams.errors import Reason, Refuse
from streams.http.problems import headers_of, outcome, problem, status_of
from streams.senders.seen import STRANGER, Seen
from streams.senders.site import Sender, Site
from streams.settings import StreamsSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
#: What everybody may read: it describes the door.
PUBLIC = frozenset({"/openapi.json", "/fhir/metadata"})
STOW = "/dicomweb/"
SLOWEST, _GRACE_S = 16 * 1024, 30.0  # bytes a second of a body, once it took so long
_SILENCE_S = 30.0


class Gatekeeper:
    """Before the application: names the sender in the scope, or refuses; counts every refusal."""

    def __init__(
        self,
        app: App,
        settings: StreamsSettings,
        site: Site,
        seen: Seen,
        now: Callable[[], datetime],
    ) -> None:
        self._app, self._settings, self._site = app, settings, site
        self._seen, self._now = seen, now
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await self._app(scope, receive, send)
            return
        metrics.received.labels("http", _kind(scope["path"])).inc()
        try:
            sender = self._sender(scope)
        except Refuse as refusal:
            await self._refuse(scope, send, refusal, STRANGER)
            return
        send = self._counting(send, sender)
        if _is_encoded(scope):
            encoded = Refuse(Reason.UNSUPPORTED_SYNTAX, "Content-Encoding")
            await self._refuse(scope, send, encoded, sender.name)
            return
        if self._under_way[sender.name] >= self._settings.http_requests_each:
            too_many = Refuse(Reason.OVERLOADED, "requests of this sender")
            await self._refuse(scope, send, too_many, sender.name)
            return
        self._under_way[sender.name] += 1
        scope["state"] = {**scope.get("state", {}), "sender": sender}
        body = _Body(receive, self._most(scope))
        metrics.connections.labels("http").inc()
        try:
            await self._app(scope, body.receive, send)
        finally:
            metrics.connections.labels("http").dec()
            self._under_way[sender.name] -= 1

    def turned_away(self, refusal: Refuse, peer: str) -> None:
        """A connection came to nothing before it asked for anything."""
        self._seen.refused("http", refusal, peer=peer, status=status_of(refusal))

    async def _refuse(self, scope: Scope, send: Send, refusal: Refuse, sender: str) -> None:
        """Answers with the document that the path speaks."""
        status, peer = status_of(refusal), str((scope.get("client") or ("",))[0])
        self._seen.refused("http", refusal, sender, peer=peer, status=status)
        fhir = scope["path"].startswith("/fhir")
        body = orjson.dumps(outcome(refusal) if fhir else problem(refusal))
        kind = "application/fhir+json" if fhir else "application/problem+json"
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **headers_of(status)}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    def _counting(self, send: Send, sender: Sender) -> Send:
        async def counting(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                code = str(message["status"])
                metrics.answered.labels("http", code).inc()
                self._seen.answered("http", sender.name, code, self._now())
            await send(message)

        return counting

    def _most(self, scope: Scope) -> int | None:
        """Bytes of its body; images have bounds of their own."""
        return None if scope["path"].startswith(STOW) else self._settings.http_max_bytes

    def _sender(self, scope: Scope) -> Sender:
        """By bearer token or, at a door with TLS, by certificate; both must name the same one."""
        token = dict(scope["headers"]).get(b"authorization", b"")
        names: tuple[str, ...] = scope.get("certificate") or ()
        kind, _, value = token.decode("latin_1").partition(" ")
        if kind.lower() == "bearer" and value.strip():
            sender = self._site.sender_for_token(value.strip())
            wanted = set(sender.certificates)
            if names and wanted and not wanted & set(names):
                raise Refuse(Reason.NOT_AUTHORISED, "certificate")
            return sender
        if names:
            return self._site.sender_for_certificate(names)
        raise Refuse(Reason.UNKNOWN_SENDER, "Authorization")


def _is_encoded(scope: Scope) -> bool:
    """Whether the body is compressed: nothing here unpacks what a sender packed, so that no body is
    larger than what came.
    """
    return any(
        name == b"content-encoding" and value.strip().lower() not in (b"", b"identity")
        for name, value in scope["headers"]
    )


_KINDS = frozenset({"orders", "reports", "patients", "merges"})


def _kind(path: str) -> str:
    """What a path takes: a label from a closed list."""
    first, _, rest = path.strip("/").partition("/")
    if first == "v1":
        return rest if rest in _KINDS else "other"
    return {"fhir": "fhir", "dicomweb": "instances"}.get(first, "other")


class _Body:
    """The body of one request, bounded in size and slowness."""

    def __init__(self, receive: Receive, most: int | None) -> None:
        self._receive, self._most = receive, most
        self._since, self._read = time.monotonic(), 0
        self._whole = False

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece. Raises Refuse `too_large` or `too_slow`."""
        if self._whole:  # now only whether the caller goes away
            return await self._receive()
        try:
            async with asyncio.timeout(_SILENCE_S):
                message = await self._receive()
        except TimeoutError:
            raise Refuse(Reason.TOO_SLOW, "body") from None
        self._read += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._most is not None and self._read > self._most:
            raise Refuse(Reason.TOO_LARGE, "body")
        if time.monotonic() - self._since > _GRACE_S + self._read / SLOWEST:
            raise Refuse(Reason.TOO_SLOW, "body")
        return message
