"""What ORC-1 and ORC-5 say of an order, cell by cell; what an unknown code does."""

from __future__ import annotations

import pytest

from streams.errors import Reason, Refuse
from streams.events import OrderChanged
from streams.hl7 import tables
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.orders import order_said
from streams.hl7.text.message import parse
from tests.streams.hl7.conftest import order

#: Rows: ORC-1 (``-`` missing). Columns: ORC-5 (``-`` missing, ``Q`` unknown).
TABLE = """
                     -    SC   IP   A    CM   CA   DC   RP   HD   ER   Q
-                    .    sch  prog prog perf canc canc repl .    .    .
NW,OK,RL,OE,OR,RO    sch  sch  prog prog perf canc canc repl sch  sch  sch
XO,XR,XX,SC,SN,NA    .    sch  prog prog perf canc canc repl .    .    .
RE,PA,CH,PR,CN       .    sch  prog prog perf canc canc repl .    .    .
HD,OH,HR,OF,RF,RR    .    sch  prog prog perf canc canc repl .    .    .
AF,FU,LI,PC,OP,CP,PY .    sch  prog prog perf canc canc repl .    .    .
CA,OC,CR,DC,OD,DR    canc canc canc canc canc canc canc canc canc canc canc
RP,RU,RQ             repl repl repl repl repl repl repl repl repl repl repl
UA,UC,UD,UF,UH,UM    none none none none none none none none none none none
UN,UR,UX,DE,DF       none none none none none none none none none none none
SS,SR,MC             none none none none none none none none none none none
ZZ                   ?    ?    ?    ?    ?    ?    ?    ?    ?    ?    ?
"""
WORDS = {
    ".": "",
    "sch": "scheduled",
    "prog": "in_progress",
    "perf": "performed",
    "canc": "cancelled",
    "repl": "replaced",
    "none": "none",
    "?": None,
}
_HEAD, *_ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [
    (control.strip("-"), status.strip("-"), WORDS[cell])
    for row in _ROWS
    for control in row[0].split(",")
    for status, cell in zip(_HEAD, row[1:], strict=True)
]


@pytest.mark.parametrize(("control", "status", "word"), CELLS)
def test_what_an_order_segment_says(control: str, status: str, word: str | None) -> None:
    assert order_said(control, status) == word


def test_every_code_is_in_the_table() -> None:
    assert {control for control, _, _ in CELLS} == {*tables.ORDER_CONTROL, "ZZ"}
    assert {status for _, status, _ in CELLS} == {*tables.ORDER_STATUS, "Q"}


def made(raw: bytes, context: Context) -> list[OrderChanged]:
    found = [event for _, event in events(parse(raw), context)]
    return [event for event in found if isinstance(event, OrderChanged)]


def test_an_unknown_status_counts_as_missing_and_is_a_doubt(context: Context) -> None:
    (event,) = made(order("XO").replace(b"||SC||", b"||ZZZ||"), context)
    assert (event.status, event.priority) == (None, "stat")
    assert context.doubts == ["order_status"]


def test_an_unknown_priority_is_a_doubt(context: Context) -> None:
    (event,) = made(order(priority="Z9"), context)
    assert (event.priority, context.doubts) == ("unknown", ["priority"])


def test_only_an_unknown_control_is_refused(context: Context) -> None:
    with pytest.raises(Refuse) as refused:
        made(order("ZZ"), context)
    assert (refused.value.reason, refused.value.where) == (Reason.BAD_FIELD, "ORC-1")


def test_of_several_orders_none_is_taken_where_one_cannot_be(context: Context) -> None:
    second = "ORC|ZZ|PL2|FI2\rOBR|2|PL2|FI2|CTHEAD\r"
    with pytest.raises(Refuse):
        made(order(more=second), context)
    assert len(made(order(more=second.replace("ZZ", "NW")), context)) == 2
