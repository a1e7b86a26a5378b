"""What is parked at the HL7 door and sent again: the door's own rules stand (MSH-11, rights)."""

from __future__ import annotations

from typing import Any, cast

import pytest

from streams.errors import Park, Reason, Refuse
from streams.events import decode
from streams.hl7.door import PARKED_BYTES
from streams.hl7.replay import replay
from streams.identity.seal import KeyRing
from streams.kafka.parked import Entry
from streams.senders.site import Site, load_site
from tests.parked import parked_message
from tests.streams.hl7.conftest import EXAMPLE, NOW, order, report


class Sent:
    """What a replay publishes."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def publish_sync(self, _topic: str, _key: str, value: bytes) -> None:
        self.events.append(decode(value))


def parked(raw: bytes, ring: KeyRing, peer: str = "127.0.0.1") -> Entry:
    event = parked_message(ring.seal(raw), NOW, peer=peer)
    return Entry("0-1", event)


def again(raw: bytes, site: Site, ring: KeyRing, peer: str = "127.0.0.1") -> list[Any]:
    sent = Sent()
    replay(parked(raw, ring, peer), site, ring, cast("Any", sent))
    return sent.events


def test_a_replayed_order_has_its_first_receipt(ring: KeyRing) -> None:
    (event,) = again(order(), load_site(EXAMPLE), ring)
    assert (event.priority, event.received_at) == ("stat", NOW)


@pytest.mark.parametrize("processing", ["T", "D"])
def test_a_replayed_test_message_stays_a_test(processing: str, ring: KeyRing) -> None:
    assert again(order(processing=processing), load_site(EXAMPLE), ring) == []


def test_a_replayed_cancel_needs_the_right(ring: KeyRing) -> None:
    site = load_site(EXAMPLE)
    assert len(again(order("CA"), site, ring)) == 1
    strangers = site.model_copy(update={"accept_unknown": True})
    for there, reason in ((site, Reason.UNKNOWN_SENDER), (strangers, Reason.NOT_AUTHORISED)):
        with pytest.raises(Refuse) as refused:
            again(order("CA", msh="ELSEWHERE|X"), there, ring, "192.0.2.9")
        assert refused.value.reason is reason


@pytest.mark.parametrize("ending", [report(), order("CA")], ids=["report", "cancel"])
@pytest.mark.parametrize("peer", ["192.0.2.9", ""], ids=["a stranger's", "nobody knows whose"])
def test_what_a_stranger_said_in_the_ris_s_name_ends_nothing_when_it_is_sent_again(
    peer: str, ending: bytes, ring: KeyRing
) -> None:
    """It was parked when it was refused; sending all of a reason again made it the RIS's word."""
    with pytest.raises(Refuse) as refused:
        again(ending, load_site(EXAMPLE), ring, peer)
    said = Reason.UNKNOWN_SENDER if peer else Reason.NOT_AUTHORISED
    assert refused.value.reason is said


def test_a_ris_that_is_listed_since_is_believed_when_its_word_is_sent_again(ring: KeyRing) -> None:
    site = load_site(EXAMPLE)
    ris = site.senders[0].model_copy(update={"addresses": ("192.0.2.0/24",)})
    listed = site.model_copy(update={"senders": (ris,)})
    assert len(again(report(), listed, ring, "192.0.2.9")) == 1


def test_a_message_of_which_only_the_start_was_kept_is_not_sent_again(ring: KeyRing) -> None:
    """What stood behind may have been the part that took a word back."""
    with pytest.raises(Park) as refused:
        again(order(more="NTE|1||x\r").ljust(PARKED_BYTES, b"x"), load_site(EXAMPLE), ring)
    assert refused.value.reason is Reason.TOO_LARGE
