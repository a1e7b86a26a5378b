"""How many connections and associations there may be at once, in all and of one peer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.errors import Reason, Refuse

#: Connections that have not asked for an association yet, of one address and in all. One more ends
#: the oldest: who asks at once gets in, however many others only sit there.
HALF_OPEN_OF_ONE, HALF_OPEN = 64, 512
#: A peer may have so many largest instances on their way at once.
_LARGEST_AT_ONCE = 4


@dataclass(eq=False)
class Place:
    """One connection's place. `end` closes it from outside."""

    address: str
    end: Callable[[], None]
    peer: tuple[str, str] | None = None  # address and calling title, once there is an association
    bytes: int = 0  # of messages that are not whole yet


@dataclass
class Admission:
    """Who is in. Safe for many threads.

    Args:
        most: associations at once.
        most_of_one: of one peer: an address and a calling AE title.
        largest: bytes of the largest instance.
    """

    most: int
    most_of_one: int
    largest: int
    _half_open: dict[Place, None] = field(default_factory=dict)  # oldest first
    _of_peer: Counter[tuple[str, str]] = field(default_factory=Counter)
    _bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enters(self, address: str, end: Callable[[], None]) -> tuple[Place, Place | None]:
        """A connection has been accepted: its place, and the one that ends for it."""
        place = Place(address, end)
        with self._lock:
            same = [other for other in self._half_open if other.address == address]
            oldest = None
            if len(same) >= HALF_OPEN_OF_ONE:
                oldest = same[0]
            elif len(self._half_open) >= HALF_OPEN:
                oldest = next(iter(self._half_open))
            if oldest is not None:
                del self._half_open[oldest]
            self._half_open[place] = None
        if oldest is not None:
            oldest.end()
        return place, oldest

    def associates(self, place: Place, title: str) -> None:
        """It asks for an association. Raises Refuse `overloaded`."""
        peer = (place.address, title)
        with self._lock:
            if self._of_peer[peer] >= self.most_of_one:
                raise Refuse(Reason.OVERLOADED, "associations of this peer")
            if self._of_peer.total() >= self.most:
                raise Refuse(Reason.OVERLOADED, "associations")
            self._half_open.pop(place, None)
            self._of_peer[peer] += 1
            place.peer = peer

    def brings(self, place: Place, count: int) -> None:
        """So many bytes more of a message that is not whole. Raises Refuse `overloaded`."""
        if place.peer is None:
            return
        with self._lock:
            place.bytes += count
            self._bytes[place.peer] += count
            if self._bytes[place.peer] > _LARGEST_AT_ONCE * self.largest:
                raise Refuse(Reason.OVERLOADED, "bytes of this peer")

    def brought(self, place: Place) -> None:
        """The message is whole, or given up."""
        if place.peer is not None:
            with self._lock:
                self._bytes[place.peer] -= place.bytes
                place.bytes = 0

    def leaves(self, place: Place) -> None:
        """The connection is over."""
        self.brought(place)
        with self._lock:
            self._half_open.pop(place, None)
            if place.peer is not None:
                self._of_peer[place.peer] -= 1
                if not self._of_peer[place.peer]:
                    del self._of_peer[place.peer], self._bytes[place.peer]
                place.peer = None
