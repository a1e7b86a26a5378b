"""The record's rules against a plain model: partial messages and acts, in any order and twice."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import Reason
from streams.events import FindingsMade, OrderChanged, ReportReceived, SeriesReceived
from tests.worklist.record import say
from tests.worklist.record.model import Model, Shape
from worklist.order.policy import Policy, load
from worklist.record.acts import Cleared
from worklist.record.facts import Fact
from worklist.record.items import Item, derive
from worklist.record.orders import order_members, step_members, study_member
from worklist.record.world import World

EXAMPLE = Path(__file__).parents[3] / "infra" / "site"
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
#: The same cases in each run: more of them, and others, are tried by hand.
CHECKS = settings(
    max_examples=2 * settings.default.max_examples // 5,
    deadline=None,
    derandomize=True,
    suppress_health_check=SLOW,
)

NUMBERS = ("P1@A", "P1@A", "P2@A", "P1@B", "P3@B", "P1", "P2", "")
BIRTHS = ("", "", "/19610204", "/19610402")
NAMES = ("", "/DOE^JANE")
MINUTES = st.integers(0, 90)


#: What becomes of a series, most often an answer.
UNREAD = (None, None, None, Reason.INCOMPLETE, Reason.LATE, Reason.OUTSIDE_VIEW)


@cache
def policy() -> Policy:
    return load(EXAMPLE).model_copy(update={"live": ("head-ct-ich",)})


@st.composite
def whos(draw: st.DrawFn) -> str:
    number, birth = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(BIRTHS))
    return number + birth + (draw(st.sampled_from(NAMES)) if birth else "")


def said(*words: str) -> st.SearchStrategy[str]:
    """Some of the numbers, at least one."""
    return st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True).map(" ".join)


ORDER = said("a7", "a7", "a7@A", "a8", "p5", "p5@R", "f1", "f2", "u1.1") | said(
    "p5", "p5", "p5 f1", "p5 f2", "p5 a7", "p5 a8", "p5 u1.1", "p5 f1 a7", "p5 f2 a8"
)
ORDER |= said("p6 a7", "p5 a5", "p5 f1 a1", "p5 f2 a8")
STEP_NUMBERS = said("u1.1", "u1.2", "a7", "a8", "p5", "f1")
STEP = st.tuples(st.sampled_from(("", "s9", "s8")), STEP_NUMBERS).map(" ".join)
N_SET = st.sampled_from(("s9", "s8"))
IMAGE = st.sampled_from(("u1.1", "u1.1 a7", "u1.1 a7@A", "u1.1 a8@B", "u1.2 a7", "u1.2 a8"))
REPORT = said("a7", "a7@B", "a8", "f1", "f2", "f3", "p5", "p6", "p5 a5", "f1 a1", "u1.1", "u1.2")


@st.composite
def orders(draw: st.DrawFn) -> Fact:
    received = draw(MINUTES)
    more: dict[str, Any] = {}
    if draw(st.integers(0, 7)) == 0:
        read = {"status": None, "reading": True}
        return say.order(draw(ORDER), draw(whos()), None, received=received, **read)
    if draw(st.integers(0, 4)) == 0:
        more["emptied"] = ("priority",)
    more["changes"] = draw(st.integers(0, 3)) == 0
    status = draw(st.sampled_from((None, "scheduled", "performed", "cancelled")))
    codes = (None,) if "emptied" in more else (None, "stat", "urgent", "routine", "odd")
    return say.order(
        draw(ORDER),
        draw(whos()),
        draw(st.sampled_from(codes)),
        received=received,
        when=draw(st.none() | st.integers(0, received)),
        sender=draw(st.sampled_from(("ris", "ris", "ehr"))),
        status=status,
        **more,
    )


@st.composite
def images(draw: st.DrawFn) -> Fact:
    received = draw(MINUTES)
    taken = draw(st.sampled_from((None, None, 5, 60 * 30, 60 * 24 * 400)))
    return say.image(
        draw(IMAGE),
        draw(whos()),
        received=received,
        names=draw(st.sampled_from(((1,), (1, 2), (2, 3), (3,)))),
        series=draw(st.sampled_from(("1", "2"))),
        gateway=draw(st.sampled_from(("gateway-1", "gateway-2"))),
        acquired_at=None if taken is None else say.at(received - taken),
        kind=draw(st.sampled_from(("mixed", "modality", "archive"))),
        readable=draw(st.integers(0, 5)) > 0,
        primary=draw(st.integers(0, 4)) > 0,
        localizer=draw(st.integers(0, 4)) == 0,
    )


@st.composite
def facts_made(draw: st.DrawFn) -> list[Fact]:
    """A case: images, some with results, and what is said around them."""
    found: list[Fact] = []
    for picture in draw(st.lists(images(), min_size=0, max_size=3)):
        found.append(picture)
        if draw(st.booleans()):
            flagged, unread = draw(st.booleans()), draw(st.sampled_from(UNREAD))
            found.append(
                say.finding(picture, flagged=flagged, received=draw(MINUTES), unread=unread)
            )
            if draw(st.integers(0, 5)) == 0:
                found.remove(picture)
    found += draw(st.lists(orders(), max_size=4))
    for _ in range(draw(st.integers(0, 2))):
        received = draw(MINUTES)
        found.append(
            say.report(
                draw(REPORT),
                draw(whos()),
                draw(
                    st.sampled_from(
                        ("final", "final", "preliminary", "corrected", "addendum", "withdrawn")
                    )
                ),
                received=received,
                when=draw(st.none() | st.integers(0, received)),
                sender=draw(st.sampled_from(("ris", "ris", "ehr"))),
            )
        )
    for _ in range(draw(st.integers(0, 2))):
        found.append(
            say.step(
                draw(STEP | N_SET),
                draw(whos()),
                draw(st.sampled_from(("in_progress", "completed", "discontinued", "available"))),
                received=draw(MINUTES),
            )
        )
    found += draw(st.lists(identity_messages(), max_size=3))
    return said_again(draw, found)


def said_again(draw: st.DrawFn, facts: list[Fact]) -> list[Fact]:
    """With some that are passed on or sent again, and some that one message says together."""
    found = list(facts)
    orders_and_reports = [f for f in facts if isinstance(f.event, OrderChanged | ReportReceived)]
    for fact in orders_and_reports:
        version, sender = fact.event.version, fact.event.sender  # type: ignore[union-attr]
        if draw(st.integers(0, 3)) == 0:
            received = draw(st.integers(0, 90).map(say.at))
            sender = draw(st.sampled_from((sender, "ehr")))
            key = say.digest(fact.key, received, sender)
            again = version.model_copy(update={"message_time": received, "digest": key})
            update = {"event_id": key, "sender": sender, "received_at": received, "version": again}
            if received >= version.time:
                found.append(Fact(fact.event.model_copy(update=update), fact.identity))
    if len(orders_and_reports) > 1 and draw(st.booleans()):
        pair = [f for f in orders_and_reports if f.event.sender == "ris"][:2]  # type: ignore[union-attr]
        if len(pair) == 2:
            # Of one order: several accessions would make its number a requisition's.
            received, one = pair[0].received, {"numbers": pair[0].event.numbers}  # type: ignore[union-attr]
            together = say.one_message(*pair)
            together = [
                Fact(f.event.model_copy(update=one | {"received_at": received}), f.identity)
                for f in together
            ]
            found = [f for f in found if f not in pair] + together
    return found


@st.composite
def identity_messages(draw: st.DrawFn) -> Fact:
    received = draw(MINUTES)
    when = draw(st.none() | st.integers(0, received))
    who = draw(whos().filter(lambda w: w[:1] == "P"))
    if draw(st.booleans()):
        trigger = draw(st.sampled_from(("A08", "A28", "A04", "A03")))
        return say.adt(trigger, who, received=received, when=when)
    act = draw(st.sampled_from(("merge", "merge", "move", "link", "unlink")))
    authority = who.partition("/")[0].partition("@")[2]
    # One authority merges its own numbers; links go between authorities.
    near = [n for n in NUMBERS if n and (act != "merge" or n[2:] in ("", "@" + authority))]
    old = draw(st.sampled_from([n for n in near if n] or ["P1"]))
    return say.merge(old, who, act=act, received=received, when=when, moved="a7" * (act == "move"))


Plan = tuple[str, int, int, bool]
PLANS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "finish",
                "finish",
                "finish",
                "undo",
                "reopen",
                "promote",
                "clear_flag",
                "set_priority",
                "link",
                "unlink",
                "confirm_cancel",
                "pin",
                "unpin",
            )
        ),
        st.integers(0, 5),
        st.integers(1, 100),
        st.booleans(),
    ),
    max_size=3,
)


def world(facts: Iterable[Fact]) -> World:
    known: dict[str, set[str]] = {}
    for fact in facts:
        retired = getattr(fact.event, "retired", None)
        for patient in (fact.patient, retired):
            if patient and patient.authority:
                known.setdefault(patient.value, set()).add(patient.authority)
    return World(authorities={value: frozenset(names) for value, names in known.items()})


def done(facts: list[Fact], plans: Sequence[Plan]) -> list[Fact]:
    """`facts` and the acts of `plans`, each on a row as it was shown at the time."""
    found = list(facts)
    for name, choice, minute, whole in sorted(plans, key=lambda plan: (plan[2], plan[0])):
        seen = [f for f in found if f.received < say.at(minute)]
        items = derive(seen, world(facts), policy())
        acts = [f.act for f in found if f.act]
        if name == "undo" and acts:
            undone = acts[choice % len(acts)]
            found.append(say.act("undo", undone.item, when=minute, undoes=undone.act_id))
        if name == "undo" or not items:
            continue
        item = items[choice % len(items)]
        found.append(say.act(name, item.name, when=minute, **told(name, item, items, whole)))
    return found


def told(name: str, item: Item, items: Sequence[Item], whole: bool) -> dict[str, Any]:
    """What an act says beside the row."""
    if name == "finish" and whole:
        kinds = (OrderChanged, ReportReceived)
        series = [f.key for f in item.facts if isinstance(f.event, SeriesReceived)]
        reports = [f.key for f in item.facts if isinstance(f.event, kinds)]
        return {"fragments": tuple(series), "reports": tuple(reports)}
    if name == "clear_flag":
        cleared = [
            Cleared(package=package, series_uid=series, input_digest=digest)
            for package, series, digest in item.ai.results
        ]
        return {"cleared": tuple(cleared)}
    if name == "set_priority":
        return {"code": "stat" if whole else "routine"}
    if name in ("link", "unlink"):
        sent = [f for i in items for f in i.facts if isinstance(f.event, OrderChanged)]
        members = sorted({m for f in sent for m in order_members(f)})
        return {"order": members[len(members) // 2 if whole else 0]} if members else {}
    return {}


def names(uid: str, fact: Fact) -> list[str]:
    """The ids by which a fact can be named, of the study `uid` (``-``: of an order)."""
    if uid == "-":
        return order_members(fact)
    return ([study_member(uid, fact)] if uid else []) + step_members(fact)


def shape(item: Item) -> Shape:
    new = "new_since_read" in item.marks
    return Shape(
        uid=item.uid,
        facts=frozenset(f.key for f in item.facts),
        priority=item.priority,
        conflict="identity_conflict" in item.marks,
        borrowed="may_be_order" in item.marks,
        state=item.state,
        open=item.open,
        since=item.clock if new else None,
        clock=item.clock,
        ai=item.ai.word,
    )


def order_of(shape: Shape) -> tuple[str, list[str]]:
    return shape.uid, sorted(shape.facts)


def shapes(facts: Sequence[Fact]) -> list[Shape]:
    return sorted(map(shape, derive(facts, world(facts), policy())), key=order_of)


CASES = st.tuples(facts_made(), PLANS).map(lambda case: done(*case))


@CHECKS
@given(CASES)
def test_rows_are_those_of_the_plain_model(facts: list[Fact]) -> None:
    expected = sorted(Model(facts, names).shapes(), key=order_of)
    assert shapes(facts) == expected


@CHECKS
@given(CASES, st.randoms(use_true_random=False))
def test_promise_5_any_order_and_duplication_gives_the_same_items(
    facts: list[Fact], rng: random.Random
) -> None:
    first = derive(facts, world(facts), policy())
    for _ in range(3):
        again = [*facts, *rng.sample(facts, len(facts) // 2)]
        rng.shuffle(again)
        assert derive(again, world(facts), policy()) == first


@CHECKS
@given(CASES)
def test_promise_2_every_image_is_on_one_row_and_every_order_on_one_at_least(
    facts: list[Fact],
) -> None:
    items = derive(facts, world(facts), policy())
    times: dict[str, int] = {}
    for item in items:
        for fact in item.facts:
            times[fact.key] = times.get(fact.key, 0) + 1
    for fact in facts:
        if isinstance(fact.event, SeriesReceived | FindingsMade):
            assert times[fact.key] == 1
        if isinstance(fact.event, OrderChanged | ReportReceived):
            assert times[fact.key] >= 1
    assert len({item.name for item in items}) == len(items)
    members = [member for item in items for member in item.members]
    assert len(set(members)) == len(members)
