"""The acts of the page: forms that work without scripts; which of them a row's page offers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from worklist.record.acts import OUTCOMES, ActName
from worklist.sql.acts import Wish
from worklist.sql.orders import OrderShown
from worklist.sql.rights import may, needs_reason
from worklist.web.api import ACTS, PATHS
from worklist.web.desk import desk_of
from worklist.web.door.access import access_of, caller_of, form_of
from worklist.web.door.auth import Person
from worklist.web.i18n import Translate, catalogue, clean
from worklist.web.problems import Problem
from worklist.web.row_view import is_closed
from worklist.web.schema import Claimed, Row
from worklist.web.views import Choices

router = APIRouter(include_in_schema=False)

_LABELS = {"release": "release_by_force", "outcome": "outcome_note"}


def forms(
    row: Row, who: Person, choices: Choices, lang: str, translate: Translate
) -> list[dict[str, Any]]:
    """The acts that make sense on this row and that this person may do, as plain forms."""
    closed = is_closed(row)
    held = row.claimed_by is not None
    another = held and row.claimed_by != who.name
    marks = set(row.marks)
    sense: dict[str, bool] = {
        "skip": not closed and row.lane < 3 and not another,
        "take_over": another,
        "release": another,
        "hand_over": row.claimed_by == who.name and bool(choices.readers),
        "pin": not closed and not row.pinned_by and row.lane < 3,
        "unpin": bool(row.pinned_by),
        "promote": row.state == "historic",
        "clear_flag": row.ai == "flagged",
        "set_priority": not closed,
        "link": bool(choices.link),
        "unlink": bool(choices.unlink),
        "confirm_cancel": "cancelled_images_exist" in marks,
        "reopen": row.state in ("read", "final"),
        "outcome": True,
    }
    words = catalogue(lang)
    shown = []
    for act, makes_sense in sense.items():
        own = row.pinned_by == who.name if act == "unpin" else act != "release"
        if makes_sense and may(who.role.value, act, own):
            shown.append(
                {
                    "act": act,
                    "label": translate(_LABELS.get(act, act)),
                    "path": PATHS.get(act, act.replace("_", "-")),
                    "reason": needs_reason(act, own),
                    "choice": _choice(act, choices, words, translate),
                }
            )
    return shown


def _choice(
    act: str, choices: Choices, words: dict[str, str], translate: Translate
) -> dict[str, Any] | None:
    """The field in which one of a closed list is chosen: its name, its label, its options."""
    match act:
        case "set_priority":
            name, key = "code", "col_urgency"
            options = [(code, words.get(f"class_{code}", code)) for code in choices.classes]
        case "outcome":
            name, key = "code", "outcome"
            options = [(code, translate(f"outcome_{code}")) for code in OUTCOMES]
        case "hand_over":
            name, key = "to", "col_reader"
            options = [(reader, reader) for reader in choices.readers]
        case "link" | "unlink":
            name, key = "order", "order"
            found = choices.link if act == "link" else choices.unlink
            options = [(order.member, _in_words(order, words)) for order in found]
        case _:
            return None
    return {"name": name, "label": translate(key), "options": options}


def _in_words(order: OrderShown, words: dict[str, str]) -> str:
    """An order by its numbers and where it stands: of another patient nothing else is shown."""
    key = f"report_{order.report}" if order.report else f"order_{order.status}"
    told = words.get(key, "")
    return clean(" · ".join(part for part in (", ".join(order.numbers), told) if part))


def study_path(study: str) -> str:
    """The path of a study's page."""
    return f"/studies/{quote(study, safe='')}"


def _opened_path(claimed: Claimed) -> str:
    """The study's page, which says so if another reader had it open before."""
    return study_path(claimed.study) + ("?before=1" if claimed.opened_before else "")


def _after_act(request: Request, where: str) -> Response:
    """After an act: a program gets 204, a browser the page that shows the result."""
    if "application/json" in request.headers.get("accept", ""):
        return Response(status_code=204)
    return RedirectResponse(where, 303)


@router.post("/next", name="page_next")
def page_next(request: Request) -> Response:
    """Claims what is to be read first, and opens it: one study at a time, so that a second press
    opens the one that the reader has.
    """
    return _go_on(request)


def _go_on(request: Request, before: str = "") -> Response:
    found = desk_of(request).go_on(caller_of(request).person)
    told = {"finished": before} if before else {}
    if found is None:
        return RedirectResponse("/?" + urlencode({"note": "nothing_next"} | told), 303)
    if isinstance(found, str):
        return RedirectResponse(f"{study_path(found)}?{urlencode(told | {'held': '1'})}", 303)
    told |= {"before": "1"} if found.opened_before else {}
    query = f"?{urlencode(told)}" if told else ""
    return RedirectResponse(study_path(found.study) + query, 303)


@router.post("/studies/{study}/finish-next", name="page_finish_next")
async def page_finish_next(request: Request, study: str) -> Response:
    """It was read, and the next one opens, or another that the reader has: its page offers to undo
    the finish.
    """
    seen = (await form_of(request)).get("seen", "").split()
    await _act(request, study, "finish", seen=seen or None)
    return await run_in_threadpool(_go_on, request, study)


@router.post("/studies/{study}/claim", name="page_claim")
async def page_claim(request: Request, study: str) -> Response:
    """Claims one study; `sure`: the page has said who reads it elsewhere, or had it open."""
    sure = (await form_of(request)).get("sure") == "1"
    who = caller_of(request).person
    claimed = await run_in_threadpool(desk_of(request).claim, who, study, sure=sure)
    return _after_act(request, _opened_path(claimed))


@router.post("/studies/{study}/take-over", name="page_take_over")
async def page_take_over(request: Request, study: str) -> Response:
    """Takes it from the reader who has it, with a reason."""
    reason = (await form_of(request)).get("reason", "")[:200]
    who = caller_of(request).person
    claimed = await run_in_threadpool(desk_of(request).take_over, who, study, reason)
    return _after_act(request, study_path(claimed.study))


@router.post("/studies/{study}/hand-over", name="page_hand_over")
async def page_hand_over(request: Request, study: str) -> Response:
    """Gives it to another reader, with a reason."""
    form, who = await form_of(request), caller_of(request).person
    to, reason = form.get("to", ""), form.get("reason", "")[:200]
    if not access_of(request).readers.named(to):
        raise Problem("no_such_reader")
    await run_in_threadpool(desk_of(request).hand_over, who, study, None, to, reason)
    return _after_act(request, study_path(study))


@router.post("/studies/{study}/release", name="page_release")
async def page_release(request: Request, study: str) -> Response:
    """Gives it back; with a reason, a lead gives back what another reader has."""
    reason = (await form_of(request)).get("reason", "")[:200]
    who = caller_of(request).person
    await run_in_threadpool(desk_of(request).release, who, study, None, reason)
    return _after_act(request, "/")


@router.post("/studies/{study}/finish", name="page_finish")
async def page_finish(request: Request, study: str) -> Response:
    """It was read: what the page showed of it. The list that follows offers to undo it."""
    seen = (await form_of(request)).get("seen", "").split()
    where = "/?" + urlencode({"finished": study})
    return await _act(request, study, "finish", where, seen=seen or None)


@router.post("/studies/{study}/skip", name="page_skip")
async def page_skip(request: Request, study: str) -> Response:
    """Passes it by for now, and gives it back if it was theirs."""
    return await _act(request, study, "skip", "/")


async def _act(
    request: Request, study: str, act: ActName, where: str = "", **wanted: Any
) -> Response:
    """Does an act of a form, and shows its result."""
    form, who = await form_of(request), caller_of(request).person
    wish = Wish(
        act,
        study,
        who.name,
        who.role.value,
        reason=form.get("reason", "")[:200],
        code=form.get("code", "")[:64],
        order=form.get("order", "")[:64],
        undoes=form.get("act_id", "")[:64] or None,
        **wanted,
    )
    done = await run_in_threadpool(desk_of(request).do, who, wish)
    if form.get("from") == "pins":
        where = "/pins"
    return _after_act(request, where or study_path(done.study))


def _add_form(act: ActName) -> None:
    async def route(request: Request, study: str) -> Response:
        return await _act(request, study, act)

    route.__doc__ = ACTS[act]
    path = PATHS.get(act, act.replace("_", "-"))
    router.add_api_route(f"/studies/{{study}}/{path}", route, methods=["POST"], name=f"page_{act}")


for _name in ACTS:
    if _name != "skip":
        _add_form(_name)
