"""The columns of one item's row: the exam's, the place's and the model's."""

from __future__ import annotations

from typing import Any

from worklist.order.policy import Policy
from worklist.order.rank import rank
from worklist.record.ai import Ai
from worklist.record.items import Item
from worklist.record.world import World
from worklist.sql.asking.search import facets_of, joined, words_of


def columns(item: Item, world: World, policy: Policy, version: str) -> dict[str, Any]:
    """The columns of an item, but for name and stamps; `version` is the policy's."""
    place = rank(item.rank_facts(), policy)
    who, finish, pin = item.identity, item.finish, item.pin
    values = {
        "uid": item.uid,
        "accession": item.accessions[0] if item.accessions else "",
        "accessions": list(item.accessions),
        "members": list(item.members),
        "nodes": sorted({node for fact in item.facts for node in world.nodes(fact)}),
        "person": item.person,
        "patient_id": who.patient_id,
        "patient_issuer": who.issuer,
        "patient_name": who.name or "",
        "birth_date": who.birth_date or "",
        "sex": who.sex or "",
        "other_numbers": [number.model_dump() for number in who.others],
        **_exam_columns(item),
        **_ai_columns(item.ai),
        "siblings": list(item.siblings),
        "lane": place.lane,
        "due_at": place.due_at,
        "received_at": place.received_at,
        "target_at": place.target_at,
        "why": [list(term) for term in place.why],
        "clock": item.clock,
        "scheduled_at": item.shown.scheduled_at,
        "last_image_at": item.last_image_at,
        "report_at": item.report_at,
        "policy_version": version,
        "pinned_by": pin.actor if pin else "",
        "pinned_reason": pin.reason if pin else "",
        "outcome": item.outcome,
        "finished_by": finish.actor if finish else "",
        "finished_at": finish.at if finish else None,
        "finish_id": finish.act_id if finish else "",
        "reading_until": item.reading[0] if item.reading else None,
        "reading_by": item.reading[1] if item.reading else "",
    }
    return values | {"words": words_of(_said(values), item.clock, facets_of(values))}


def _said(values: dict[str, Any]) -> list[str]:
    """What a row is searched by: who, which numbers, what exam."""
    named = ("patient_name", "patient_id", "birth_date", "uid")
    exam = ("description", "body_part", "modality")
    others = [str(number.get("value", "")) for number in values["other_numbers"]]
    told = [*(values[name] for name in (*named, *exam)), *joined(values["patient_name"])]
    return [*told, *values["accessions"], *others]


def _exam_columns(item: Item) -> dict[str, Any]:
    """What is to be read, and where it stands."""
    shown = item.shown
    return {
        "modality": shown.modality,
        "body_part": shown.body_part,
        "description": shown.description,
        "indication": shown.indication,
        "referring": shown.referring,
        "subspecialty": shown.subspecialty,
        "site": shown.site,
        "location": shown.location,
        "order_class": item.priority,
        "borrowed": list(item.borrowed),
        "state": item.state,
        "marks": list(item.marks),
        "images_here": item.images_here,
        "images_announced": item.images_announced,
        "fragments": sorted(f.key for f in item.facts if f.event.type == "SeriesReceived"),
        "reports": sorted(
            f.key for f in item.facts if f.event.type in ("ReportReceived", "OrderChanged")
        ),
    }


def _ai_columns(ai: Ai) -> dict[str, Any]:
    """What AI said, and what of it a person withdrew."""
    cleared = ai.cleared
    return {
        "ai": ai.word,
        "ai_reason": ai.reason,
        "ai_unlike": ai.unlike,
        "cleared_by": cleared.actor if cleared else "",
        "cleared_reason": cleared.reason if cleared else "",
        "flags": [list(flag) for flag in ai.flags],
        "results": [list(result) for result in ai.results],
        "looked_for": list(ai.looked_for),
        "abstained": list(ai.abstained),
        "coverage": ai.coverage.model_dump() if ai.coverage else {},
        "models": ai.models,
    }
