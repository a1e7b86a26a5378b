"""Sends what is parked again, once its cause is mended: a message as its door reads it."""

from __future__ import annotations

import base64
import binascii

from streams.errors import Park, Reason
from streams.events import Parked, encode
from streams.hl7 import mapping
from streams.hl7.door import ORIGIN, PARKED_BYTES
from streams.hl7.envelope import Context
from streams.hl7.text.message import peek
from streams.identity.seal import KeyRing
from streams.kafka.parked import Entry
from streams.kafka.produce import Publisher
from streams.kafka.topics import ALL, ORDERS
from streams.senders.site import Site


def replay(entry: Entry, site: Site, ring: KeyRing, publisher: Publisher) -> None:
    """Sends one parked original again, with the time of its first receipt.

    Raises:
        VigieError: it cannot be opened, mapped or published; it stays parked in any case.
    """
    parked = entry.parked
    original = ring.open(parked.original)
    if parked.topic == ORIGIN:
        _replay_message(original, parked, site, ring, publisher)
        return
    if parked.topic not in {topic.name for topic in ALL}:
        raise Park(Reason.BAD_EVENT, "topic")
    try:
        key = base64.b64decode(parked.key, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Park(Reason.BAD_EVENT, "key") from None
    publisher.publish_sync(parked.topic, key, original)


def _replay_message(
    original: bytes, parked: Parked, site: Site, ring: KeyRing, publisher: Publisher
) -> None:
    if len(original) >= PARKED_BYTES:
        raise Park(Reason.TOO_LARGE, "original")
    header, proved = peek(original), False
    if parked.peer:
        # Whoever it was may be listed by now; who is not stays a stranger when an operator sends
        # what he said again.
        sender, proved = site.speaker(
            header.application, header.facility, parked.peer, parked.names
        )
    else:
        sender = site.sender_for_hl7(header.application, header.facility)
    context = Context(site, sender, ring, parked.parked_at, proved)
    for key, event in mapping.read(original, header, context):
        publisher.publish_sync(ORDERS.name, key, encode(event))
