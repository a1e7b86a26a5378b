"""How one event names many instances: keyed digests of their UIDs, packed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator

#: Bytes of one keyed digest of a SOP Instance UID, and how many of them one event may carry.
INSTANCE_BYTES = 8
MOST_INSTANCES = 50_000


_OF_BYTES = 4  # first hex digits of a name: of what came again they are of its bytes


def other_names(name: str, digest: str) -> Iterator[str]:
    """The names that what came again as `name` with other bytes may have, in the order in which
    they are tried: one is taken where yet other bytes have it.

    Args:
        digest: of those bytes, hex.
    """
    for at in range(0, len(digest) - _OF_BYTES + 1, _OF_BYTES):
        other = digest[at : at + _OF_BYTES] + name[_OF_BYTES:]
        if other != name:
            yield other


def how_many(names: Iterable[str]) -> int:
    """How many SOP instances `names` of one series are: one that came again with other bytes is
    one. (Two of 50,000 are taken for one in 200,000 series once.)
    """
    return len({name[_OF_BYTES:] for name in names})


def pack(names: Iterable[str]) -> str:
    """Base64 of the sorted, distinct `names` (16 hex digits each). Raises ValueError."""
    found = sorted({name.lower() for name in names})
    raw = bytes.fromhex("".join(found))  # passes over spaces
    if {len(name) for name in found} - {2 * INSTANCE_BYTES} or len(raw) != INSTANCE_BYTES * len(
        found
    ):
        raise ValueError("a name has 16 hex digits")
    return base64.b64encode(raw).decode()


def unpack(packed: str) -> tuple[str, ...]:
    """The names in `packed`. Raises ValueError."""
    try:
        raw = base64.b64decode(packed, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None
    if len(raw) % INSTANCE_BYTES:
        raise ValueError("a part of a name")
    digits, each = raw.hex(), 2 * INSTANCE_BYTES
    return tuple([digits[at : at + each] for at in range(0, len(digits), each)])
