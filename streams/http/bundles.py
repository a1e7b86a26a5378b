"""Single FHIR resources and Bundles: read, mapped, published, and answered with their outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson

from streams.errors import Reason, Refuse, VigieError
from streams.http import fhir, fhir_tables
from streams.http.bodies import merged
from streams.http.fhir_names import Resource, identity_of
from streams.http.making import Keyed, Request
from streams.http.problems import outcome, status_of
from streams.sealed import Identity

#: Returns once the broker has confirmed all of the events; raises Unavailable.
Publish = Callable[[list[Keyed]], Awaitable[None]]
_TOGETHER = frozenset({"transaction", "message", "collection", "document"})
_MOST = 1000  # entries of a Bundle
Document = dict[str, Any]


def read(body: bytes) -> Any:
    """JSON. Raises Refuse `bad_json`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refuse(Reason.BAD_JSON) from None


async def take(request: Request, publish: Publish, kind: str = "", name: str = "") -> Document:
    """A resource, or a Bundle: the answer, once all of it is durable.

    Args:
        kind: the type that the path names; empty: any.
        name: the id that the path names; empty: any.

    Raises:
        VigieError: what was wrong; of a batch each entry is told on its own.
    """
    resource = read(request.body)
    found = resource.get("resourceType") if isinstance(resource, dict) else None
    if kind and found != kind:
        raise Refuse(Reason.BAD_FIELD, "resourceType")
    if name and resource.get("id", name) != name:  # of two orders, which is meant?
        raise Refuse(Reason.BAD_REQUEST, "id")
    if found == "Bundle":
        return await _bundle(resource, request, publish)
    # What is none of ours may be anything, a name too, and is not quoted.
    where = str(found) if found in fhir_tables.RESOURCES else "resource"
    await publish(await _apart(_mapped, resource, where, request, {}))
    return outcome(None, request.unknown)


async def _bundle(bundle: Resource, request: Request, publish: Publish) -> Document:
    kind, entries = bundle.get("type"), bundle.get("entry") or []
    if kind not in _TOGETHER | {"batch"}:
        raise Refuse(Reason.BAD_FIELD, "Bundle.type")
    if not isinstance(entries, list) or len(entries) > _MOST:
        raise Refuse(Reason.TOO_LARGE, "Bundle.entry")
    resources = [entry.get("resource") if isinstance(entry, dict) else None for entry in entries]
    methods = [_method(entry) for entry in entries]
    named = _named(entries)
    if kind in _TOGETHER:
        made: list[Keyed] = []
        answers: list[Document] = []
        for number, resource in enumerate(resources):
            _check_method(methods[number], number)
            before = len(request.unknown)
            made += await _apart(_of_entry, resource, number, request, named)
            answers.append(_taken(request.unknown[before:]))
        await publish(made)
    else:
        answers = [
            await _batched(resource, methods[number], number, request, named, publish)
            for number, resource in enumerate(resources)
        ]
    answer = "batch-response" if kind == "batch" else "transaction-response"
    return {"resourceType": "Bundle", "type": answer, "entry": answers}


def _of_entry(
    resource: Any, number: int, request: Request, named: dict[str, Resource]
) -> list[Keyed]:
    where = f"Bundle.entry[{number}].resource"
    if isinstance(resource, dict) and resource.get("resourceType") in _PASSED_OVER:
        return []
    return _mapped(resource, where, request, named)


def _mapped(resource: Any, where: str, request: Request, named: dict[str, Resource]) -> list[Keyed]:
    return fhir.events(fhir.validated(resource, where), request, _resolver(named))


async def _apart(work: Callable[..., list[Keyed]], *given: Any) -> list[Keyed]:
    """In a thread: a large Bundle takes seconds, and HL7 is answered by the same loop."""
    return await asyncio.to_thread(work, *given)


#: What comes along in Bundles and says nothing that the list is about.
_PASSED_OVER = frozenset(
    {"Organization", "Practitioner", "PractitionerRole", "Location", "Encounter", "MessageHeader"}
    | {"Endpoint", "Observation", "Provenance", "Composition", "OperationOutcome"}
)


async def _batched(
    resource: Any,
    method: str,
    number: int,
    request: Request,
    named: dict[str, Resource],
    publish: Publish,
) -> Document:
    try:
        _check_method(method, number)
        # of its own bytes, so that the same entry in another batch is the same event
        own = replace(request, body=orjson.dumps(resource))
        await publish(await _apart(_of_entry, resource, number, own, named))
    except VigieError as error:
        return {"response": {"status": str(status_of(error)), "outcome": outcome(error)}}
    return _taken(own.unknown)


def _taken(unknown: list[str]) -> Document:
    """The answer to an entry; with an outcome where a patient is not known."""
    told = {"outcome": outcome(None, unknown)} if unknown else {}
    return {"response": {"status": "200", **told}}


def _method(entry: Any) -> str:
    """What is to be done with the resource; "" where the entry does not say."""
    asked = entry.get("request") if isinstance(entry, dict) else None
    return str(asked.get("method") or "") if isinstance(asked, dict) else ""


def _check_method(method: str, number: int) -> None:
    """A resource that comes along with a DELETE is not there any more. Raises Refuse."""
    if method not in ("", "POST", "PUT"):
        raise Refuse(Reason.UNSUPPORTED_MESSAGE, f"Bundle.entry[{number}].request.method")


def _named(entries: list[Any]) -> dict[str, Resource]:
    """The resources of a Bundle by what references call them: fullUrl, and type and id."""
    named: dict[str, Resource] = {}
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        if isinstance(url := entry.get("fullUrl"), str):
            named[url] = resource
        named.setdefault(f"{resource.get('resourceType')}/{resource.get('id')}", resource)
    return named


def _resolver(named: dict[str, Resource]) -> fhir.Resolve:
    def resolve(resource: Resource, reference: str) -> Resource | None:
        if reference.startswith("#"):
            return next(
                (one for one in resource.get("contained") or () if one.get("id") == reference[1:]),
                None,
            )
        return named.get(reference)

    return resolve


async def merge(request: Request, publish: Publish) -> Document:
    """Patient/$merge: source and target by identifier, or by a reference with one. Raises
    VigieError.
    """
    body = read(request.body)
    parameters = body.get("parameter") if isinstance(body, dict) else None
    if not isinstance(parameters, list) or body.get("resourceType") != "Parameters":
        raise Refuse(Reason.BAD_FIELD, "Parameters.parameter")
    source, target = (_person(parameters, name, request) for name in ("source", "target"))
    await publish(merged(request, target, source, "merge", None))
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": "outcome", "resource": outcome(None)}],
    }


def _person(parameters: list[Any], name: str, request: Request) -> Identity:
    for one in parameters:
        if not isinstance(one, dict):
            continue
        if one.get("name") == f"{name}-patient-identifier":
            identifier = one.get("valueIdentifier")
        elif one.get("name") == f"{name}-patient":
            reference = one.get("valueReference")
            identifier = reference.get("identifier") if isinstance(reference, dict) else None
        else:
            continue
        if isinstance(identifier, dict):
            patient = {"resourceType": "Patient", "identifier": [identifier]}
            who = identity_of(fhir.validated(patient, name), request)
            if who.patient_id:
                return who
    raise Refuse(Reason.MISSING_FIELD, f"{name}-patient-identifier")
