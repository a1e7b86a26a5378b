"""What an order says beside, under seal: on the row, newest word of each; and in no log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streams.errors import Park
from streams.identity.seal import KeyRing
from streams.sealed import OrderDetails
from tests.worklist.conftest import Feed, Make

Rows = Callable[..., dict[str, dict[str, Any]]]


def sealed(ring: KeyRing, **said: Any) -> str:
    return ring.seal(OrderDetails(**said).model_dump_json().encode())


def test_the_row_says_why_it_was_asked_for_and_by_whom(
    make: Make, feed: Feed, rows: Rows, ring: KeyRing
) -> None:
    first = sealed(ring, indication="fall", referrer="NOEL^Eva", call_back="4711")
    feed(make.order(details=first), make.series(accession="A1"))
    row = rows()["1.2.1"]
    assert (row["indication"], row["referring"]) == ("fall", "NOEL^Eva, 4711")
    feed(make.order(at=5, details=sealed(ring, indication="fall, vomits")))
    row = rows()["1.2.1"]
    assert row["indication"] == "fall, vomits"
    assert row["referring"] == "NOEL^Eva, 4711", "what a message leaves out stays"


def test_details_that_do_not_open_park_their_event(make: Make, feed: Feed) -> None:
    with pytest.raises(Park, match="bad_seal"):
        feed(make.order(details="k1.nothing"))
