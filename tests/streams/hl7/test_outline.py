"""What may be shown of a message to whoever mends its sender: shape and codes, no patient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.hl7.outline import outline
from tests.streams.hl7.conftest import order


def test_the_shape_and_the_codes_are_shown_and_no_patient() -> None:
    lines = outline(order(accession="A17"))
    assert lines[0].startswith("MSH|^~\\&|RIS|HOSP|")
    assert lines[1] == "PID|9||x9^^^xxxx^xx||xxxxxxx^xxx||99999999|x"
    assert lines[3].startswith("ORC|NW|xx9|xx9||SC||")
    assert "CTHEAD^CT head^L" in lines[4]
    text = "\n".join(lines)
    assert not any(word in text for word in ("Lef", "1950", "A17", "PL1"))


def test_a_line_that_begins_no_segment_is_shown_as_its_shape_alone() -> None:
    assert outline(order() + b"Jean Dupont 0612345678\r")[-1] == "xxxx xxxxxx 9999999999"


@given(st.binary(max_size=200))
def test_promise_8_any_bytes_have_an_outline(raw: bytes) -> None:
    outline(raw)


@pytest.mark.parametrize("end", ["", " ", "\\r", "<CR>", "\x1e", "\x85"])
@pytest.mark.parametrize("charset", ["", "UNICODE UTF-8"])
def test_promise_8_a_message_that_lost_its_line_ends_shows_no_patient(
    charset: str, end: str
) -> None:
    """All stands in one line then, and what is read as MSH goes on with PID."""
    raw = order(charset=charset, accession="A17", name="Dupont^Jean").decode().strip("\r")
    told = "\n".join(outline(raw.replace("\r", end).encode()))
    assert told.startswith("MSH|^~\\&|RIS|HOSP|VIGIE|HOSP|20260314101500||ORM^O01|M1|P|2.5.1|")
    hidden = ("Dupont", "Jean", "1950", "P1^", "A17", "PL1")
    assert not [word for word in hidden if word in told]
