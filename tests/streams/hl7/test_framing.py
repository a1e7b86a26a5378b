"""Frames of a byte stream, however it is cut."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Reason
from streams.hl7.wire.framing import Frames, Outside, TooLarge, frame

MESSAGES = st.lists(
    st.binary(min_size=1, max_size=50).filter(lambda raw: not {0x0B, 0x1C} & set(raw)), max_size=6
)


def fed(*chunks: bytes) -> list[bytes]:
    frames = Frames(1000)
    return [message for chunk in chunks for message in frames.feed(chunk)]


@given(MESSAGES, st.data())
def test_messages_come_out_however_the_bytes_are_cut(
    messages: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert fed(*chunks) == messages


@pytest.mark.parametrize(
    "stream",
    [
        b"\x0bone\x1c\r\x00\x00\x0btwo\x1c\r",
        b"\x0b\x0bone\x1c\r\x1c\r\x0btwo\x1c",
        b"\r\n\x0bone\x1c\n\x0btwo\x1c\r\r\n",
    ],
    ids=["NULs between", "doubled marks", "no CR, line ends"],
)
def test_what_stands_between_frames_and_means_nothing_is_harmless(stream: bytes) -> None:
    assert fed(stream) == [b"one", b"two"]


def test_an_end_whose_cr_comes_later_is_an_end() -> None:
    assert fed(b"\x0bone\x1c", b"\r") == [b"one"]


def test_bytes_outside_a_frame_end_it_and_what_was_whole_is_taken() -> None:
    with pytest.raises(Outside) as refused:
        Frames(1000).feed(frame(b"one") + b"GET / HTTP/1.1\r\n")
    assert (refused.value.reason, refused.value.whole) == (Reason.NOT_HL7, [b"one"])


@pytest.mark.parametrize("end", [b"", b"\x1c\r"], ids=["unterminated", "whole"])
def test_a_message_over_the_limit_is_cut_and_what_was_whole_before_is_taken(end: bytes) -> None:
    with pytest.raises(TooLarge) as refused:
        Frames(1000).feed(frame(b"one") + b"\x0bMSH|" + bytes(2000) + end)
    assert (refused.value.whole, refused.value.start[:4]) == ([b"one"], b"MSH|")


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_an_end(stream: bytes) -> None:
    found = []
    with suppress(Outside, TooLarge):
        found = fed(stream)
    ends = (b"\x1c\r", b"\x1c\n", b"\x1c\x1c", b"\x1c\x0b", b"\x1c\x00")
    assert not any(end in message for message in found for end in ends)


def test_an_end_mark_within_a_text_cuts_nothing() -> None:
    assert fed(b"\x0bpain\x1cin chest|S\x1c\r\x0btwo\x1c\r") == [b"pain\x1cin chest|S", b"two"]


def test_a_half_message_is_not_the_start_of_the_next() -> None:
    """A sender that was cut off begins again on the same connection: P1's half and P2's order were
    one message, answered yes with the half's control id.
    """
    frames = Frames(1000)
    stream = (
        b"\x0bMSH|1\rPID|P1\x0bMSH|2\rPID|P2\x1c\r\x0b\x0bMSH|3\x1c\r\x0bMSH|4\rNTE|a\x0bb\x1c\r"
    )
    assert frames.feed(stream) == [b"MSH|2\rPID|P2", b"MSH|3", b"MSH|4\rNTE|a\x0bb"]
    assert frames.halves == 1
