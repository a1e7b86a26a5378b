"""What persons do to rows: each act is a fact, written by the one transaction that replays it too.

Rights, lease and sense are checked here, once, with the row and all that it reaches locked. The
event goes to the topic by the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, text

from streams.errors import Reason, Retry
from streams.identity.studykey import digest
from worklist.order.policy import Policy
from worklist.record.acts import OUTCOMES, Act, ActName, Cleared
from worklist.record.items import Item, by_member, listed_and_off
from worklist.record.orders import order_members, study_member
from worklist.sql import audit, leases
from worklist.sql.asking import not_imaging
from worklist.sql.queue import QueueError
from worklist.sql.rights import gives_reason, may, needs_reason
from worklist.sql.writing.apply import apply
from worklist.sql.writing.closure import Reached, hold, world_of
from worklist.sql.writing.opening import Opener

#: So long a person may take back what they did, by the database's clock.
UNDO_FOR = timedelta(seconds=10)


@dataclass(frozen=True)
class Wish:
    """What a person wants done.

    Attributes:
        study: the row, by any of its names; of `promote` also an order that is on no list.
        code: of `set_priority` the order class, of `outcome` the outcome.
        order: of `link` and `unlink`: a member id of the order, or the name of the order's row.
        token: of `finish`: the lease's; None: the reader's own lease.
        seen: of `finish`: ids of the fragments and reports that the reader was shown last; None:
            those of the claim.
        undoes: of `undo`: the act's id; None: the person's last act on the row.
    """

    act: ActName
    study: str
    actor: str
    role: str
    reason: str = ""
    code: str = ""
    order: str = ""
    token: str | None = None
    seen: Sequence[str] | None = None
    undoes: str | None = None


@dataclass(frozen=True)
class Done:
    """What was done; `study` is the row's name now, `late`: the lease had run out, and nobody had
    taken it; `undone`: the act that an undo took back.
    """

    act_id: str
    study: str
    at: datetime
    open: bool
    late: bool = False
    undone: str = ""


@dataclass(frozen=True)
class _Scene:
    """A row with all that it reaches, locked; `off_list`: it is on no list."""

    connection: Connection
    wish: Wish
    item: Item
    other: Item | None
    facts: Reached
    policy: Policy
    now: datetime
    off_list: bool = False


@dataclass(frozen=True)
class _Verdict:
    """That an act may be done: what it says, and about whose thing it is."""

    says: Mapping[str, Any]
    own: bool = True
    late: bool = False
    undone: str = ""


def do(connection: Connection, wish: Wish, *, policy: Policy, opener: Opener) -> Done:
    """Does what a person wants, in the caller's transaction: fact, row, audit and outbox.

    Raises:
        QueueError: `not_authorised`, `reason_required`, `not_found`, and what the act's own
            condition says (see there).
        Retry: the row moved while we waited for it.
    """
    if not (may(wish.role, wish.act) or may(wish.role, wish.act, own=False)):
        raise QueueError("not_authorised")
    scene = _scene(connection, wish, policy, opener)
    verdict = _CHECKS[wish.act](scene)
    if not may(wish.role, wish.act, verdict.own):
        raise QueueError("not_authorised")
    if needs_reason(wish.act, verdict.own) and not gives_reason(wish.reason):
        raise QueueError("reason_required")
    act = _act(scene, verdict)
    event = opener.seal_act(act)
    apply(connection, [event], policy=policy, opener=opener)
    name, open_now = _place(connection, act.item)
    if act.act == "finish":
        connection.execute(
            text("DELETE FROM lease WHERE name = ANY(:names)"),
            {"names": [scene.item.name, name]},
        )
    _tell(connection, act, name, event.model_dump(mode="json"), verdict)
    return Done(act.act_id, name, act.at, open_now, verdict.late, verdict.undone)


def _scene(connection: Connection, wish: Wish, policy: Policy, opener: Opener) -> _Scene:
    """Locks the row (and the order's, of a link) and all that it reaches, as `apply` will."""
    off = not_imaging.nodes_of(connection, wish.study) if wish.act == "promote" else None
    nodes = set(off if off is not None else _nodes(connection, wish.study))
    if wish.order:
        nodes |= set(_nodes(connection, wish.order))
    reached = hold(connection, opener, policy, nodes, (), lambda _: set(nodes), dict)
    facts, world = reached.facts.values(), world_of(connection, reached, policy)
    listed, off_list = listed_and_off(facts, world, policy)
    owner = dict(by_member(listed))
    if off is not None:
        owner = {fact.key: item for item in (*listed, *off_list) for fact in item.facts}
    if wish.study not in owner or (wish.order and wish.order not in owner):
        raise Retry(Reason.OVERLOADED, "moved")
    return _Scene(
        connection,
        wish,
        owner[wish.study],
        owner[wish.order] if wish.order else None,
        reached,
        policy,
        connection.scalar(text("SELECT clock_timestamp()")),
        off_list=any(owner[wish.study] is item for item in off_list),
    )


def _nodes(connection: Connection, study: str) -> list[str]:
    found: list[str] | None = connection.scalar(
        text("""SELECT COALESCE(i.nodes, c.nodes) FROM member m
                LEFT JOIN item i ON i.name = m.name AND m.closed_at IS NULL
                LEFT JOIN closed c ON c.name = m.name AND c.closed_at = m.closed_at
                WHERE m.member = :study"""),
        {"study": study},
    )
    if found is None:
        raise QueueError("not_found")
    return found


def _place(connection: Connection, member: str) -> tuple[str, bool]:
    """The row's name now, and whether it is open; what an undo took off the list keeps its own."""
    place = connection.execute(
        text("SELECT name, closed_at FROM member WHERE member = :member"), {"member": member}
    ).one_or_none()
    return (place.name, place.closed_at is None) if place else (member, False)


def _act(scene: _Scene, verdict: _Verdict) -> Act:
    """The act as a fact. Its id is a digest: the same person's same act at one moment is one."""
    wish, rows = scene.wish, [scene.item, *([scene.other] if scene.other else [])]
    facts = [fact for row in rows for fact in row.facts]
    numbers = {number for fact in facts for number in fact.numbers}
    patients = {fact.patient for fact in facts if fact.patient}
    told = (scene.item.name, wish.act, wish.actor, scene.now.isoformat())
    return Act(
        act_id=digest(*(word.encode() for word in told)),
        act=wish.act,
        item=_named(scene.item),
        code=wish.code,
        actor=wish.actor,
        role=wish.role,
        at=scene.now,
        reason=wish.reason,
        numbers=tuple(sorted(numbers, key=lambda n: (n.kind, n.authority, n.value))),
        patients=tuple(sorted(patients, key=lambda p: (p.authority, p.value))),
        **verdict.says,
    )


def _named(item: Item) -> str:
    """The member that an act names: of a row with images its study's, which the images keep when
    the row is split.
    """
    own = {
        study_member(item.uid, fact) for fact in item.facts if fact.event.type == "SeriesReceived"
    }
    return min(own & set(item.members), default=item.name)


def _tell(
    connection: Connection, act: Act, name: str, event: Mapping[str, Any], verdict: _Verdict
) -> None:
    """The audit row, and the event to the outbox: in order per row."""
    said = act.model_dump(mode="json", include={"code", "order", "undoes", "cleared"})
    detail = {key: value for key, value in said.items() if value}
    detail |= {"act_id": act.act_id, "role": act.role}
    detail |= {"late": True} if verdict.late else {}
    audit.append(connection, act.act, name, actor=act.actor, reason=act.reason, detail=detail)
    connection.execute(
        text("INSERT INTO outbox (item, kind, body) VALUES (:item, 'act', CAST(:body AS jsonb))"),
        {"item": name, "body": orjson.dumps(event).decode()},
    )


def _open(scene: _Scene) -> None:
    """Refuses what is closed: `finished`, by whom where a person did it."""
    item = scene.item
    if not item.open:
        raise QueueError("finished", item.finish.actor if item.finish else "")


def _finish(scene: _Scene) -> _Verdict:
    """The lease's holder has read it; also when the lease ran out and nobody took the row.

    Raises QueueError `wrong_token` (says who has it) or `finished`.
    """
    _open(scene)
    wish, item = scene.wish, scene.item
    row = leases.locked(scene.connection, item.name)
    lease = leases.lease_of(scene.connection, row.name)
    mine = lease.reader == wish.actor and lease.ended != "released"
    if not mine or (wish.token is not None and not leases.same_token(lease, wish.token)):
        raise QueueError("wrong_token", lease.reader if lease.ended != "released" else "")
    seen = set(lease.fragments + lease.reports if wish.seen is None else wish.seen)
    # What is another row's by now was not this row's to finish.
    images = {f.key for f in item.facts if f.event.type == "SeriesReceived"}
    words = {f.key for f in item.facts if f.event.type in ("ReportReceived", "OrderChanged")}
    if lease.fragments and not images & set(lease.fragments):
        raise QueueError("wrong_token")  # the images that were claimed are another row's by now
    says = {"fragments": tuple(sorted(seen & images)), "reports": tuple(sorted(seen & words))}
    return _Verdict(says, late=not lease.live)


def _pin(scene: _Scene) -> _Verdict:
    """Raises QueueError `finished`, `not_readable`: a pin cannot lift what cannot be read."""
    _open(scene)
    if not scene.item.readable:
        raise QueueError("not_readable")
    return _Verdict({})


def _unpin(scene: _Scene) -> _Verdict:
    """Raises QueueError `not_pinned`."""
    if scene.item.pin is None:
        raise QueueError("not_pinned")
    return _Verdict({}, own=scene.item.pin.actor == scene.wish.actor)


def _clear(scene: _Scene) -> _Verdict:
    """Withdraws exactly the results that stand now. Raises QueueError `not_flagged`."""
    results = scene.item.ai.results
    if not results:
        raise QueueError("not_flagged")
    cleared = (Cleared(package=p, series_uid=s, input_digest=i) for p, s, i in results)
    return _Verdict({"cleared": tuple(cleared)})


def _priority(scene: _Scene) -> _Verdict:
    """Raises QueueError `bad_code`, `finished`."""
    _open(scene)
    if scene.wish.code not in scene.policy.classes:
        raise QueueError("bad_code")
    return _Verdict({})


def _promote(scene: _Scene) -> _Verdict:
    """Raises QueueError `not_historic`: it is on the list already."""
    if scene.item.state != "historic" and not scene.off_list:
        raise QueueError("not_historic")
    return _Verdict({})


def _reopen(scene: _Scene) -> _Verdict:
    """Raises QueueError `not_closed`: neither read nor reported."""
    if scene.item.state not in ("read", "final"):
        raise QueueError("not_closed")
    return _Verdict({})


def _confirm(scene: _Scene) -> _Verdict:
    """Raises QueueError `not_cancelled`: no sender cancelled it, or no image of it exists."""
    if "cancelled_images_exist" not in scene.item.marks:
        raise QueueError("not_cancelled")
    return _Verdict({})


def _outcome(scene: _Scene) -> _Verdict:
    """Raises QueueError `bad_code` where it is none of the known ones."""
    if scene.wish.code not in OUTCOMES:
        raise QueueError("bad_code")
    return _Verdict({})


def _nothing(_: _Scene) -> _Verdict:
    """A skip is noted, and changes nothing."""
    return _Verdict({})


def _link(scene: _Scene) -> _Verdict:
    """Names one order and one row with images. Raises QueueError `not_an_order`."""
    if scene.other is None:
        raise QueueError("not_an_order")
    orders = {
        member
        for fact in scene.other.facts
        if fact.event.type in ("OrderChanged", "ReportReceived")
        for member in order_members(fact)
    }
    if scene.wish.order not in orders or not scene.item.uid:
        raise QueueError("not_an_order")
    return _Verdict({"order": scene.wish.order})


def _undo(scene: _Scene) -> _Verdict:
    """Its author takes back an act of the last ten seconds. Raises QueueError `too_late`,
    `nothing_to_undo`.
    """
    acts = [fact.act for fact in scene.facts.facts.values() if fact.act]
    undone = {act.undoes for act in acts}
    mine = [
        act
        for act in acts
        if act.item in scene.item.members
        and act.act != "undo"
        and act.act_id not in undone
        and (scene.wish.undoes in (None, act.act_id))
        and (scene.wish.undoes is not None or act.actor == scene.wish.actor)
    ]
    if not mine:
        raise QueueError("nothing_to_undo")
    last = max(mine, key=lambda act: act.place)
    if last.at + UNDO_FOR < scene.now:
        raise QueueError("too_late")
    own = last.actor == scene.wish.actor
    return _Verdict({"undoes": last.act_id}, own=own, undone=last.act)


_CHECKS: dict[str, Callable[[_Scene], _Verdict]] = {
    "finish": _finish,
    "undo": _undo,
    "reopen": _reopen,
    "pin": _pin,
    "unpin": _unpin,
    "promote": _promote,
    "clear_flag": _clear,
    "set_priority": _priority,
    "link": _link,
    "unlink": _link,
    "confirm_cancel": _confirm,
    "outcome": _outcome,
    "skip": _nothing,
}
